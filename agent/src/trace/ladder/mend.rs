//! What an answer says about the calls before it: the last one that the request waited for was answered just before. Where that is
//! not so, another request was given what it waited for, maybe long ago.
//!
//! In a full pool whoever is given another's place keeps it, and those behind it are each given the next one's, as long as the queue
//! does not become empty. What is compared with the neighbours of a call ([`super::change`]) does not find that: who has the call may be
//! far behind. The answers find it one by one.
//!
//! Where a process was held up and three or more were mixed up, who has the call can often not have what this one has: it was read
//! later. Then a third one may have it that in turn has what that one should have.

use super::change::{Change, Changes, MAX_COMPARED};
use super::memo::Memo;
use super::process::{Calls, Process};
use super::timeline::position;
use crate::slots::Key;

/// What a request waited for was answered so long before it at most.
const JUST_BEFORE_NS: u64 = 4_000_000;
/// Calls that were answered just before which are tried.
const MAX_TRIED: usize = 6;
/// Calls of any kind that are looked through for them.
const MAX_LOOKED_AT: usize = 256;
/// What a request did must be so much likelier if it has another's calls for a third one to be looked for; a natural logarithm.
const LIKELIER: f64 = 2.0;

impl Process {
    /// A request was answered: if it is not plain what it did, takes the call that was answered just before from whoever has it.
    pub(super) fn mend(&mut self, parent: Key) {
        if self.is_plain(parent) || self.is_exhausted() || self.calls_of(parent).len() > MAX_COMPARED {
            return;
        }
        let changes = self.all_takings(parent, &self.answered_before(parent));
        if self.apply_best(changes.clone()) {
            return;
        }
        // Where something was not seen it is not said that all calls have an owner, nor that a request made all that is usual.
        if self.may_have_missed(self.last_used) {
            return;
        }
        match self.best_round(parent, &changes) {
            Some(round) => round.into_iter().for_each(|change| self.apply(change)),
            None => _ = self.apply_best(self.all_takings(parent, &self.lacking(parent))),
        }
    }

    /// The ways in which a request can have one of others' calls. What such requests were never seen to do is not made up for the sake of
    /// an answer.
    fn all_takings(&self, parent: Key, calls: &[Key]) -> Changes {
        let mut memo = Memo::new(self);
        let mut changes: Changes = calls.iter().flat_map(|&key| self.takings(parent, key, &mut memo)).collect();
        changes.retain(|change| self.are_known(parent, &self.calls_after(change, parent).unwrap_or_default()));
        changes
    }

    /// Whether one of these ways is likelier than what is assumed. It is assumed then.
    fn apply_best(&mut self, changes: Changes) -> bool {
        let best = self.best_of(changes, &mut Memo::new(self));
        best.inspect(|&change| self.apply(change)).is_some()
    }

    /// The best way in which a request takes all that another has from some call on, which takes that of a third one, which takes its own:
    /// as two exchanges, one after the other. Only what makes much of the request itself is worth the effort.
    fn best_round(&mut self, parent: Key, takings: &[Change]) -> Option<[Change; 2]> {
        let now = self.likelihood_from(parent, self.calls_of(parent), 0);
        let mut best = (0.0, None);
        for &taking in takings {
            let Change::Exchange { key, with, count: usize::MAX, .. } = taking else { continue };
            let then = self.calls_after(&taking, parent).map(|calls| self.likelihood_from(parent, &calls, 0));
            if then.is_none_or(|then| then < now + LIKELIER) || self.is_decided(&taking) {
                continue;
            }
            let owner = self.calls.get(with).and_then(|call| call.owner);
            for third in self.near(key, with) {
                let theirs = self.calls.get(third).and_then(|call| call.owner);
                let Some(theirs) = theirs.filter(|&theirs| theirs != parent && Some(theirs) != owner) else { continue };
                let round = [(key, third), (third, with)].map(|(key, with)| self.exchange_of_all(key, with));
                let gain = self.gain_of_both([parent, theirs], round);
                if gain.is_some_and(|gain| gain > best.0) {
                    best = (gain.unwrap_or_default(), Some(round));
                }
            }
        }
        best.1
    }

    fn exchange_of_all(&self, key: Key, with: Key) -> Change {
        Change::Exchange { key, with, count: usize::MAX, between: self.between(key, with) }
    }

