//! Other ways to whom calls belong, and how much likelier everything would be.

use super::process::Process;
use super::timeline::{IMPOSSIBLE, position};
use crate::slots::Key;

/// Calls of the same kind that one is compared with, earlier and later ones each.
const MAX_NEIGHBOURS: usize = 8;
/// Requests with more calls are not compared with others: what it takes grows with the square.
pub(super) const MAX_COMPARED: usize = 16;
/// Calls of any kind that are looked through for them.
const MAX_LOOKED_AT: usize = 128;
/// What it costs that a request acts before one that could act earlier, as a natural logarithm: queues keep their order.
const OUT_OF_ORDER: f64 = 2.5;
/// The same where several threads make calls: each may be held up by itself.
const OUT_OF_ORDER_THREADS: f64 = 0.5;
/// Where calls are so much less likely in each other's place, what follows from them can't make up for it; a natural logarithm.
const HOPELESS: f64 = -15.0;

/// Another way to whom calls belong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Move { key: Key, to: Key, and_all_after: bool },
    Exchange { key: Key, with: Key, and_all_after: bool },
}

struct Outcome {
    one: Key,
    one_calls: Vec<Key>,
    other: Key,
    other_calls: Vec<Key>,
}

impl Process {
    /// Other ways to whom a call and those around it belong.
    pub(super) fn changes(&self, key: Key) -> Vec<Change> {
        let Some((call, owner)) = self.calls.get(key).and_then(|call| Some((call, call.owner?))) else {
            return Vec::new();
        };
        let Some(mine) = self.parents.get(owner) else { return Vec::new() };
        let mut changes = Vec::new();
        for rival in call.rivals.into_iter().flatten().filter(|&rival| rival != owner) {
            changes.push(Change::Move { key, to: rival, and_all_after: false });
            if mine.calls.last() != Some(&key) && self.is_free_from(&mine.calls, key) {
                changes.push(Change::Move { key, to: rival, and_all_after: true });
            }
        }
        let Some(ready) = self.ready_before(owner, &mine.calls, key) else { return changes };
        let at =
            self.recent.partition_point(|&other| self.calls.get(other).is_some_and(|other| other.made < call.made));
        let earlier = self.recent.range(..at).rev().take(MAX_LOOKED_AT);
        let later = self.recent.range(at..).take(MAX_LOOKED_AT);
        let mut neighbours = 0;
        for other in earlier.take_while(|&&other| self.calls.get(other).is_some_and(|other| other.made >= ready.since))
        {
            neighbours += usize::from(self.exchanges(key, owner, *other, &mut changes));
            if neighbours >= MAX_NEIGHBOURS {
                break;
            }
        }
        neighbours = 0;
        for &other in later.filter(|&&other| other != key) {
            neighbours += usize::from(self.exchanges(key, owner, other, &mut changes));
            if neighbours >= MAX_NEIGHBOURS {
                break;
            }
        }
        changes
    }

    /// Adds the ways in which a call can be exchanged with another; whether they are of the same kind.
    fn exchanges(&self, key: Key, owner: Key, other_key: Key, changes: &mut Vec<Change>) -> bool {
        let (Some(call), Some(other)) = (self.calls.get(key), self.calls.get(other_key)) else { return false };
        if other.operation != call.operation || other.proof.is_some() {
            return false;
        }
        let Some(theirs) = other.owner.filter(|&theirs| theirs != owner) else { return false };
        let (Some(mine), Some(their)) = (self.parents.get(owner), self.parents.get(theirs)) else { return false };
        if mine.calls.len().max(their.calls.len()) > MAX_COMPARED {
            return false;
        }
        // Each must have been ready for the other's call.
        let (Some(my_ready), Some(their_ready)) =
            (self.ready_before(owner, &mine.calls, key), self.ready_before(theirs, &their.calls, other_key))
        else {
            return false;
        };
        if my_ready.since > other.made || their_ready.since > call.made {
            return true;
        }
        // Most others are out of the question at once.
        let before = self.here(owner, &mine.calls, key, call) + self.here(theirs, &their.calls, other_key, other);
        let after = self.here(owner, &mine.calls, key, other) + self.here(theirs, &their.calls, other_key, call);
        if after - before < HOPELESS {
            return true;
        }
        changes.push(Change::Exchange { key, with: other_key, and_all_after: false });
        let (mine_at, their_at) = (position(&mine.calls, key), position(&their.calls, other_key));
        let (rest, their_rest) = (&mine.calls[mine_at..], &their.calls[their_at..]);
        let are_free = self.is_free_from(&mine.calls, key) && self.is_free_from(&their.calls, other_key);
        if rest.len() + their_rest.len() > 2 && are_free {
            changes.push(Change::Exchange { key, with: other_key, and_all_after: true });
        }
        true
    }

    /// Whether nothing is proven about a call and those after it.
    fn is_free_from(&self, calls: &[Key], key: Key) -> bool {
        let mut rest = calls.iter().skip_while(|&&other| other != key);
        rest.all(|&key| self.calls.get(key).is_some_and(|call| call.proof.is_none()))
    }

