//! Other ways to whom calls belong; how likely each is, [`super::gain`] tells.

use smallvec::SmallVec;

use super::memo::Memo;
use super::process::{Call, Calls, MAX_RIVALS, Process};
use super::timeline::{IMPOSSIBLE, position};
use crate::flow::Nanos;
use crate::slots::Key;

/// Calls of the same kind that one is compared with, earlier and later ones each.
pub(super) const MAX_NEIGHBOURS: usize = 8;
/// Requests with more calls are not compared with others: what it takes grows with the square.
pub(super) const MAX_COMPARED: usize = 16;
/// Calls of any kind that are looked through for them.
const MAX_LOOKED_AT: usize = 128;
/// So many calls of two requests are exchanged together at most, or all that follow.
const MAX_STRETCH: usize = 4;
/// Exchanges of two that keep the order so much likelier than they would break it are not looked at; a natural logarithm.
const OUT_OF_ORDER: f64 = 7.0;
/// Where calls are so much less likely in each other's place, what follows from them can't make up for it; a natural logarithm.
const HOPELESS: f64 = -6.0;

/// Another way to whom calls belong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// Of a call, or of all of its owner's from it on. `loss` is what that makes of the owner, as a natural logarithm.
    Move { key: Key, to: Key, and_all_after: bool, loss: f64 },
    /// So many calls of each, from these on. `between` others of the kind were made between them.
    Exchange { key: Key, with: Key, count: usize, between: usize },
}

/// Other ways.
pub(super) type Changes = SmallVec<[Change; 16]>;

impl Change {
    /// How many calls of a request it moves, from the one that it is about on.
    pub(super) const fn moved(&self) -> usize {
        match *self {
            Self::Move { and_all_after: false, .. } => 1,
            Self::Move { .. } => usize::MAX,
            Self::Exchange { count, .. } => count,
        }
    }
}

/// Who has which calls after a change.
pub(super) struct Outcome {
    pub(super) one: Key,
    pub(super) one_calls: Calls,
    pub(super) other: Key,
    pub(super) other_calls: Calls,
}

impl Process {
    /// Other ways to whom a call and those around it belong.
    pub(super) fn changes(&self, key: Key, memo: &mut Memo<'_>) -> Changes {
        let Some((call, owner)) = self.calls.get(key).and_then(|call| Some((call, call.owner?))) else {
            return Changes::new();
        };
        let Some(mine) = self.parents.get(owner) else { return Changes::new() };
        let Some(at) = mine.calls.iter().position(|&other| other == key) else { return Changes::new() };
        let Some(ready) = self.ready_for(owner, at) else { return Changes::new() };
        let mut changes = Changes::new();
        self.add_moves((key, owner), &mine.calls, at, &mut changes, memo);
        let earlier = self.recent.earlier(call.made, ready.since, call.operation, MAX_LOOKED_AT);
        let later = self.recent.later(call.made, call.operation, MAX_LOOKED_AT);
        self.add_neighbours(key, owner, earlier, &mut changes, memo);
        self.add_neighbours(key, owner, later.filter(|&other| other != key), &mut changes, memo);
        changes
    }

    /// Adds the ways in which a call, or all from it on, can be another's that might have made it.
    fn add_moves(&self, (key, owner): (Key, Key), mine: &[Key], at: usize, changes: &mut Changes, memo: &mut Memo<'_>) {
        let (Some(call), Some(ready)) = (self.calls.get(key), self.ready_for(owner, at)) else { return };
        let is_free_after = at + 1 < mine.len() && self.is_free_from(mine, key);
        // Where two did all that is usual, and nothing else, none of them can do without a call or with one more.
        let is_clear = self.is_plain(owner) && !self.may_have_missed(call.made);
        let is_asked = |rival: &Key| *rival != owner && !(is_clear && self.is_plain(*rival));
        let rivals = call.rivals.into_iter().flatten().filter(is_asked);
        // Who did all that is usual is no likelier with one more: it is looked at no further than that one.
        let gains = rivals.map(|to| (to, self.is_plain(to).then(|| self.joining(call, to, ready.since))));
        let gains: SmallVec<[_; MAX_RIVALS]> = gains.collect();
        if gains.is_empty() {
            return;
        }
        for and_all_after in [false, true].into_iter().take(1 + usize::from(is_free_after)) {
            let loss = if and_all_after { memo.loss_from(owner, at) } else { memo.loss(owner, at) };
            let likely = gains.iter().filter(|(_, gain)| gain.is_none_or(|gain| loss + gain > HOPELESS));
            changes.extend(likely.map(|&(to, _)| Change::Move { key, to, and_all_after, loss }));
        }
    }