    /// How much likelier everything is after two changes, of which the first one changes the calls of these two; `None` if that can't be
    /// asked.
    fn gain_of_both(&mut self, changed: [Key; 2], [first, second]: [Change; 2]) -> Option<f64> {
        if self.is_decided(&first) || changed.iter().any(|&parent| self.calls_of(parent).len() > MAX_COMPARED) {
            return None;
        }
        let gain = |process: &Self, change| process.gain(change, &mut Memo::new(process)).total;
        let before = gain(self, &first);
        let held = changed.map(|parent| (parent, Calls::from(self.calls_of(parent))));
        self.apply(first);
        let both = before + gain(self, &second);
        held.into_iter().for_each(|(parent, calls)| self.hold(parent, calls));
        Some(both)
    }

    /// Calls of the same kind as two, made just before or after one of them.
    fn near(&self, one: Key, other: Key) -> Vec<Key> {
        let mut found = Vec::new();
        for key in [one, other].into_iter().flat_map(|center| self.before(center).chain(self.after(center))) {
            if key != one && key != other && !found.contains(&key) {
                found.push(key);
            }
        }
        found
    }

    /// Calls of others that were answered just before a request was, the latest first.
    fn answered_before(&self, parent: Key) -> Vec<Key> {
        let Some(answered) = self.parents.get(parent).and_then(|parent| parent.answered) else { return Vec::new() };
        let earliest = answered.0.saturating_sub(JUST_BEFORE_NS);
        let heard = |key: Key| {
            let call = self.calls.get(key)?;
            let heard = call.heard.filter(|heard| heard.0 >= earliest && *heard <= answered)?;
            let owner = call.owner.filter(|&owner| owner != parent && call.decision.is_none())?;
            let is_few = self.calls_of(owner).len() <= MAX_COMPARED;
            (is_few && !self.is_plain(owner)).then_some((heard, key))
        };
        let mut found: Vec<_> = self.recent.latest().take(MAX_LOOKED_AT).filter_map(heard).collect();
        found.sort_by(|one, other| other.cmp(one));
        found.into_iter().take(MAX_TRIED).map(|(_, key)| key).collect()
    }

    /// Calls of others that a request may lack: of a kind that such requests make then and this one did not, and answered in time. Among
    /// many there is no telling.
    pub(super) fn lacking(&self, parent: Key) -> Vec<Key> {
        let Some(request) = self.parents.get(parent) else { return Vec::new() };
        let Some(answered) = request.answered else { return Vec::new() };
        let may_be_its = |&key: &Key| {
            let Some(call) = self.calls.get(key) else { return false };
            let is_in_time = call.made <= answered && call.heard.is_some_and(|heard| heard <= answered);
            if !is_in_time || call.is_settled() || request.calls.iter().any(|&own| self.is_same_kind(own, key)) {
                return false;
            }
            let is_few = |owner: Key| self.calls_of(owner).len() <= MAX_COMPARED && !self.is_plain(owner);
            let before = &request.calls[..self.place(&request.calls, call.made)];
            let is_usual = self.ready_at(parent, before, call.operation, Some(call.made)).is_some_and(|ready| {
                ready.is_due() && ready.since <= call.made && self.plans.is_known(ready.history, call.operation)
            });
            is_usual && call.owner.is_some_and(is_few)
        };
        let since = self.recent.since(request.read).take(MAX_LOOKED_AT);
        let found: Vec<Key> = since.filter(may_be_its).take(MAX_TRIED + 1).collect();
        if found.len() > MAX_TRIED { Vec::new() } else { found }
    }

    /// The ways in which a request can have another's call: that one alone, or with it what was done from some call on.
    fn takings(&self, parent: Key, key: Key, memo: &mut Memo<'_>) -> Vec<Change> {
        let Some(owner) = self.calls.get(key).and_then(|call| call.owner) else { return Vec::new() };
        let (mine, theirs) = (self.calls_of(parent), self.calls_of(owner));
        let same = |other: Key| mine.iter().copied().find(|&mine| self.is_same_kind(mine, other));
        let alone = match same(key) {
            Some(mine) => Change::Exchange { key: mine, with: key, count: 1, between: self.between(mine, key) },
            None => {
                let loss = memo.loss(owner, position(theirs, key));
                Change::Move { key, to: parent, and_all_after: false, loss }
            }
        };
        let until = position(theirs, key).saturating_add(1).min(theirs.len());
        let tails = theirs[..until]
            .iter()
            .filter_map(|&with| Some((same(with)?, with)))
            .map(|(key, with)| Change::Exchange { key, with, count: usize::MAX, between: self.between(key, with) });
        std::iter::once(alone).chain(tails).collect()
    }

    /// How many calls of the same kind were made between two.
    fn between(&self, one: Key, other: Key) -> usize {
        let (Some(one), Some(other)) = (self.calls.get(one), self.calls.get(other)) else { return 0 };
        let (from, to) = (one.made.min(other.made), one.made.max(other.made));
        self.recent.count(from, to, one.operation).saturating_sub(1)
    }
}
