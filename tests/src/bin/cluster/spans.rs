//! The spans that came to the Collector, from the file that it writes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wirespan_tests::agent::read_line;
use wirespan_tests::span::{Kind, Layer, Span};

use crate::bed::poll;

/// How long a span may take from its end until it is in the file: the agent's wait for names, its batches, the Collector's.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many of the last spans a failure shows.
const SHOWN: usize = 6;

/// A file of spans, which is read as it grows.
pub(crate) struct Spans {
    file: PathBuf,
    read: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    bytes: u64,
    /// The start of a line that is not complete yet.
    rest: Vec<u8>,
    spans: Vec<Arc<Span>>,
}

impl Spans {
    /// Those that will come into this file; what an earlier run has left in it is not looked at.
    pub(crate) fn new(file: PathBuf) -> Self {
        let bytes = file.metadata().map_or(0, |file| file.len());
        Self { file, read: Mutex::new(Seen { bytes, ..Seen::default() }) }
    }

    /// All so far.
    #[track_caller]
    pub(crate) fn all(&self) -> Vec<Arc<Span>> {
        let mut seen = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // The Collector makes it with the first span.
        let Ok(mut file) = File::open(&self.file) else { return Vec::new() };
        file.seek(SeekFrom::Start(seen.bytes)).expect("a file has places");
        let mut bytes = std::mem::take(&mut seen.rest);
        let before = bytes.len();
        file.read_to_end(&mut bytes).expect("a file can be read");
        seen.bytes += u64::try_from(bytes.len() - before).expect("bytes that were read fit");
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        seen.rest = bytes.split_off(complete);
        for line in String::from_utf8_lossy(&bytes).lines() {
            let spans = read_line(line).unwrap_or_else(|why| panic!("{why}: {line}"));
            seen.spans.extend(spans.into_iter().map(Arc::new));
        }
        seen.spans.clone()
    }

    /// Those that `is_it` knows, so far.
    #[track_caller]
    pub(crate) fn matching(&self, is_it: impl Fn(&Span) -> bool) -> Vec<Arc<Span>> {
        self.all().into_iter().filter(|span| is_it(span)).collect()
    }

    /// Waits for one that `is_it` knows.
    #[track_caller]
    pub(crate) fn one(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Arc<Span> {
        self.one_within(PATIENCE, what, is_it)
    }

    /// Waits, for so long, for one that `is_it` knows.
    #[track_caller]
    pub(crate) fn one_within(&self, patience: Duration, what: &str, is_it: impl Fn(&Span) -> bool) -> Arc<Span> {
        poll(patience, || self.all().into_iter().find(|span| is_it(span))).unwrap_or_else(|| {
            let all = self.all();
            let last: String = all.iter().rev().take(SHOWN).rev().map(|span| format!("{span}\n")).collect();
            panic!(
                "did not come to the Collector within {patience:?}: {what}\nThe last of {} spans:\n{last}",
                all.len()
            )
        })
    }

    /// Waits for the span of a request, at the end that asks or answers.
    #[track_caller]
    pub(crate) fn request(&self, kind: Kind, path: &str) -> Arc<Span> {
        self.one(&format!("{kind:?} of {path}"), |span| {
            span.layer == Layer::L7 && span.kind == kind && span.path() == path
        })
    }
}
