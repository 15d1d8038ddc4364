//! Batches: when they are sent, how often, and what becomes of their spans.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::sync::{mpsc::UnboundedReceiver, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::config::{Config, Protocol};
use super::connect::{self, TlsError};
use super::grpc::GrpcSender;
use super::health::Health;
use super::http::{self, HttpSender};
use super::retry::{Backoff, Outcome};
use super::{MAX_REQUEST_BYTES, Tally};
use crate::export::convert;
use crate::export::queue::Room;
use crate::ledger::{Reason, Stage};
use crate::trace::span::Span;

/// Requests under way at once: enough to hide a round trip to another continent at 5 000 spans/s, few enough not to
/// crowd a receiver in trouble. An encoded batch of 512 spans is about 256 KiB.
const IN_FLIGHT: usize = 4;

/// The transport.
#[derive(Clone, Debug)]
pub(super) enum Sender {
    Http(HttpSender),
    Grpc(GrpcSender),
}

impl Sender {
    pub(super) fn new(config: &Config) -> Result<Self, TlsError> {
        let connector = connect::connector(config)?;
        Ok(match config.protocol {
            Protocol::Grpc => Self::Grpc(GrpcSender::new(config, connector)),
            Protocol::HttpProtobuf | Protocol::HttpJson => Self::Http(HttpSender::new(config, connector)),
        })
    }

    async fn send(&self, body: Bytes) -> Outcome {
        match self {
            Self::Http(sender) => sender.send(body).await,
            Self::Grpc(sender) => sender.send(body).await,
        }
    }
}

/// Collects spans to batches and has them delivered.
#[derive(Debug)]
pub(super) struct Worker {
    config: Config,
    room: Room,
    delivery: Arc<Delivery>,
    stop: watch::Receiver<Option<Instant>>,
    waiting: VecDeque<Span>,
    due: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        config: Config,
        sender: Sender,
        room: Room,
        tally: Tally,
        stop: watch::Receiver<Option<Instant>>,
    ) -> Self {
        let delivery = Delivery {
            sender,
            timeout: config.timeout,
            give_up: config.give_up,
            health: Health::new(config.endpoint.to_string(), config.queue_spans),
            tally,
            stop: stop.clone(),
        };
        Self { config, room, delivery: Arc::new(delivery), stop, waiting: VecDeque::new(), due: None }
    }

    /// Runs until the queue is closed and everything is sent, or the time of the shutdown is over.
    pub(super) async fn run(self, queue: UnboundedReceiver<Vec<Span>>) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.work(queue) => {}
            () = deadline(&mut stop) => {}
        }
    }

    async fn work(mut self, mut queue: UnboundedReceiver<Vec<Span>>) {
        let mut under_way = JoinSet::new();
        let mut is_open = true;
        loop {
            while under_way.len() < IN_FLIGHT && self.is_due(is_open) {
                if let Some(payload) = self.next_batch() {
                    under_way.spawn(Arc::clone(&self.delivery).deliver(payload));
                }
            }
            if !is_open && self.waiting.is_empty() && under_way.is_empty() {
                return;
            }
            let due = self.due.filter(|_| under_way.len() < IN_FLIGHT);
            tokio::select! {
                received = queue.recv(), if is_open => match received {
                    Some(spans) => self.take(spans),
                    None => is_open = false,
                },
                Some(_) = under_way.join_next() => {}
                () = until(due) => {}
            }
        }
    }

    fn take(&mut self, spans: Vec<Span>) {
        self.due.get_or_insert_with(|| Instant::now() + self.config.schedule_delay);
        self.waiting.extend(spans);
    }

    fn is_due(&self, is_open: bool) -> bool {
        !self.waiting.is_empty()
            && (!is_open
                || self.waiting.len() >= self.config.batch_spans
                || self.due.is_some_and(|due| due <= Instant::now()))
    }

    fn next_batch(&mut self) -> Option<Payload> {
        let count = self.waiting.len().min(self.config.batch_spans);
        let spans: Vec<Span> = self.waiting.drain(..count).collect();
        self.due = (!self.waiting.is_empty()).then(|| Instant::now() + self.config.schedule_delay);
        self.room.give_back(count);
        let payload = encode(spans, self.config.protocol, self.config.gzip, MAX_REQUEST_BYTES);
        if payload.is_none() {
            tracing::warn!("{count} spans are larger than an OTLP request may be; they are dropped and counted");
            self.delivery.tally.lose(Stage::Export, Reason::TooLarge, count);
        }
        payload
    }
}

