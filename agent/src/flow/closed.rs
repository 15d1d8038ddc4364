//! Connections that ended a moment ago. Records of different CPUs are merged by time, but not perfectly: one that comes
//! after its connection's end must not bring the connection back.

use std::collections::VecDeque;

use foldhash::HashMap;

use super::{Cookie, Nanos};

/// How long an end is remembered: far more than the merge can be late.
const MAX_AGE_NS: u64 = 2_000_000_000;
/// Ends remembered at once, about 40 bytes each. Covers `MAX_AGE_NS` at 8 000 connections a second.
const MAX_CLOSED: usize = 16_384;

/// When which connection ended.
#[derive(Debug, Default)]
pub(super) struct Closed {
    ended: HashMap<Cookie, Nanos>,
    order: VecDeque<(Nanos, Cookie)>,
}

impl Closed {
    /// When this connection ended, if it was a moment ago.
    pub(super) fn when(&self, cookie: Cookie) -> Option<Nanos> {
        self.ended.get(&cookie).copied()
    }

    /// It ended.
    pub(super) fn remember(&mut self, cookie: Cookie, time: Nanos) {
        if self.order.len() >= MAX_CLOSED {
            self.forget_first();
        }
        self.ended.insert(cookie, time);
        self.order.push_back((time, cookie));
    }

    /// Its socket lives again (`connect` after a failed `connect`).
    pub(super) fn forget(&mut self, cookie: Cookie) {
        self.ended.remove(&cookie);
    }

    /// Forgets what was long ago.
    pub(super) fn expire(&mut self, now: Nanos) {
        while self.order.front().is_some_and(|(time, _)| time.0.saturating_add(MAX_AGE_NS) <= now.0) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((time, cookie)) = self.order.pop_front()
            && self.ended.get(&cookie) == Some(&time)
        {
            self.ended.remove(&cookie);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_remembered_for_a_while_and_not_without_bound() {
        let mut closed = Closed::default();
        for n in 0..2 * MAX_CLOSED as u64 {
            closed.remember(Cookie(n), Nanos(n));
        }
        assert_eq!(closed.when(Cookie(0)), None);
        assert_eq!(closed.when(Cookie(MAX_CLOSED as u64)), Some(Nanos(MAX_CLOSED as u64)));
        assert_eq!(closed.ended.len(), MAX_CLOSED);
        closed.expire(Nanos(u64::MAX));
        assert_eq!((closed.ended.len(), closed.order.len()), (0, 0));
    }

    #[test]
    fn a_second_life_is_remembered_by_its_own_end() {
        let mut closed = Closed::default();
        closed.remember(Cookie(1), Nanos(0));
        closed.forget(Cookie(1));
        assert_eq!(closed.when(Cookie(1)), None);
        closed.remember(Cookie(1), Nanos(9));
        closed.expire(Nanos(MAX_AGE_NS));
        assert_eq!(closed.when(Cookie(1)), Some(Nanos(9)));
    }
}
