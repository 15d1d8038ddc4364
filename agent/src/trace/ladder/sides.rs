//! Which processes answer requests, which make calls, and which do both: only where both are done there is something to join.
//!
//! Of a process that does one alone, and did so many times, it need not be told who takes which message, and its requests need
//! not be followed. What such a process does when it makes its first call can't be told: while a request is open that was not
//! followed, none of its calls is linked, since that request might be the one.

use foldhash::HashMap;

use crate::flow::Role;

/// What processes do.
#[derive(Debug, Default)]
pub struct Sides {
    known: HashMap<u32, Side>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// Requests that it answers.
    answers: u32,
    /// Calls that it makes.
    calls: u32,
    /// Requests that are open and not followed.
    unfollowed: u32,
}

/// One that did so much on one side and nothing on the other is expected to go on like that.
const SETTLED: u32 = 256;
/// Processes that are known, 16 bytes each. Beyond that all are forgotten, and followed again.
const MAX_PROCESSES: usize = 16_384;

impl Sides {
    /// A process answers a request, or makes a call.
    pub fn note(&mut self, tgid: u32, role: Role) {
        if tgid == 0 {
            return;
        }
        if self.known.len() >= MAX_PROCESSES && !self.known.contains_key(&tgid) {
            // Those with something open must stay.
            self.known.retain(|_, side| side.unfollowed > 0);
        }
        let side = self.known.entry(tgid).or_default();
        let count = match role {
            Role::Server => &mut side.answers,
            Role::Client => &mut side.calls,
        };
        *count = count.saturating_add(1);
    }

    /// Whether there may be something to join.
    #[must_use]
    pub fn may_join(&self, tgid: u32) -> bool {
        let side = self.known.get(&tgid).copied().unwrap_or_default();
        side.answers.max(side.calls) < SETTLED || side.answers.min(side.calls) > 0
    }

    /// Whether it answers a request that is not followed.
    #[must_use]
    pub fn is_blind(&self, tgid: u32) -> bool {
        self.known.get(&tgid).is_some_and(|side| side.unfollowed > 0)
    }

    /// A request that it answers is not followed.
    pub fn open_unfollowed(&mut self, tgid: u32) {
        self.known.entry(tgid).or_default().unfollowed += 1;
    }

    /// Such a request is over.
    pub fn close_unfollowed(&mut self, tgid: u32) {
        if let Some(side) = self.known.get_mut(&tgid) {
            side.unfollowed = side.unfollowed.saturating_sub(1);
        }
    }

    /// A process has ended, or runs another program.
    pub fn parted(&mut self, tgid: u32) {
        self.known.remove(&tgid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_answers_or_only_calls_has_nothing_to_be_joined() {
        for (often, once) in [(Role::Server, Role::Client), (Role::Client, Role::Server)] {
            let mut sides = Sides::default();
            (1..SETTLED).for_each(|_| sides.note(7, often));
            assert!(sides.may_join(7), "it may have only begun");
            sides.note(7, often);
            assert!(!sides.may_join(7));
            sides.note(7, once);
            (0..10 * SETTLED).for_each(|_| sides.note(7, often));
            assert!(sides.may_join(7), "it stays so");
            sides.parted(7);
            (0..SETTLED).for_each(|_| sides.note(7, often));
            assert!(!sides.may_join(7), "another program");
        }
        assert!(Sides::default().may_join(0));
    }

    #[test]
    fn a_process_is_blind_while_something_is_open_that_is_not_followed() {
        let mut sides = Sides::default();
        sides.open_unfollowed(7);
        sides.open_unfollowed(7);
        sides.close_unfollowed(7);
        assert!(sides.is_blind(7) && !sides.is_blind(8));
        sides.close_unfollowed(7);
        sides.close_unfollowed(7);
        assert!(!sides.is_blind(7));
    }

    #[test]
    fn more_processes_than_are_kept_are_forgotten_but_for_blind_ones() {
        let mut sides = Sides::default();
        sides.open_unfollowed(1);
        for tgid in 2..=u32::try_from(MAX_PROCESSES).expect("few") + 1 {
            sides.note(tgid, Role::Server);
        }
        assert_eq!(sides.known.len(), 2);
        assert!(sides.is_blind(1));
    }
}