/// A request, ready to be sent as often as it takes.
#[derive(Debug)]
struct Payload {
    spans: usize,
    body: Bytes,
}

/// Encodes spans as one request; `None` when it would be larger than a request may be, or cannot be written down.
fn encode(spans: Vec<Span>, protocol: Protocol, gzip: bool, max_bytes: usize) -> Option<Payload> {
    let count = spans.len();
    let request = ExportTraceServiceRequest { resource_spans: convert::resource_spans(spans) };
    let body = match protocol {
        Protocol::HttpJson => serde_json::to_vec(&request).ok()?,
        Protocol::Grpc | Protocol::HttpProtobuf => {
            if request.encoded_len() > max_bytes {
                return None;
            }
            request.encode_to_vec()
        }
    };
    if body.len() > max_bytes {
        return None;
    }
    // tonic compresses by itself, because gRPC does so per message.
    let body = if gzip && protocol != Protocol::Grpc { http::gzip(&body).ok()? } else { body };
    Some(Payload { spans: count, body: body.into() })
}

/// What all batches under way share.
#[derive(Debug)]
struct Delivery {
    sender: Sender,
    timeout: Duration,
    give_up: Duration,
    health: Health,
    tally: Tally,
    stop: watch::Receiver<Option<Instant>>,
}

impl Delivery {
    /// Sends a request until it is taken, refused, or given up.
    async fn deliver(self: Arc<Self>, payload: Payload) {
        let give_up = Instant::now() + self.give_up;
        let mut backoff = Backoff::new();
        let mut stop = self.stop.clone();
        loop {
            let outcome = timeout(self.timeout, self.sender.send(payload.body.clone())).await.unwrap_or_else(|_| {
                Outcome::Later { after: None, why: format!("no answer within {} ms", self.timeout.as_millis()) }
            });
            let now = Instant::now();
            match outcome {
                Outcome::Accepted { rejected, message } => {
                    return self.accepted(payload.spans, rejected, &message, now);
                }
                Outcome::Refused { why } => {
                    self.tally.lose(Stage::Export, Reason::Rejected, payload.spans);
                    return warn(self.health.refused(&why, payload.spans, now));
                }
                Outcome::Later { after, why } => {
                    warn(self.health.away(&why, now));
                    let pause = backoff.pause(after, fastrand::f64());
                    let Some(again) = now.checked_add(pause).filter(|again| *again <= give_up) else {
                        return self.tally.lose(Stage::Export, Reason::Unreachable, payload.spans);
                    };
                    let was_stopping = stop.borrow_and_update().is_some();
                    tokio::select! {
                        () = sleep_until(again.into()) => {}
                        // The end is near: what can still be sent is sent now, unless the receiver asked for the pause.
                        () = stopping(&mut stop), if !was_stopping && after.is_none() => backoff = Backoff::new(),
                    }
                }
            }
        }
    }

    fn accepted(&self, spans: usize, rejected: u64, message: &str, now: Instant) {
        let rejected = usize::try_from(rejected).unwrap_or(spans).min(spans);
        self.tally.deliver(spans - rejected);
        if rejected > 0 {
            self.tally.lose(Stage::Export, Reason::Rejected, rejected);
        }
        if let Some(line) = self.health.well(now) {
            tracing::info!("{line}");
        }
        if rejected > 0 || !message.is_empty() {
            warn(self.health.partial(message, rejected as u64, now));
        }
    }
}

fn warn(line: Option<String>) {
    if let Some(line) = line {
        tracing::warn!("{line}");
    }
}

/// Comes when the time of the shutdown is over; never without one.
async fn deadline(stop: &mut watch::Receiver<Option<Instant>>) {
    stopping(stop).await;
    let deadline = *stop.borrow();
    until(deadline).await;
}

/// Comes when a shutdown has begun.
async fn stopping(stop: &mut watch::Receiver<Option<Instant>>) {
    if stop.wait_for(Option::is_some).await.is_err() {
        // Nobody can begin one any more; the closed queue ends the work.
        pending::<()>().await;
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixture;

    #[test]
    fn a_request_that_is_too_large_is_not_made() {
        let spans = || vec![fixture::client(1, &fixture::resource("curl"))];
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson] {
            let payload = encode(spans(), protocol, false, MAX_REQUEST_BYTES).unwrap();
            assert!(encode(spans(), protocol, true, payload.body.len()).is_some(), "{protocol}");
            assert!(encode(spans(), protocol, true, payload.body.len() - 1).is_none(), "{protocol}");
        }
    }
}