    /// How likely a call is another's besides all that this one has, by when it could make it and since when its owner could.
    fn joining(&self, call: &Call, to: Key, mine: Nanos) -> f64 {
        let theirs = self.calls_of(to);
        let at = self.place(theirs, call.made);
        let Some(ready) = self.ready_at(to, &theirs[..at], call.operation, Some(call.made)) else { return IMPOSSIBLE };
        let step = self.step(call, (to, &theirs[..at]), &ready);
        let order = if ready.is_due() { self.first(ready.since, mine, call.acted()) } else { 0.0 };
        self.plans.likelihood(ready.history, &step, self.trust()) + order
    }

    /// Adds the ways in which a call can be exchanged with the nearest of its kind.
    fn add_neighbours(
        &self,
        key: Key,
        owner: Key,
        others: impl Iterator<Item = Key>,
        changes: &mut Changes,
        memo: &mut Memo<'_>,
    ) {
        let mut rank = 0;
        for other in others {
            rank += usize::from(self.add_exchanges((key, owner), (other, rank), changes, memo));
            if rank >= MAX_NEIGHBOURS {
                break;
            }
        }
    }

    /// The ways in which a call can be exchanged with another.
    pub(super) fn exchanges(&self, key: Key, owner: Key, other: Key, memo: &mut Memo<'_>) -> Changes {
        let mut changes = Changes::new();
        self.add_exchanges((key, owner), (other, 0), &mut changes, memo);
        changes
    }

    /// Adds the ways in which a call can be exchanged with another, with so many of the kind between them; whether they are of
    /// the same kind.
    fn add_exchanges(
        &self,
        (key, owner): (Key, Key),
        (with, between): (Key, usize),
        changes: &mut Changes,
        memo: &mut Memo<'_>,
    ) -> bool {
        let (Some(call), Some(other)) = (self.calls.get(key), self.calls.get(with)) else { return false };
        if other.operation != call.operation || other.proof.is_some() {
            return false;
        }
        let Some(theirs) = other.owner.filter(|&theirs| theirs != owner) else { return false };
        let (Some(mine), Some(their)) = (self.parents.get(owner), self.parents.get(theirs)) else { return false };
        if mine.calls.len().max(their.calls.len()) > MAX_COMPARED {
            return false;
        }
        // Neither can have made the other's call before it came, or after it was answered.
        if !mine.is_open_at(other.made) || !their.is_open_at(call.made) {
            return true;
        }
        let (my_at, their_at) = (position(&mine.calls, key), position(&their.calls, with));
        let (Some(my_ready), Some(their_ready)) = (self.ready_for(owner, my_at), self.ready_for(theirs, their_at))
        else {
            return false;
        };
        // Each must have been ready for the other's call.
        if my_ready.since > other.made || their_ready.since > call.made {
            return true;
        }
        // Most others are out of the question at once.
        let order = self.order_of((my_ready.since, call.acted()), (their_ready.since, other.acted()));
        let order = order + order.max(0.0) * between as f64;
        if order > OUT_OF_ORDER && !mine.is_vague && !their.is_vague {
            return true;
        }
        let (Some(my_step), Some(their_step)) = (memo.step(owner, my_at), memo.step(theirs, their_at)) else {
            return true;
        };
        let before = my_step + their_step;
        let after = self.here(owner, &mine.calls, key, other) + self.here(theirs, &their.calls, with, call);
        if after - before < HOPELESS {
            return true;
        }
        changes.push(Change::Exchange { key, with, count: 1, between });
        if self.is_free_from(&mine.calls, key) && self.is_free_from(&their.calls, with) {
            let rest = |calls: &[Key], key| calls.len() - position(calls, key);
            let most = rest(&mine.calls, key).max(rest(&their.calls, with));
            let counts = (2..most.min(MAX_STRETCH)).chain((most > 1).then_some(usize::MAX));
            changes.extend(counts.map(|count| Change::Exchange { key, with, count, between }));
        }
        true
    }

