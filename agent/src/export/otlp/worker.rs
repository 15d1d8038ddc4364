//! Batches: when they are sent, how often, and what becomes of their spans.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::config::{Config, Protocol};
use super::connect::{self, TlsError};
use super::grpc::GrpcSender;
use super::health::Health;
use super::http::{self, HttpSender};
use super::inbox::{Level, Outlet};
use super::retry::{Backoff, Outcome};
use super::{MAX_REQUEST_BYTES, Tally};
use crate::export::batch::Batch;
use crate::export::queue::Room;
use crate::export::{json, protobuf};
use crate::ledger::{Reason, Stage};

/// Requests under way at once: enough to hide a round trip to another continent at 5 000 spans/s, few enough not to
/// crowd a receiver in trouble. An encoded batch of 512 spans is about 400 KiB.
const IN_FLIGHT: usize = 4;
/// Room made for a span before it is encoded: most need less. What is not needed is never touched.
const USUAL_SPAN_BYTES: usize = 1_024;

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

    pub(super) async fn send(&self, body: Bytes) -> Outcome {
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
    inbox: Outlet,
    due: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        config: Config,
        sender: Sender,
        room: Room,
        tally: Tally,
        stop: watch::Receiver<Option<Instant>>,
        inbox: Outlet,
    ) -> Self {
        let delivery = Delivery {
            sender,
            timeout: config.timeout,
            give_up: config.give_up,
            health: Health::new(config.shown_endpoint(), config.queue_spans),
            tally,
            stop: stop.clone(),
        };
        Self { config, room, delivery: Arc::new(delivery), stop, inbox, due: None }
    }

    /// Runs until nothing more can come and everything is sent, or the time of the shutdown is over.
    pub(super) async fn run(self) {
        let mut stop = self.stop.clone();
        tokio::select! {
            () = self.work() => {}
            () = deadline(&mut stop) => {}
        }
    }

    async fn work(mut self) {
        let mut under_way = JoinSet::new();
        loop {
            while under_way.len() < IN_FLIGHT && self.is_due() {
                if let Some(payload) = self.next_batch() {
                    under_way.spawn(Arc::clone(&self.delivery).deliver(payload));
                }
            }
            if self.inbox.level() == (Level { spans: 0, is_open: false }) && under_way.is_empty() {
                return;
            }
            let due = self.due.filter(|_| under_way.len() < IN_FLIGHT);
            tokio::select! {
                () = self.inbox.changed() => {}
                Some(_) = under_way.join_next() => {}
                () = until(due) => {}
            }
        }
    }

    /// Whether a batch is to be sent now; from the first span that waits on, when.
    fn is_due(&mut self) -> bool {
        let level = self.inbox.level();
        if level.spans == 0 {
            return false;
        }
        let now = Instant::now();
        let due = *self.due.get_or_insert(now + self.config.schedule_delay);
        !level.is_open || level.spans >= self.config.batch_spans || due <= now
    }

    fn next_batch(&mut self) -> Option<Payload> {
        let parts = self.inbox.take(self.config.batch_spans);
        let count = parts.iter().map(|part| part.len()).sum();
        self.due = None;
        self.room.give_back(count);
        let payload = encode(&parts, self.config.protocol, self.config.gzip, MAX_REQUEST_BYTES);
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

/// A request without spans.
pub(super) fn empty_request(config: &Config) -> Option<Bytes> {
    encode(&[], config.protocol, config.gzip, MAX_REQUEST_BYTES).map(|payload| payload.body)
}

/// Encodes spans as one request; `None` when it would be larger than a request may be, or cannot be written down.
fn encode(parts: &[Batch], protocol: Protocol, gzip: bool, max_bytes: usize) -> Option<Payload> {
    let spans = parts.iter().map(|part| part.len()).sum();
    let mut body = Vec::with_capacity(spans * USUAL_SPAN_BYTES);
    let all = parts.iter().flat_map(|part| part.iter());
    match protocol {
        Protocol::HttpJson => json::write_object(all, &mut body).ok()?,
        Protocol::Grpc | Protocol::HttpProtobuf => protobuf::write_request(all, &mut body),
    }
    if body.len() > max_bytes {
        return None;
    }
    // tonic compresses by itself, because gRPC does so per message.
    let body = if gzip && protocol != Protocol::Grpc { http::gzip(&body).ok()? } else { body };
    Some(Payload { spans, body: body.into() })
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
        let parts = [vec![fixture::client(1, &fixture::resource("curl"))].into()];
        for protocol in [Protocol::Grpc, Protocol::HttpProtobuf, Protocol::HttpJson] {
            let payload = encode(&parts, protocol, false, MAX_REQUEST_BYTES).unwrap();
            assert!(encode(&parts, protocol, true, payload.body.len()).is_some(), "{protocol}");
            assert!(encode(&parts, protocol, true, payload.body.len() - 1).is_none(), "{protocol}");
        }
    }
}
