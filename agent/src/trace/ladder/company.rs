//! How sure a link is by what became of the calls around it: those of the same kind that were made just before and after, and the
//! others of its request.
//!
//! Where one call is taken for another, or was not seen, each of those that follow may be taken for the next, and not all of them
//! show it. Where it could not be told whose the calls around one are, what makes this one look sure may be a mistake of the model.

use super::align::{DOUBT, STRANGE, SURE};
use super::process::Process;
use crate::flow::Nanos;
use crate::slots::Key;

/// Calls of the same kind, before and after one, that tell how sure it is.
const COMPANY: usize = 4;
/// Calls of any kind that are looked through for them.
const MAX_LOOKED_AT: usize = 64;
/// Where others are strange, what speaks against a link beyond the usual doubt weighs so many times as much.
const AMONG_STRANGERS: f64 = 8.0;
/// For each of the others that is not linked for want of certainty, what speaks against a link weighs so many times more.
const AMONG_UNSURE: f64 = 0.5;
/// The same where others are strange: then it is not only which of two is whose.
const AMONG_UNSURE_AND_STRANGE: f64 = 2.0;

impl Process {
    /// How sure a link is, by what became of those around it.
    pub(super) fn doubted(&self, key: Key, strength: f64) -> f64 {
        let Some(call) = self.calls.get(key) else { return strength };
        let odds = 1.0 / strength - 1.0;
        // Whether others were there at all takes a look at all of them: seldom asked.
        let unsure = match self.unsure_company(key) {
            0 => 0.0,
            _ if self.is_nobody_elses(call) => 0.0,
            unsure => odds * unsure as f64,
        };
        let (strange, among_unsure) = match self.strange_company(key) {
            Some(0) if self.may_have_missed(call.made) => (STRANGE, AMONG_UNSURE_AND_STRANGE),
            Some(_) => ((AMONG_STRANGERS - 1.0) * (odds - DOUBT).max(0.0), AMONG_UNSURE_AND_STRANGE),
            None => (0.0, AMONG_UNSURE),
        };
        let odds = odds + strange + among_unsure * unsure;
        1.0 / (1.0 + odds)
    }

    /// How near the nearest call of the same kind is, before or after, that belongs to nobody, or to a request that did what such
    /// requests don't do.
    fn strange_company(&self, key: Key) -> Option<usize> {
        let is_strange = |other: Key| {
            let Some(owner) = self.calls.get(other).map(|other| other.owner) else { return false };
            let Some((key, owner)) = owner.and_then(|key| Some((key, self.parents.get(key)?))) else { return true };
            owner.answered.is_some() && self.plans.is_settled(owner.operation) && !self.is_plain(key)
        };
        let nearest = [self.before(key).position(is_strange), self.after(key).position(is_strange)];
        nearest.into_iter().flatten().min()
    }

    /// Of how many of the calls of the same kind just before, and of the others of the same request, it was found that it is not
    /// sure whose they are. What only their company made unsure does not count: that would spread without end.
    fn unsure_company(&self, key: Key) -> usize {
        let is_unsure = |other: &Key| {
            self.calls.get(*other).is_some_and(|other| {
                let is_sure = other.proof.is_some() || other.strength.is_some_and(|strength| strength >= SURE);
                other.decision.is_some() && !is_sure
            })
        };
        let owner = self.calls.get(key).and_then(|call| call.owner);
        let others = owner.map_or(&[][..], |owner| self.calls_of(owner));
        self.before(key).filter(is_unsure).count() + others.iter().filter(|&other| is_unsure(other)).count()
    }

    /// The calls of the same kind just before one, the latest first.
    pub(super) fn before(&self, key: Key) -> impl Iterator<Item = Key> {
        let call = self.calls.get(key).map(|call| (call.made, call.operation));
        let before = |(made, operation)| self.recent.earlier(made, Nanos(0), operation, MAX_LOOKED_AT);
        call.map(before).into_iter().flatten().take(COMPANY)
    }

    /// Those just after it.
    pub(super) fn after(&self, key: Key) -> impl Iterator<Item = Key> {
        let call = self.calls.get(key).map(|call| (call.made, call.operation));
        let after = |(made, operation)| self.recent.later(made, operation, 1 + MAX_LOOKED_AT);
        call.map(after).into_iter().flatten().filter(move |&other| other != key).take(COMPANY)
    }
}
