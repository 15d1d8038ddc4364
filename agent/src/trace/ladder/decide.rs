//! The one place that decides: what proves whose a call is (T0 and T1), and what is made of the rest when its span is given away.

use super::align::SURE;
use super::evidence::{Decision, Evidence};
use super::goroutine::Origin;
use super::process::{Call, Process};
use super::{THRESHOLD, thread};
use crate::proto::ask::{Token, Trust};
use crate::slots::Key;
use crate::trace::link::{CERTAIN, Method};

/// How sure a link by a goroutine is.
const BY_GOROUTINE: f64 = 0.999;
/// Much of what speaks against a link that was found by comparing has the same cause and is counted more than once: such links are
/// wrong at least so many times less often than its sum says (three to four times where it was measured, `docs/accuracy.md`).
const OVERCOUNT: f64 = 2.58;
/// How sure a link by an id in an unknown header is.
const BY_LEARNT_ID: f64 = 0.99;
/// How sure a link can be where it was not sure whose most of the last 128 calls of the process were: who has which may be wrong as a
/// whole then, and look right. Of such links 3 to 5 % were wrong.
const AMONG_MOSTLY_UNSURE: f64 = 0.96;

impl Process {
    /// T0.
    pub(super) fn by_id(&self, tokens: &[Option<Token>]) -> Option<(Key, Evidence)> {
        let (node, trust) =
            tokens.iter().flatten().find_map(|&token| Some((self.tokens.origin(token)?, token.trust)))?;
        let of_node = |&&key: &&Key| self.parents.get(key).is_some_and(|parent| parent.node == node);
        let parent = *self.open.iter().find(of_node).or_else(|| self.closed.iter().rev().find(of_node))?;
        let (tier, strength) = match trust {
            Trust::Context => (Method::Traceparent, CERTAIN),
            Trust::Known => (Method::SameId, CERTAIN),
            Trust::Learnt => (Method::LearntId, BY_LEARNT_ID),
        };
        Some((parent, Evidence { parent: node, tier, strength }))
    }

    /// T1, goroutines.
    pub(super) fn by_goroutine(&self, origin: &Origin) -> Option<(Key, Evidence)> {
        let is_it = |&&key: &&Key| {
            let parent = self.parents.get(key);
            parent.is_some_and(|parent| parent.socket == origin.served && parent.read <= origin.since)
        };
        // A goroutine whose request is over may do something else by now.
        let key = *self.open.iter().rev().find(is_it)?;
        let evidence =
            Evidence { parent: self.parents.get(key)?.node, tier: Method::Goroutine, strength: BY_GOROUTINE };
        Some((key, evidence))
    }

    /// T1, threads.
    pub(super) fn by_thread(&self, call: &Call) -> Option<(Key, Evidence)> {
        let is_a_timers = self.orphan_share(call.operation) > thread::ORPHAN_SHARE;
        let parent = call.busy_with.filter(|_| self.habit.is_proven() && !is_a_timers)?;
        let evidence =
            Evidence { parent: self.parents.get(parent)?.node, tier: Method::Thread, strength: thread::STRENGTH };
        Some((parent, evidence))
    }

    pub(super) fn prove(&mut self, key: Key, parent: Key, evidence: Evidence) {
        self.give(key, Some(parent));
        if let Some(call) = self.calls.get_mut(key) {
            call.proof = Some(evidence);
        }
    }

    pub(super) fn decided(&mut self, key: Key, decision: Decision) {
        if let Some(call) = self.calls.get_mut(key) {
            call.decision = Some(decision);
        }
    }

    /// Whose a call is, once and for all.
    pub(super) fn decide(&mut self, key: Key) -> Decision {
        if self.calls.get(key).is_some_and(|call| call.decision.is_none()) {
            self.hand_back_early(key);
            // What threads do may have been proven only since the call was made.
            if let Some((parent, evidence)) = self.calls.get(key).and_then(|call| self.by_thread(call)) {
                self.prove_late(key, parent, evidence);
            }
        }
        let Some(call) = self.calls.get(key) else { return Decision::default() };
        if let Some(decision) = call.decision {
            return decision;
        }
        // Of a request that was answered everything was compared then.
        if let Some(owner) = call.owner
            && self.parents.get(owner).is_some_and(|parent| parent.answered.is_none())
        {
            self.improve(owner);
            if let Some(call) = self.calls.get_mut(key) {
                call.is_early = true;
            }
        }
        if self.is_exhausted() {
            self.decided(key, Decision::default());
            return Decision::default();
        }
        let weighed = self.weigh(key);
        if let (Some((evidence, doubt)), Some(call)) = (weighed, self.calls.get_mut(key)) {
            (call.strength, call.doubt) = (Some(evidence.strength), Some(doubt));
        }
        let evidence = weighed.map(|(evidence, _)| {
            let strength = calibrated(self.doubted(key, evidence.strength)).min(self.most_among_recent(key));
            Evidence { strength, ..evidence }
        });
        if let Some((evidence, _)) = weighed {
            self.unsure = self.unsure << 1 | u128::from(evidence.strength < SURE);
        }
        self.settle(key, evidence);
        self.settle_work(key, evidence);
        if let Some(decision) = self.calls.get(key).and_then(|call| call.decision) {
            return decision;
        }
        let is_sure = evidence.is_some_and(|evidence| evidence.strength >= THRESHOLD);
        let (parent, candidate) = if is_sure { (evidence, None) } else { (None, evidence) };
        let decision = match self.calls.get(key).and_then(|call| self.parents.get(call.owner?)) {
            Some(owner) if owner.is_unseen => Decision::default(),
            _ => Decision { parent, candidate, is_background: false },
        };
        self.decided(key, decision);
        self.note_decision(is_sure, self.last_used);
        if let Some(owner) = self.calls.get(key).and_then(|call| call.owner) {
            self.learn(owner);
        }
        decision
    }

    /// How sure a link can be by what became of the calls before it.
    fn most_among_recent(&self, key: Key) -> f64 {
        let is_mostly_unsure = self.unsure.count_ones() > u128::BITS / 2;
        let is_another_possible = || self.calls.get(key).is_some_and(|call| !self.is_nobody_elses(call));
        if is_mostly_unsure && is_another_possible() { AMONG_MOSTLY_UNSURE } else { 1.0 }
    }
}

/// How often links are right of which the sum of what speaks against them leaves so much.
fn calibrated(strength: f64) -> f64 {
    let odds = 1.0 / strength - 1.0;
    1.0 / (1.0 + odds / OVERCOUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_more_than_once_weighs_once() {
        assert!((0.88..0.9).contains(&calibrated(0.75)));
        assert!(calibrated(0.949) < THRESHOLD && calibrated(0.95) > THRESHOLD);
        assert!(calibrated(f64::MIN_POSITIVE) < 1e-9 && (calibrated(1.0) - 1.0).abs() < 1e-9);
    }
}
