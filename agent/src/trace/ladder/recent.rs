//! The calls of a process in the order in which they were made: those around one are looked at far more often than any is added.

use std::collections::VecDeque;

use crate::flow::Nanos;
use crate::slots::Key;

/// Calls in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Recent {
    calls: VecDeque<Entry>,
}

/// A call, with what is asked about those around one before anything else.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    made: Nanos,
    operation: u64,
}

impl Recent {
    /// One more call, among the others.
    pub(super) fn add(&mut self, key: Key, made: Nanos, operation: u64) {
        let later = self.calls.iter().rev().take_while(|other| other.made > made).count();
        self.calls.insert(self.calls.len() - later, Entry { key, made, operation });
    }

    /// What is called is known better now.
    pub(super) fn rename(&mut self, key: Key, made: Nanos, operation: u64) {
        let from = self.place(made);
        if let Some(entry) = self.calls.range_mut(from..).find(|entry| entry.key == key) {
            entry.operation = operation;
        }
    }

    /// The oldest one.
    pub(super) fn oldest(&self) -> Option<Key> {
        self.calls.front().map(|entry| entry.key)
    }

    pub(super) fn forget_oldest(&mut self) {
        self.calls.pop_front();
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The latest ones first.
    pub(super) fn latest(&self) -> impl Iterator<Item = Key> {
        self.calls.iter().rev().map(|entry| entry.key)
    }

    /// Those made at a time or later.
    pub(super) fn since(&self, at: Nanos) -> impl Iterator<Item = Key> {
        self.calls.range(self.place(at)..).map(|entry| entry.key)
    }

    /// Those of so many made at a time or later that are of a kind.
    pub(super) fn later(&self, at: Nanos, operation: u64, of: usize) -> impl Iterator<Item = Key> {
        let later = self.calls.range(self.place(at)..).take(of);
        later.filter(move |entry| entry.operation == operation).map(|entry| entry.key)
    }

    /// Those of so many made before a time, but not before another, that are of a kind: the latest first.
    pub(super) fn earlier(&self, at: Nanos, not_before: Nanos, operation: u64, of: usize) -> impl Iterator<Item = Key> {
        let earlier = self.calls.range(..self.place(at)).rev().take(of);
        let earlier = earlier.take_while(move |entry| entry.made >= not_before);
        earlier.filter(move |entry| entry.operation == operation).map(|entry| entry.key)
    }

    /// How many of a kind were made from a time on, and before another.
    pub(super) fn count(&self, from: Nanos, to: Nanos, operation: u64) -> usize {
        let between = self.calls.range(self.place(from)..self.place(to));
        between.filter(|entry| entry.operation == operation).count()
    }

    /// Where those begin that were made at a time or later.
    fn place(&self, at: Nanos) -> usize {
        self.calls.partition_point(|entry| entry.made < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    #[test]
    fn calls_are_in_the_order_in_which_they_were_made_however_late_they_are_told() {
        let mut names = Slots::new();
        let mut recent = Recent::default();
        let mut add = |made, operation| {
            let key = names.insert(());
            recent.add(key, Nanos(made), operation);
            key
        };
        let [one, four, two, three] = [add(10, 1), add(40, 1), add(20, 2), add(30, 1)];
        assert_eq!(recent.latest().collect::<Vec<_>>(), [four, three, two, one]);
        assert_eq!(recent.since(Nanos(20)).collect::<Vec<_>>(), [two, three, four]);
        assert_eq!(recent.later(Nanos(10), 1, 3).collect::<Vec<_>>(), [one, three], "of three");
        assert_eq!(recent.earlier(Nanos(40), Nanos(10), 1, 9).collect::<Vec<_>>(), [three, one]);
        assert_eq!(recent.earlier(Nanos(40), Nanos(11), 1, 9).collect::<Vec<_>>(), [three]);
        recent.rename(two, Nanos(20), 1);
        assert_eq!(recent.count(Nanos(10), Nanos(40), 1), 3);
        recent.forget_oldest();
        assert_eq!((recent.oldest(), recent.len()), (Some(two), 3));
    }
}
