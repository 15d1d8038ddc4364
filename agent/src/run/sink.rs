//! Where the loop's records go: through the core to the outputs, or to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter};
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wirespan::config::Options;
use wirespan::export::Outputs;
use wirespan::flow::Cookie;
use wirespan::flow::recording::Writer;
use wirespan::ledger::Ledger;
use wirespan::pipeline::{Output, Pipeline};
use wirespan_common::mode::Mode;

use super::agent::Sink;
use crate::exit::Failure;

/// Spans are handed to the outputs when there are so many, even within a round: after a burst there may be far more.
const BATCH_SPANS: usize = 512;

/// Makes spans and sends them.
pub(crate) struct Spans {
    pipeline: Pipeline,
    output: Output,
    outputs: Outputs,
    /// Whether spans go anywhere but to standard output.
    sends: bool,
    warned: bool,
}

impl Spans {
    /// Spans as `options` say, to the outputs. `sends` says that an OTLP receiver is among these.
    pub(crate) fn new(options: Options, outputs: Outputs, sends: bool, ledger: Arc<Ledger>) -> Self {
        Self { pipeline: Pipeline::new(options, ledger), output: Output::default(), outputs, sends, warned: false }
    }

    /// Ends what is open, and delivers for at most so long.
    pub(crate) fn finish(mut self, within: Duration) -> Result<(), Failure> {
        self.pipeline.finish(&mut self.output);
        self.outputs.send(mem::take(&mut self.output.spans));
        let failed = self.outputs.failed();
        match (self.outputs.shutdown(within), failed) {
            (true, _) => Ok(()),
            (false, Some(failed)) => Err(Failure::Output(failed.to_string())),
            (false, None) => {
                Err(Failure::Output("not all spans were delivered: the ledger says how many, and why".to_owned()))
            }
        }
    }
}

impl Sink for Spans {
    fn push(&mut self, record: &[u8]) {
        self.pipeline.push(record, &mut self.output);
        if self.output.spans.len() >= BATCH_SPANS {
            self.outputs.send(mem::take(&mut self.output.spans));
        }
    }

    fn flush(&mut self, steering: &mut Vec<(Cookie, Mode)>) {
        self.outputs.send(mem::take(&mut self.output.spans));
        steering.append(&mut self.output.steering);
    }

    fn failure(&mut self) -> Option<Failure> {
        let failed = self.outputs.failed()?;
        if !self.sends {
            return Some(Failure::Output(failed.to_string()));
        }
        if !mem::replace(&mut self.warned, true) {
            tracing::warn!("{failed}; they are still sent to the OTLP receiver");
        }
        None
    }
}

/// Writes everything to a file. The core runs too, because it decides what the kernel copies: the recording holds what
/// `wirespan run` would have been given.
pub(crate) struct Recorder {
    pipeline: Pipeline,
    output: Output,
    writer: Writer<BufWriter<File>>,
    path: PathBuf,
    error: Option<io::Error>,
}

impl Recorder {
    /// Begins a recording in a file that only its owner may read: it holds what was said in the clear.
    pub(crate) fn create(path: &Path, options: Options, ledger: Arc<Ledger>) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let writer =
            file.and_then(|file| Writer::new(BufWriter::new(file))).map_err(|error| cannot_write(path, &error))?;
        let pipeline = Pipeline::new(options, ledger);
        Ok(Self { pipeline, output: Output::default(), writer, path: path.to_owned(), error: None })
    }

    /// Writes what is still buffered.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.pipeline.finish(&mut self.output);
        let last = self.writer.flush();
        match self.error.map_or(last, Err) {
            Ok(()) => Ok(()),
            Err(error) => Err(cannot_write(&self.path, &error)),
        }
    }

    /// What is written after an error would not be found in its place.
    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.error.get_or_insert(error);
        }
    }
}

impl Sink for Recorder {
    fn push(&mut self, record: &[u8]) {
        self.pipeline.push(record, &mut self.output);
        self.output.spans.clear();
        if self.error.is_none() {
            let result = self.writer.write(record);
            self.note(result);
        }
    }

    fn flush(&mut self, steering: &mut Vec<(Cookie, Mode)>) {
        steering.append(&mut self.output.steering);
        let result = self.writer.flush();
        self.note(result);
    }

    fn failure(&mut self) -> Option<Failure> {
        self.error.as_ref().map(|error| cannot_write(&self.path, error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::Output(format!("cannot write the recording {}: {error}", path.display()))
}
