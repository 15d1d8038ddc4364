//! What the user is told about the receiver: once when it goes away, now and then while it is away, once when it is back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A warning of the same kind is repeated at most this often.
const REPEAT: Duration = Duration::from_secs(60);

/// Shared by the batches under way.
#[derive(Debug)]
pub(super) struct Health {
    endpoint: String,
    queue_spans: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    away: Option<Instant>,
    told_away: Option<Instant>,
    told_refused: Option<Instant>,
    told_partial: Option<Instant>,
}

impl Health {
    pub(super) fn new(endpoint: String, queue_spans: usize) -> Self {
        Self { endpoint, queue_spans, state: Mutex::default() }
    }

    /// It took a request: what to say, if anything.
    pub(super) fn well(&self, now: Instant) -> Option<String> {
        let mut state = self.locked();
        let since = state.away.take()?;
        state.told_away = None;
        Some(format!(
            "the OTLP receiver at {} is back after {} s",
            self.endpoint,
            now.saturating_duration_since(since).as_secs()
        ))
    }

    /// It did not take a request now.
    pub(super) fn away(&self, why: &str, now: Instant) -> Option<String> {
        let mut state = self.locked();
        state.away.get_or_insert(now);
        due(&mut state.told_away, now).then(|| {
            format!(
                "the OTLP receiver at {} does not take spans ({why}); they are sent again until it does, up to {} wait, \
                 more are dropped and counted",
                self.endpoint, self.queue_spans
            )
        })
    }

    /// It refused a request for good.
    pub(super) fn refused(&self, why: &str, spans: usize, now: Instant) -> Option<String> {
        due(&mut self.locked().told_refused, now).then(|| {
            format!(
                "the OTLP receiver at {} refused {spans} spans for good ({why}); they are dropped and counted: check \
                 endpoint, protocol and headers",
                self.endpoint
            )
        })
    }

    /// It took a request in part, or had something to say.
    pub(super) fn partial(&self, message: &str, rejected: u64, now: Instant) -> Option<String> {
        due(&mut self.locked().told_partial, now)
            .then(|| format!("the OTLP receiver at {} rejected {rejected} spans: {message}", self.endpoint))
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn due(told: &mut Option<Instant>, now: Instant) -> bool {
    if told.is_some_and(|then| now.saturating_duration_since(then) < REPEAT) {
        return false;
    }
    *told = Some(now);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_when_it_goes_and_one_line_when_it_is_back() {
        let health = Health::new("http://h:4318/v1/traces".to_owned(), 100);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(health.well(start), None);
        let warning = health.away("connection refused", start).unwrap();
        assert!(warning.contains("http://h:4318/v1/traces") && warning.contains("connection refused"), "{warning}");
        assert_eq!(health.away("connection refused", after(59)), None);
        assert!(health.away("connection refused", after(60)).is_some());
        assert_eq!(health.well(after(61)).unwrap(), "the OTLP receiver at http://h:4318/v1/traces is back after 61 s");
        assert_eq!(health.well(after(62)), None);
        assert!(health.away("connection refused", after(63)).is_some());
    }
}
