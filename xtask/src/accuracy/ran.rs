//! What became of a load: each request, the calls that the backends saw, and whether they are those of the contract.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::accuracy::head::Message;
use crate::accuracy::token::{Place, Token};
use crate::bed::as_f64;

/// A load that has run.
#[derive(Debug)]
pub(super) struct Ran {
    /// What arrived, in order.
    pub(super) requests: Vec<Request>,
    /// Connections that each backend had at most.
    pub(super) peak: [usize; 2],
    /// The first thing that belongs to no request.
    pub(super) strange: Option<String>,
}

/// A request to the application.
#[derive(Debug)]
pub(super) struct Request {
    /// Its token.
    pub(super) token: Token,
    /// The span id in its `traceparent`, if it had one.
    pub(super) parent: Option<u64>,
    /// When it was sent, or its connection begun.
    pub(super) arrived: Instant,
    /// When its answer came.
    pub(super) answered: Option<Instant>,
    /// What became of it.
    pub(super) fate: Fate,
    /// The calls that were made for it.
    pub(super) calls: Vec<Call>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was answered with 200.
    Answered,
    /// It was answered otherwise, or its connection ended.
    Failed(String),
    /// Nothing came within the limit.
    Unanswered,
}

/// A call that a backend saw.
#[derive(Debug)]
pub(super) struct Call {
    /// First segment of its path.
    name: String,
    /// Which backend.
    backend: usize,
    came: Instant,
    /// When it was answered.
    pub(super) answered: Option<Instant>,
    traceparent: Option<String>,
    /// A header that holds the token.
    betrayed_by: Option<String>,
    closes: bool,
}

impl Call {
    /// A call with this head.
    pub(super) fn new(place: Place<'_>, backend: usize, came: Instant, message: &Message<'_>) -> Self {
        let token = place.token.to_string();
        let betrays =
            |(name, value): &(&str, &str)| value.contains(&token) && !name.eq_ignore_ascii_case("traceparent");
        Self {
            name: place.call.to_owned(),
            backend,
            came,
            answered: None,
            traceparent: message.header("traceparent").map(str::to_owned),
            betrayed_by: message.headers().find(betrays).map(|(name, _)| name.to_owned()),
            closes: message.closes(),
        }
    }
}

impl Ran {
    /// How many were answered as they should be.
    pub(super) fn answered(&self) -> usize {
        self.requests.iter().filter(|request| request.fate == Fate::Answered).count()
    }

    /// How many nothing came for.
    pub(super) fn unanswered(&self) -> usize {
        self.requests.iter().filter(|request| request.fate == Fate::Unanswered).count()
    }

    /// The first failure, in words.
    pub(super) fn failure(&self) -> Option<&str> {
        self.requests.iter().find_map(|request| match &request.fate {
            Fate::Failed(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// Requests in flight on average, while the second half of them arrived.
    pub(super) fn in_flight(&self) -> f64 {
        let arrivals = || self.requests.iter().map(|request| request.arrived);
        let (Some(from), Some(to)) = (arrivals().nth(self.requests.len() / 2), arrivals().next_back()) else {
            return 0.0;
        };
        let inside = |request: &Request| -> Duration {
            request.answered.unwrap_or(to).min(to).saturating_duration_since(request.arrived.max(from))
        };
        let sum: Duration = self.requests.iter().map(inside).sum();
        let nanoseconds = |time: Duration| as_f64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if to > from { nanoseconds(sum) / nanoseconds(to - from) } else { 0.0 }
    }

    /// Checks that the application did for each answered request what the contract says: these calls, in this order.
    pub(super) fn keeps_contract(&self, calls: &[&str], pool: u32) -> Result<()> {
        if let Some(why) = self.failure() {
            bail!("a request failed: {why}");
        }
        if self.unanswered() > 0 {
            bail!("{} of {} requests were not answered", self.unanswered(), self.requests.len());
        }
        if let Some(strange) = &self.strange {
            bail!("it made {strange}");
        }
        self.requests.iter().try_for_each(|request| request.keeps_contract(calls))?;
        // A machine that does something else between them can make it look so for a few.
        let apart = self.requests.iter().filter(|request| request.has_pair_apart()).count();
        if apart * 2 > self.requests.len() {
            bail!("calls c and d were made one after the other, for {apart} of {} requests", self.requests.len());
        }
        if pool > 0
            && let Some(peak) = self.peak.iter().find(|peak| **peak > pool as usize)
        {
            bail!("it had {peak} connections to a backend, with a pool of {pool}");
        }
        Ok(())
    }
}

impl Request {
    fn keeps_contract(&self, calls: &[&str]) -> Result<()> {
        let made: Vec<_> = self.calls.iter().map(|call| call.name.as_str()).collect();
        let mut sorted = made.clone();
        sorted.sort_unstable();
        if sorted != calls {
            bail!("it made the calls {made:?}, not {calls:?}");
        }
        for call in &self.calls {
            let (name, backend) = (&call.name, usize::from(matches!(call.name.as_str(), "b" | "d")));
            if call.backend != backend {
                bail!("call {name} came to the other backend");
            }
            if call.closes {
                bail!("call {name} does not keep its connection open");
            }
            if let Some(header) = &call.betrayed_by {
                bail!("call {name} has the token in its header {header}");
            }
            let parent = call.traceparent.as_deref().and_then(|text| text.split('-').nth(2));
            if parent != self.parent.map(|parent| format!("{parent:016x}")).as_deref() {
                bail!("call {name} has the traceparent {:?}, which is not what came in", call.traceparent);
            }
        }
        for (earlier, later) in [("a", "b"), ("b", "c"), ("b", "d")] {
            if let (Some(earlier), Some(later)) = (self.call(earlier), self.call(later))
                && earlier.answered.is_none_or(|answered| answered > later.came)
            {
                bail!("call {} was made before call {} was answered", later.name, earlier.name);
            }
        }
        Ok(())
    }

    /// Whether one of the two calls that are to be made at the same time was answered before the other one came.
    fn has_pair_apart(&self) -> bool {
        let (Some(c), Some(d)) = (self.call("c"), self.call("d")) else { return false };
        [(c, d), (d, c)].iter().any(|(one, other)| one.answered.is_some_and(|answered| answered < other.came))
    }

    fn call(&self, name: &str) -> Option<&Call> {
        self.calls.iter().find(|call| call.name == name)
    }
}
