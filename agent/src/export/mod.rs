//! Spans out: the console and an OTLP receiver. Each output has a thread, a bounded queue and an account of its own, so
//! that a slow or broken one holds up neither the other nor the core.

mod batch;
pub mod console;
#[cfg(test)]
mod convert;
#[cfg(test)]
mod fixture;
mod groups;
pub mod json;
pub mod otlp;
pub mod protobuf;
mod queue;
mod tally;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::batch::Batch;
use self::console::Console;
use self::otlp::Exporter;
use self::queue::Room;
use crate::ledger::Ledger;
use crate::trace::span::Span;

pub use self::console::Format as ConsoleFormat;
pub use self::tally::Output;

/// Where spans go.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Printed to standard output, in this form.
    pub console: Option<ConsoleFormat>,
    /// Sent to an OTLP receiver.
    pub otlp: Option<otlp::Config>,
}

/// The outputs could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No thread could be had.
    #[error("cannot start the thread `{name}`: {source}; is the limit on processes (ulimit -u, pids.max) reached?")]
    Thread {
        /// Its name.
        name: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The OTLP exporter cannot work as configured.
    #[error(transparent)]
    Otlp(#[from] otlp::StartError),
}

/// An output that broke while running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("standard output failed ({reason}): spans can no longer be printed")]
pub struct OutputFailed {
    /// What the system said.
    pub reason: String,
}

/// The queue of an output, to be looked at from anywhere.
#[derive(Clone, Debug)]
pub struct QueueGauge {
    /// Whose it is.
    pub output: Output,
    /// Spans that may wait in it.
    pub capacity: usize,
    room: Room,
}

/// The running outputs.
#[derive(Debug)]
pub struct Outputs {
    console: Option<Console>,
    otlp: Option<Exporter>,
}

impl QueueGauge {
    /// Spans that wait in it.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.capacity.saturating_sub(self.room.left())
    }
}

impl Outputs {
    /// Starts a thread for each output that is configured.
    ///
    /// # Errors
    ///
    /// When a thread cannot be started, or the OTLP configuration names files that cannot be used.
    pub fn start(config: Config, ledger: Arc<Ledger>) -> Result<Self, StartError> {
        Self::start_on(config, ledger, Box::new(io::stdout()), console::Style::of_stdout())
    }

    fn start_on(
        config: Config,
        ledger: Arc<Ledger>,
        out: Box<dyn io::Write + Send>,
        style: console::Style,
    ) -> Result<Self, StartError> {
        let otlp = config.otlp.map(|config| Exporter::start(config, Arc::clone(&ledger))).transpose()?;
        let console = config.console.map(|format| Console::start(format, style, out, ledger)).transpose()?;
        Ok(Self { console, otlp })
    }

    /// Hands spans to every output. Never blocks: what finds a queue full is counted there and dropped.
    pub fn send(&self, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let spans = Batch::from(spans);
        if let Some(console) = &self.console {
            console.send(spans.clone());
        }
        if let Some(otlp) = &self.otlp {
            otlp.send(spans);
        }
    }

    /// Whether an output has broken for good, such as standard output whose reader went away. To be asked now and then
    /// by the run loop, which decides whether anything is left to run for.
    #[must_use]
    pub fn failed(&self) -> Option<OutputFailed> {
        self.console.as_ref().and_then(Console::failed).map(|reason| OutputFailed { reason })
    }

    /// The queues of all outputs.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueGauge> {
        let console = self.console.iter().map(Console::queue);
        console.chain(self.otlp.iter().map(Exporter::queue)).collect()
    }

    /// Delivers what is still queued, for at most `within`; the rest is counted as lost to the shutdown. Afterwards
    /// nothing is in flight. Returns whether everything that had been taken on was delivered.
    #[must_use]
    pub fn shutdown(self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        // Both are told first, so that they drain side by side.
        let otlp = self.otlp.map(|exporter| exporter.begin_shutdown(deadline));
        let console = self.console.is_none_or(|console| console.shutdown(deadline));
        otlp.is_none_or(otlp::Draining::wait) && console
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Reason, Stage};

    #[test]
    fn every_output_gets_every_span_and_keeps_an_account_of_its_own() {
        let ledger = Arc::new(Ledger::default());
        // Nobody listens there: the port was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = format!("http://127.0.0.1:{port}/v1/traces").parse().unwrap();
        let mut otlp = otlp::Config::new(endpoint, otlp::Protocol::HttpProtobuf);
        otlp.give_up = Duration::from_millis(1);
        let config = Config { console: Some(ConsoleFormat::Json), otlp: Some(otlp) };
        let outputs =
            Outputs::start_on(config, Arc::clone(&ledger), Box::new(io::sink()), console::Style::default()).unwrap();
        let curl = fixture::resource("curl");
        outputs.send(vec![fixture::client(1, &curl), fixture::connection(1, &curl)]);
        outputs.send(Vec::new());
        assert_eq!(outputs.failed(), None);
        assert!(!outputs.shutdown(Duration::from_secs(20)));
        assert_eq!((ledger.console.observed(), ledger.console.delivered()), (2, 2));
        assert_eq!((ledger.otlp.observed(), ledger.otlp.in_flight()), (2, 0));
        assert_eq!(ledger.otlp.dropped(Stage::Export, Reason::Unreachable), 2);
    }

    #[test]
    fn without_outputs_nothing_is_promised() {
        let ledger = Arc::new(Ledger::default());
        let outputs = Outputs::start(Config::default(), Arc::clone(&ledger)).unwrap();
        outputs.send(vec![fixture::client(1, &fixture::resource("curl"))]);
        assert!(outputs.shutdown(Duration::ZERO));
        assert_eq!(ledger.console.observed() + ledger.otlp.observed(), 0);
    }
}
