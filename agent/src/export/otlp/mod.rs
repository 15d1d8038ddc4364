//! Spans to an OTLP receiver, over gRPC or HTTP. One thread with a runtime of its own: nothing here can hold up the rest.

mod config;
mod connect;
mod grpc;
mod headers;
mod health;
mod http;
mod inbox;
mod reach;
mod retry;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tokio::sync::watch;

pub use self::config::{Config, ConfigError, Protocol, Tls};
pub use self::connect::TlsError;
use self::inbox::Inlet;
pub use self::reach::reach;
use self::retry::Outcome;
use self::worker::{Sender, Worker};
use super::QueueGauge;
use super::batch::Batch;
use super::queue::Room;
use super::tally::{Output, Tally};
use crate::ledger::{Ledger, Reason, Stage};

/// How we call ourselves, as the OTLP specification asks ("User Agent").
const USER_AGENT: &str =
    concat!("Wirespan/", env!("CARGO_PKG_VERSION"), " OTel-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION"));
/// A request may not be larger before compression (OTLP specification).
const MAX_REQUEST_BYTES: usize = 64 << 20;
/// No more of an answer is read (OTLP specification).
const MAX_RESPONSE_BYTES: usize = 4 << 20;

const THREAD: &str = "otlp";

/// The exporter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// TLS does not work as configured.
    #[error("OTLP over TLS: {0}")]
    Tls(#[from] TlsError),
    /// The thread or its runtime could not be had.
    #[error("cannot start the OTLP exporter: {0}; is a limit on processes or open files (ulimit -u, -n) reached?")]
    Runtime(#[from] io::Error),
}

/// The running exporter.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: Inlet,
    room: Room,
    capacity: usize,
    tally: Tally,
    stop: watch::Sender<Option<Instant>>,
    done: Receiver<()>,
}

/// An exporter that sends what it still has.
#[derive(Debug)]
pub(super) struct Draining {
    deadline: Instant,
    tally: Tally,
    done: Receiver<()>,
}

impl Exporter {
    pub(super) fn start(config: Config, ledger: Arc<Ledger>) -> Result<Self, StartError> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let sender = Sender::new(&config)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Bounded by `room`, in spans.
        let (queue, waiting) = inbox::inbox(config.batch_spans);
        let (stop, stopping) = watch::channel(None);
        let (finished, done) = mpsc::channel();
        let capacity = config.queue_spans;
        let room = Room::new(capacity);
        let tally = Tally::new(ledger, Output::Otlp);
        let worker = Worker::new(config, sender, room.clone(), tally.clone(), stopping, waiting);
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            runtime.block_on(worker.run());
            // A name look-up that hangs must not hold up the end.
            runtime.shutdown_background();
            finished.send(()).ok();
        })?;
        Ok(Self { queue, room, capacity, tally, stop, done })
    }

    pub(super) fn send(&self, spans: impl Into<Batch>) {
        let batch = spans.into();
        let wanted = batch.len();
        self.tally.observe(wanted);
        let granted = self.room.take(wanted);
        if granted < wanted {
            self.tally.lose(Stage::Queue, Reason::QueueFull, wanted - granted);
        }
        if granted > 0 {
            self.queue.put(batch.only_first(granted));
        }
    }

    pub(super) fn queue(&self) -> QueueGauge {
        QueueGauge { output: Output::Otlp, capacity: self.capacity, room: self.room.clone() }
    }

    pub(super) fn begin_shutdown(self, deadline: Instant) -> Draining {
        let Self { queue, tally, stop, done, .. } = self;
        stop.send_replace(Some(deadline));
        drop(queue);
        Draining { deadline, tally, done }
    }
}

impl Draining {
    /// Returns whether everything that had been taken on was delivered.
    pub(super) fn wait(self) -> bool {
        self.done.recv_timeout(self.deadline.saturating_duration_since(Instant::now())).ok();
        self.tally.close();
        self.tally.kept_its_promise()
    }
}

/// A good answer, which may still reject some spans or bring a message.
fn accepted(response: ExportTraceServiceResponse) -> Outcome {
    let partial = response.partial_success.unwrap_or_default();
    Outcome::Accepted { rejected: u64::try_from(partial.rejected_spans).unwrap_or(0), message: partial.error_message }
}
