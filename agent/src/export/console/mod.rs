//! Spans on standard output: as waterfalls for people, or as OTLP/JSON lines for programs. One thread does all the
//! writing, so that a reader that stops reading holds up nothing but itself.

mod clean;
mod connection;
mod gather;
mod ids;
mod limit;
mod style;
mod text;
mod units;
mod waterfall;

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::json;
use super::queue::Room;
use super::tally::{Output, Tally};
use super::{QueueGauge, StartError};
use crate::ledger::{Ledger, Reason, Stage};
use crate::trace::span::Span;

pub use self::style::Style;
use self::text::Text;

/// How spans are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A waterfall per trace, at most as many as a person can follow.
    #[default]
    Text,
    /// Every span, one OTLP/JSON `TracesData` object per line.
    Json,
}

/// Spans that wait to be printed at most; about 1.5 KiB each, so 48 MiB when a reader has stopped reading.
const QUEUE_SPANS: usize = 32_768;

/// The printer looks for spans at most this often: the core hands over a few every millisecond, and waking a thread for
/// each time costs more than the spans. A person does not see the difference.
const PACE: Duration = Duration::from_millis(20);
/// JSON is written when there is so much of it, or when nothing more waits.
const WRITE_BYTES: usize = 256 << 10;

const THREAD: &str = "console";

/// The thread that prints.
#[derive(Debug)]
pub(super) struct Console {
    queue: Sender<Batch>,
    room: Room,
    tally: Tally,
    failure: Arc<OnceLock<String>>,
    done: Receiver<()>,
}

impl Console {
    pub(super) fn start(
        format: Format,
        style: Style,
        out: Box<dyn Write + Send>,
        ledger: Arc<Ledger>,
    ) -> Result<Self, StartError> {
        let (queue, waiting) = mpsc::channel();
        let (finished, done) = mpsc::channel();
        let room = Room::new(QUEUE_SPANS);
        let tally = Tally::new(ledger, Output::Console);
        let failure = Arc::new(OnceLock::new());
        let printer = Printer {
            out,
            buffer: Vec::new(),
            buffered: 0,
            text: (format == Format::Text).then(|| Text::new(style)),
            room: room.clone(),
            tally: tally.clone(),
            failure: Arc::clone(&failure),
        };
        thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                printer.run(&waiting);
                // Nobody listens any more when the shutdown did not wait for us.
                finished.send(()).ok();
            })
            .map_err(|source| StartError::Thread { name: THREAD, source })?;
        Ok(Self { queue, room, tally, failure, done })
    }

    pub(super) fn send(&self, spans: impl Into<Batch>) {
        let batch = spans.into();
        let wanted = batch.len();
        self.tally.observe(wanted);
        if self.failure.get().is_some() {
            self.tally.lose(Stage::Export, Reason::Closed, wanted);
            return;
        }
        let granted = self.room.take(wanted);
        if granted < wanted {
            self.tally.lose(Stage::Queue, Reason::QueueFull, wanted - granted);
        }
        if granted > 0 && self.queue.send(batch.only_first(granted)).is_err() {
            // The printer has gone, which it does only when its output failed.
            self.tally.lose(Stage::Export, Reason::Closed, granted);
        }
    }

    pub(super) fn queue(&self) -> QueueGauge {
        QueueGauge { output: Output::Console, capacity: QUEUE_SPANS, room: self.room.clone() }
    }

    pub(super) fn failed(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    pub(super) fn shutdown(self, deadline: Instant) -> bool {
        let Self { queue, tally, done, .. } = self;
        drop(queue);
        // A thread that is stuck in a write is left behind: it ends with the process, and its spans are counted here.
        done.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
        tally.close();
        tally.kept_its_promise()
    }
}

