//! What a request waits for before it acts: which calls' answers must be there before another call, or the answer, is made.
//! Calls that are made at the same time do not wait for each other, also where one of them is answered before the other one
//! got a connection.

use foldhash::HashMap;

use super::plan::ANSWER;

/// What was seen of pairs of actions of the requests of one process.
#[derive(Debug, Default)]
pub(super) struct Waits {
    pairs: HashMap<Pair, Seen>,
    /// Those of them that are proven not to wait: few, and asked for all the time.
    free: Vec<Pair>,
    /// How often one was added or taken away.
    changes: u32,
}

/// Of requests of this operation, a later action and an earlier call.
type Pair = (u64, u64, u64);

/// How often the earlier call was answered when the later action was taken, and how often it was not.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    heard: u32,
    outstanding: u32,
}

/// Pairs of one process.
const MAX_PAIRS: usize = 4_096;
/// Pairs of one process that do not wait.
const MAX_FREE: usize = 64;
/// Counts are halved then.
const MAX_COUNT: u32 = 4_096;
/// So often it must have been seen that one does not wait for the other: a wrong link can make it look so.
const PROVEN: u32 = 3;
/// And once in so many times at least.
const SHARE: u32 = 33;

impl Waits {
    /// Whether an action is known not to wait for a call, nor the other way round.
    pub(super) fn is_free(&self, operation: u64, action: u64, call: u64) -> bool {
        self.free.iter().any(|&(of, later, earlier)| {
            of == operation
                && ((later, earlier) == (action, call) || (action != ANSWER && (later, earlier) == (call, action)))
        })
    }

    /// How often it was found that something waits for something, or does not: what was worked out before the last time may be wrong.
    pub(super) const fn changes(&self) -> u32 {
        self.changes
    }

    /// An action was taken after a call, whose answer was there or not.
    pub(super) fn learn(&mut self, operation: u64, action: u64, call: u64, is_heard: bool) {
        let pair = (operation, action, call);
        if self.pairs.len() >= MAX_PAIRS && !self.pairs.contains_key(&pair) {
            return;
        }
        let seen = self.pairs.entry(pair).or_default();
        *if is_heard { &mut seen.heard } else { &mut seen.outstanding } += 1;
        if seen.heard + seen.outstanding >= MAX_COUNT {
            *seen = Seen { heard: seen.heard / 2, outstanding: seen.outstanding / 2 };
        }
        let (is_free, known) = (seen.is_proven(), self.free.iter().position(|&free| free == pair));
        match known {
            None if is_free && self.free.len() < MAX_FREE => self.free.push(pair),
            Some(at) if !is_free => _ = self.free.swap_remove(at),
            _ => return,
        }
        self.changes = self.changes.wrapping_add(1);
    }
}

impl Seen {
    const fn is_proven(&self) -> bool {
        self.outstanding >= PROVEN && self.outstanding * SHARE >= self.heard + self.outstanding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_often_made_beside_a_call_does_not_wait_for_it() {
        let mut waits = Waits::default();
        for at in 0..PROVEN {
            assert!(!waits.is_free(1, 3, 2), "after {at}");
            waits.learn(1, 3, 2, false);
        }
        assert!(waits.is_free(1, 3, 2));
        assert!(waits.is_free(1, 2, 3) && !waits.is_free(9, 3, 2));
        (0..200).for_each(|_| waits.learn(1, 3, 2, true));
        assert!(!waits.is_free(1, 3, 2), "it was chance, or a mistake");
    }
}