    /// How much likelier everything is after a change, as a natural logarithm.
    pub(super) fn gain(&self, change: &Change) -> f64 {
        self.effort.spend();
        let Some(Outcome { one, one_calls, other, other_calls }) = self.outcome(change) else { return IMPOSSIBLE };
        let (Some(first), Some(second)) = (self.parents.get(one), self.parents.get(other)) else { return IMPOSSIBLE };
        let before = self.likelihood(one, &first.calls) + self.likelihood(other, &second.calls);
        let after = self.likelihood(one, &one_calls) + self.likelihood(other, &other_calls);
        let made = |key| self.calls.get(key).map(|call| call.made);
        let since = |parent, key| {
            let calls = self.calls_of(parent);
            let before = calls.partition_point(|&other| made(other) < made(key));
            Some(self.ready_at(parent, &calls[..before], made(key))?.since)
        };
        let (key, with) = match *change {
            Change::Exchange { key, with, .. } => (key, Some(with)),
            Change::Move { key, .. } => (key, None),
        };
        let (mine, theirs) = (since(one, key), since(other, with.unwrap_or(key)));
        // Who is given the earlier of two calls, and one who is not given any gets a later one.
        let is_in_order = (mine < theirs) == with.is_none_or(|with| made(key) < made(with));
        let order = match (mine == theirs, is_in_order) {
            (true, _) => 0.0,
            (false, true) => -self.order(),
            (false, false) => self.order(),
        };
        after - before + order
    }

    pub(super) fn best_change(&self, key: Key) -> Option<Change> {
        /// Gains below are noise.
        const WORTH: f64 = 0.01;
        let call = self.calls.get(key)?;
        if call.proof.is_some() || call.decision.is_some() {
            return None;
        }
        let mut best = (WORTH, None);
        for change in self.changes(key) {
            let gain = self.gain(&change);
            if gain > best.0 && !self.is_decided(&change) {
                best = (gain, Some(change));
            }
        }
        best.1
    }

    /// Whether a change would change what was decided.
    fn is_decided(&self, change: &Change) -> bool {
        let is_decided = |&key: &Key| self.calls.get(key).is_some_and(|call| call.decision.is_some());
        let rest = |key| {
            let owner = self.calls.get(key).and_then(|call| call.owner);
            let calls = owner.map_or(&[][..], |owner| self.calls_of(owner));
            calls[position(calls, key)..].iter()
        };
        match *change {
            Change::Move { and_all_after: false, .. } => false,
            Change::Move { key, .. } => rest(key).any(is_decided),
            Change::Exchange { with, and_all_after: false, .. } => is_decided(&with),
            Change::Exchange { key, with, .. } => rest(key).chain(rest(with)).any(is_decided),
        }
    }

    pub(super) fn apply(&mut self, change: Change) {
        let Some(Outcome { one, one_calls, other, other_calls }) = self.outcome(&change) else { return };
        for (parent, calls) in [(one, one_calls), (other, other_calls)] {
            for &key in &calls {
                if let Some(call) = self.calls.get_mut(key) {
                    call.owner = Some(parent);
                }
            }
            if let Some(parent) = self.parents.get_mut(parent) {
                parent.calls = calls;
            }
        }
    }

    /// Who has which calls after a change.
    fn outcome(&self, change: &Change) -> Option<Outcome> {
        let by_time = |mut calls: Vec<Key>| {
            calls.sort_by_key(|&key| self.calls.get(key).map(|call| call.made));
            calls
        };
        match *change {
            Change::Move { key, to, and_all_after } => {
                let one = self.calls.get(key)?.owner?;
                let (mine, theirs) = (self.calls_of(one), self.calls_of(to));
                let at = position(mine, key);
                let moving = mine.get(at..if and_all_after { mine.len() } else { at + 1 })?;
                let one_calls = mine.iter().copied().filter(|key| !moving.contains(key)).collect();
                let other_calls = by_time(theirs.iter().chain(moving).copied().collect());
                Some(Outcome { one, one_calls, other: to, other_calls })
            }
            Change::Exchange { key, with, and_all_after } => {
                let (one, other) = (self.calls.get(key)?.owner?, self.calls.get(with)?.owner?);
                let (mine, theirs) = (&self.parents.get(one)?.calls, &self.parents.get(other)?.calls);
                let (at, their_at) = (position(mine, key), position(theirs, with));
                let (end, their_end) = if and_all_after { (mine.len(), theirs.len()) } else { (at + 1, their_at + 1) };
                let (moving, their_moving) = (mine.get(at..end)?, theirs.get(their_at..their_end)?);
                let mix = |kept: &[Key], gone: &[Key], new: &[Key]| {
                    by_time(kept.iter().filter(|key| !gone.contains(key)).chain(new).copied().collect())
                };
                let (one_calls, other_calls) = (mix(mine, moving, their_moving), mix(theirs, their_moving, moving));
                Some(Outcome { one, one_calls, other, other_calls })
            }
        }
    }

    pub(super) fn order(&self) -> f64 {
        if self.has_many_callers() { OUT_OF_ORDER_THREADS } else { OUT_OF_ORDER }
    }
}