    /// Whether nothing is proven about a call and those after it.
    fn is_free_from(&self, calls: &[Key], key: Key) -> bool {
        let mut rest = calls.iter().skip_while(|&&other| other != key);
        rest.all(|&key| self.calls.get(key).is_some_and(|call| call.proof.is_none()))
    }

    pub(super) fn is_same_kind(&self, key: Key, other: Key) -> bool {
        let operation = |key| self.calls.get(key).map(|call| call.operation);
        operation(key) == operation(other)
    }

    /// Which calls a request has after a change; `None` if it has no part in it.
    pub(super) fn calls_after(&self, change: &Change, parent: Key) -> Option<Calls> {
        let Outcome { one, one_calls, other, other_calls } = self.outcome(change)?;
        if one == parent { Some(one_calls) } else { (other == parent).then_some(other_calls) }
    }

    /// Whether a change would change what was decided.
    pub(super) fn is_decided(&self, change: &Change) -> bool {
        let is_decided = |&key: &Key| self.calls.get(key).is_some_and(|call| call.decision.is_some());
        let rest = |key| {
            let owner = self.calls.get(key).and_then(|call| call.owner);
            let calls = owner.map_or(&[][..], |owner| self.calls_of(owner));
            calls[position(calls, key)..].iter()
        };
        match *change {
            Change::Move { and_all_after: false, .. } => false,
            Change::Move { key, .. } => rest(key).any(is_decided),
            Change::Exchange { key, with, count, .. } => {
                rest(key).take(count).chain(rest(with).take(count)).any(is_decided)
            }
        }
    }

    pub(super) fn apply(&mut self, change: Change) {
        let Some(Outcome { one, one_calls, other, other_calls }) = self.outcome(&change) else { return };
        self.hold(one, one_calls);
        self.hold(other, other_calls);
    }

    /// From now on a request has these calls.
    pub(super) fn hold(&mut self, parent: Key, calls: Calls) {
        for &key in &calls {
            if let Some(call) = self.calls.get_mut(key) {
                call.owner = Some(parent);
            }
        }
        if let Some(parent) = self.parents.get_mut(parent) {
            parent.calls = calls;
            parent.standing.changed();
        }
    }

    /// Who has which calls after a change.
    pub(super) fn outcome(&self, change: &Change) -> Option<Outcome> {
        let by_time = |mut calls: Calls| {
            calls.sort_by_key(|&key| self.calls.get(key).map(|call| call.made));
            calls
        };
        match *change {
            Change::Move { key, to, and_all_after, .. } => {
                let one = self.calls.get(key)?.owner?;
                let (mine, theirs) = (self.calls_of(one), self.calls_of(to));
                let at = position(mine, key);
                let moving = mine.get(at..if and_all_after { mine.len() } else { at + 1 })?;
                let one_calls = mine.iter().copied().filter(|key| !moving.contains(key)).collect();
                let other_calls = by_time(theirs.iter().chain(moving).copied().collect());
                Some(Outcome { one, one_calls, other: to, other_calls })
            }
            Change::Exchange { key, with, count, .. } => {
                let (one, other) = (self.calls.get(key)?.owner?, self.calls.get(with)?.owner?);
                let (mine, theirs) = (&self.parents.get(one)?.calls, &self.parents.get(other)?.calls);
                let (at, their_at) = (position(mine, key), position(theirs, with));
                let moving = mine.get(at..at.saturating_add(count).min(mine.len()))?;
                let rest = theirs.get(their_at..)?;
                let their_moving =
                    if count == usize::MAX { Calls::from(rest) } else { self.matching(moving, theirs, rest)? };
                let mix = |kept: &[Key], gone: &[Key], new: &[Key]| {
                    by_time(kept.iter().filter(|key| !gone.contains(key)).chain(new).copied().collect())
                };
                let (one_calls, other_calls) = (mix(mine, moving, &their_moving), mix(theirs, &their_moving, moving));
                Some(Outcome { one, one_calls, other, other_calls })
            }
        }
    }

    /// Calls of the same kinds as these among another's, from one of them on. Calls that are made at the same time may have been
    /// sent in another order.
    fn matching(&self, moving: &[Key], theirs: &[Key], rest: &[Key]) -> Option<Calls> {
        let mut found = Calls::new();
        for &key in moving {
            let mut all = rest.iter().chain(theirs.iter().rev());
            found.push(*all.find(|&&other| !found.contains(&other) && self.is_same_kind(key, other))?);
        }
        Some(found)
    }
}
