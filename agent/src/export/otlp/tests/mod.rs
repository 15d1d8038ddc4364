//! The exporter against real receivers on loopback.

mod grpc;
mod http;
mod receiver;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::http::Uri;

use super::*;
use crate::export::fixture;
use crate::trace::span::Span;

/// No step takes this long unless something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// An exporter to a receiver that sends whatever it is given at once.
struct Bench {
    ledger: Arc<Ledger>,
    exporter: Exporter,
}

impl Bench {
    fn start(endpoint: &str, protocol: Protocol, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(endpoint.parse::<Uri>().unwrap(), protocol);
        config.schedule_delay = Duration::ZERO;
        change(&mut config);
        let ledger = Arc::new(Ledger::default());
        let exporter = Exporter::start(config, Arc::clone(&ledger)).unwrap();
        Self { ledger, exporter }
    }

    fn send(&self, spans: usize) {
        self.exporter.send(spans_of_curl(spans));
    }

    /// Drains, and returns the ledger with whether all went well. Nothing is in flight afterwards.
    fn finish(self) -> (Arc<Ledger>, bool) {
        self.finish_by(Instant::now() + PATIENCE)
    }

    fn finish_by(self, deadline: Instant) -> (Arc<Ledger>, bool) {
        let well = self.exporter.begin_shutdown(deadline).wait();
        assert_eq!(self.ledger.otlp.in_flight(), 0);
        (self.ledger, well)
    }
}

fn spans_of_curl(spans: usize) -> Vec<Span> {
    let curl = fixture::resource("curl");
    (0..spans).map(|_| fixture::client(1, &curl)).collect()
}

/// Observed, delivered, and what was lost where and why.
fn account(ledger: &Ledger) -> (u64, u64, Vec<(Stage, Reason, u64)>) {
    (ledger.otlp.observed(), ledger.otlp.delivered(), ledger.otlp.losses().collect())
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
