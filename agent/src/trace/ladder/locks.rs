//! What the locks of a process are worth, by which its threads wake each other: the futex tells which one it was.

use foldhash::HashMap;

/// What the locks of a process are worth. Those of which little is known are judged by others of their class.
#[derive(Debug)]
pub(super) struct Locks<const CLASSES: usize> {
    by_lock: HashMap<u64, Seen>,
    others: [Seen; CLASSES],
}

/// How often it was right what a lock tells, while others could have been meant.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    right: u32,
    wrong: u32,
}

/// Locks of a process. Some are made for each wait: those of which little is known are forgotten then.
const MAX_LOCKS: usize = 1_024;
/// A lock must have been seen so often to be kept then.
const FEW: u32 = 16;
/// One that is wrong most of the time shows after so many.
const VERY_FEW: u32 = 4;
/// What is known of others weighs like so many sightings.
const WEIGHT: f64 = 4.0;
/// Before anything was seen: nothing.
const EXPECTED: f64 = 0.5;
/// The least that a lock must be worth to count: much more than chance is, however many requests are open.
const LEAST: f64 = 0.8;
/// Counts are halved then: how many requests are open changes, and with it what chance does.
const MAX_COUNT: u32 = 512;
/// After so many sightings it is seen whether any tells anything.
const ENOUGH: u32 = 256;

impl<const CLASSES: usize> Default for Locks<CLASSES> {
    fn default() -> Self {
        Self { by_lock: HashMap::default(), others: [Seen::default(); CLASSES] }
    }
}

impl Seen {
    fn share(self, expected: f64) -> f64 {
        (f64::from(self.right) + WEIGHT * expected) / (f64::from(self.right) + f64::from(self.wrong) + WEIGHT)
    }

    const fn count(self) -> u32 {
        self.right + self.wrong
    }

    /// Whether enough was seen to know that it is worth nothing.
    fn is_worthless(self) -> bool {
        let least = if self.count() >= FEW { LEAST } else { EXPECTED };
        self.count() >= VERY_FEW && self.share(EXPECTED) < least
    }

    const fn of(is_right: bool) -> Self {
        Self { right: is_right as u32, wrong: !is_right as u32 }
    }

    const fn take_back(&mut self, other: Self) {
        (self.right, self.wrong) = (self.right.saturating_sub(other.right), self.wrong.saturating_sub(other.wrong));
    }

    const fn learn(&mut self, is_right: bool) {
        *if is_right { &mut self.right } else { &mut self.wrong } += 1;
        if self.count() >= MAX_COUNT {
            (self.right, self.wrong) = (self.right / 2, self.wrong / 2);
        }
    }
}

impl<const CLASSES: usize> Locks<CLASSES> {
    /// How likely it is right what a lock tells; `None` where too little is known of such locks, or where it is worth little.
    pub(super) fn worth(&self, lock: u64, class: usize) -> Option<f64> {
        let others = self.others[class];
        let known = self.by_lock.get(&lock).copied().unwrap_or_default();
        let worth = known.share(others.share(EXPECTED));
        (others.count() >= FEW && worth >= LEAST).then_some(worth)
    }

    pub(super) fn learn(&mut self, lock: u64, class: usize, is_right: bool) {
        if self.by_lock.len() >= MAX_LOCKS && !self.by_lock.contains_key(&lock) {
            self.by_lock.retain(|_, seen| seen.count() >= FEW);
        }
        if self.by_lock.len() < MAX_LOCKS {
            self.by_lock.entry(lock).or_default().learn(is_right);
        }
        self.others[class].learn(is_right);
    }

    /// The same, where one on which everybody waits says nothing of the others.
    pub(super) fn learn_apart(&mut self, lock: u64, class: usize, is_right: bool) {
        let before = self.by_lock.get(&lock).copied().unwrap_or_default();
        self.learn(lock, class, is_right);
        if let Some(known) = self.by_lock.get(&lock).filter(|known| known.is_worthless()) {
            self.others[class].take_back(if before.is_worthless() { Seen::of(is_right) } else { *known });
        }
    }

    /// How many sightings of a class count.
    pub(super) const fn seen_of(&self, class: usize) -> u32 {
        self.others[class].count()
    }

    /// Whether nothing was ever learnt: of most processes it is not told who wakes whom.
    pub(super) fn is_empty(&self) -> bool {
        self.others.iter().all(|seen| seen.count() == 0)
    }

    /// Whether one is known that is worth something.
    pub(super) fn has_good(&self) -> bool {
        let is_good = |seen: &Seen| seen.count() >= FEW && seen.share(EXPECTED) >= LEAST;
        self.others.iter().chain(self.by_lock.values()).any(is_good)
    }

    /// Whether enough was seen to know that none is worth anything.
    pub(super) fn is_worthless(&self) -> bool {
        self.others.iter().map(|seen| seen.count()).sum::<u32>() >= ENOUGH && !self.has_good()
    }

    /// Whether enough was seen of this one to know that it is worth nothing.
    pub(super) fn is_known_worthless(&self, lock: u64) -> bool {
        self.by_lock.get(&lock).is_some_and(|seen| seen.is_worthless())
    }
}
