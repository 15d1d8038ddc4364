//! T1, threads: whether a process answers each request on the thread that took it, one at a time. Then what the thread
//! calls meanwhile is that request's.

/// What was seen of the threads of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habit {
    kept: u32,
    broken: u32,
}

/// How sure a link by the thread is, once the habit is proven.
pub(super) const STRENGTH: f64 = 0.995;
/// Calls of a kind that are made while nothing is answered, more often than this, are no request's.
pub(super) const ORPHAN_SHARE: f64 = 0.02;
/// So many requests must have kept to the habit.
const PROVEN: u32 = 32;
/// One in so many may have broken it.
const BROKEN_SHARE: u32 = 200;
/// Counts are halved then: what a process does changes.
const MAX_COUNT: u32 = 4_096;

impl Habit {
    /// A request was answered: by the thread that took it, which had taken no other that was not answered?
    pub(super) fn note(&mut self, is_kept: bool) {
        if is_kept {
            self.kept += 1;
        } else {
            self.broken += 1;
        }
        if self.kept + self.broken > MAX_COUNT {
            self.kept /= 2;
            self.broken /= 2;
        }
    }

    /// Whether the process answers each request on a thread of its own.
    #[must_use]
    pub(super) const fn is_proven(&self) -> bool {
        self.is_kept_but_for(BROKEN_SHARE)
    }

    /// Whether it was kept often, and broken at most once in so many times.
    #[must_use]
    pub(super) const fn is_kept_but_for(&self, broken_share: u32) -> bool {
        self.kept >= PROVEN && self.broken * broken_share <= self.kept
    }

    /// Whether it was broken more often than it was kept.
    #[must_use]
    pub(super) const fn is_broken(&self) -> bool {
        self.broken > self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_habit_is_proven_by_many_and_broken_by_few() {
        let mut habit = Habit::default();
        (1..PROVEN).for_each(|_| habit.note(true));
        assert!(!habit.is_proven());
        habit.note(true);
        assert!(habit.is_proven());
        habit.note(false);
        assert!(!habit.is_proven());
        (0..BROKEN_SHARE).for_each(|_| habit.note(true));
        assert!(habit.is_proven());
    }
}