/// Prints spans that were all seen, without limits of time: for replayed records.
///
/// # Errors
///
/// When writing fails.
pub fn print_all(format: Format, style: Style, spans: &[Span], out: &mut impl Write) -> io::Result<()> {
    let mut buffer = Vec::new();
    match format {
        Format::Json => json::write_lines(spans, &mut buffer)?,
        Format::Text => buffer = text::all(style, spans).into_bytes(),
    }
    out.write_all(&buffer)?;
    out.flush()
}

struct Printer {
    out: Box<dyn Write + Send>,
    /// JSON that is not written yet, and how many spans it is.
    buffer: Vec<u8>,
    buffered: usize,
    /// None when every span is printed as JSON.
    text: Option<Text>,
    room: Room,
    tally: Tally,
    failure: Arc<OnceLock<String>>,
}

impl Printer {
    fn run(mut self, waiting: &Receiver<Batch>) {
        loop {
            let patience = self.text.as_ref().map_or(Duration::MAX, |text| text.patience(Instant::now()));
            let received = match patience {
                Duration::MAX => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
                patience => waiting.recv_timeout(patience),
            };
            let worked = match received {
                Ok(batch) => self.print_all_waiting(batch, waiting),
                Err(RecvTimeoutError::Timeout) => self.advance(),
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.finish() {
                        self.fail(&error, waiting);
                    }
                    return;
                }
            };
            if let Err(error) = worked {
                self.fail(&error, waiting);
                return;
            }
        }
    }

    /// Prints what waits, and lets something gather before looking again.
    fn print_all_waiting(&mut self, first: Batch, waiting: &Receiver<Batch>) -> io::Result<()> {
        self.print(&first)?;
        drop(first);
        for batch in waiting.try_iter() {
            self.print(&batch)?;
        }
        self.write_json()?;
        thread::sleep(PACE);
        Ok(())
    }

    fn print(&mut self, spans: &[Span]) -> io::Result<()> {
        self.room.give_back(spans.len());
        if let Some(text) = &mut self.text {
            text.push(spans, Instant::now());
            return self.advance();
        }
        self.buffered += spans.len();
        json::write_lines(spans, &mut self.buffer)?;
        if self.buffer.len() >= WRITE_BYTES { self.write_json() } else { Ok(()) }
    }

    /// Writes the JSON there is. What can't be written stays counted as buffered.
    fn write_json(&mut self) -> io::Result<()> {
        if self.buffered > 0 {
            self.out.write_all(&self.buffer)?;
            self.out.flush()?;
            self.tally.deliver(std::mem::take(&mut self.buffered));
            self.buffer.clear();
        }
        Ok(())
    }

    fn advance(&mut self) -> io::Result<()> {
        let Some(text) = &mut self.text else { return Ok(()) };
        let page = text.advance(Instant::now());
        self.write(&page)
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(text) = &mut self.text else { return Ok(()) };
        let page = text.finish();
        self.write(&page)
    }

    fn write(&mut self, page: &text::Page) -> io::Result<()> {
        if !page.text.is_empty() {
            self.out
                .write_all(page.text.as_bytes())
                .and_then(|()| self.out.flush())
                .inspect_err(|_| self.tally.lose(Stage::Export, Reason::Closed, page.shown + page.summarised))?;
        }
        self.tally.deliver(page.shown);
        self.tally.lose(Stage::Export, Reason::Summarised, page.summarised);
        Ok(())
    }

    /// The reader is gone: everything that is held or still comes is counted as lost, quietly.
    fn fail(&mut self, error: &io::Error, waiting: &Receiver<Batch>) {
        self.failure.set(error.to_string()).ok();
        let held = self.text.as_mut().map_or(0, |text| {
            let page = text.finish();
            page.shown + page.summarised
        });
        self.tally.lose(Stage::Export, Reason::Closed, held + self.buffered);
        for spans in waiting {
            self.room.give_back(spans.len());
            self.tally.lose(Stage::Export, Reason::Closed, spans.len());
        }
    }
}

#[cfg(test)]
mod tests;
