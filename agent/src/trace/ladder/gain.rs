//! How much likelier everything is if calls belong to others ([`super::change`]), and the best of such ways.

use super::change::{Change, Changes, MAX_NEIGHBOURS, Outcome};
use super::memo::Memo;
use super::order::Acted;
use super::process::Process;
use super::timeline::{IMPOSSIBLE, Ready, position};
use crate::flow::Nanos;
use crate::slots::Key;

/// Calls of any kind that are looked through for those that a request would pass.
const MAX_PASSED_LOOKED_AT: usize = 64;
/// Who loses so much by a change keeps what it has, where the other needs nothing; a natural logarithm.
const LOST: f64 = -8.0;

/// How much likelier everything is after a change, as natural logarithms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gain {
    /// By what is done when.
    pub(super) steps: f64,
    /// As far as that is trusted, and by who could act first.
    pub(super) total: f64,
}

impl Gain {
    const NEVER: Self = Self { steps: IMPOSSIBLE, total: IMPOSSIBLE };
}

impl Process {
    /// How much likelier everything is after a change.
    pub(super) fn gain(&self, change: &Change, memo: &mut Memo<'_>) -> Gain {
        self.effort.spend(1);
        let Some(outcome) = self.outcome(change) else { return Gain::NEVER };
        let Outcome { one, one_calls, other, other_calls } = &outcome;
        let (Some(first), Some(second)) = (self.parents.get(*one), self.parents.get(*other)) else {
            return Gain::NEVER;
        };
        let mine = match *change {
            Change::Move { loss, .. } => loss,
            Change::Exchange { .. } => self.difference(*one, &first.calls, one_calls, memo),
        };
        // What one loses so much by, another that did all that is usual can't win.
        if mine < LOST && self.is_plain(*other) {
            return Gain::NEVER;
        }
        let steps = mine + self.difference(*other, &second.calls, other_calls, memo);
        let order = self.order_gain(change, &outcome);
        // Who could act first is not known of those of whom it is not known when they could.
        let order = if first.is_vague || second.is_vague { order.max(0.0) } else { order };
        Gain { steps, total: steps + order }
    }

    /// How much likelier it is that a request made these calls than those that it has now. What it did before they differ is the same.
    fn difference(&self, parent: Key, now: &[Key], then: &[Key], memo: &mut Memo<'_>) -> f64 {
        let same = now.iter().zip(then).take_while(|(now, then)| now == then).count();
        self.likelihood_from(parent, then, same) - memo.likelihood_from(parent, same)
    }

    /// How much likelier a change is by the order in which those whose calls it changes could act.
    fn order_gain(&self, change: &Change, outcome: &Outcome) -> f64 {
        let Outcome { one, one_calls, other, other_calls } = outcome;
        let since = |parent, calls: &[Key], key: Key| {
            let call = self.calls.get(key)?;
            let before = calls.iter().position(|&other| other == key).unwrap_or(calls.len());
            let ready = self.ready_at(parent, &calls[..before], call.operation, Some(call.made));
            Some((ready.filter(Ready::is_due)?.since, call.acted()))
        };
        match *change {
            Change::Exchange { key, with, count, between } => {
                let (mine, theirs) = (self.calls_of(*one), self.calls_of(*other));
                let (Some(my), Some(their)) = (self.acted_since(key), self.acted_since(with)) else {
                    return 0.0;
                };
                let (as_is, then) = (self.order_of(my, their), self.order_of((my.0, their.1), (their.0, my.1)));
                // Who is exchanged with one further away is out of order with each of those between, too.
                let more = between as f64 * (then - as_is).min(0.0);
                // What follows was waited for by others.
                let next = |calls: &[Key], key| calls.get(position(calls, key).saturating_add(count)).copied();
                let after = match (next(mine, key), next(theirs, with)) {
                    (Some(my_next), Some(their_next)) if self.is_same_kind(my_next, their_next) => {
                        let order = |mine: &[Key], theirs: &[Key]| {
                            let (my, their) = (since(*one, mine, my_next), since(*other, theirs, their_next));
                            my.zip(their).map_or(0.0, |(my, their)| ln_share(self.order_of(my, their)))
                        };
                        order(one_calls, other_calls) - order(mine, theirs)
                    }
                    _ => 0.0,
                };
                ln_share(then) - ln_share(as_is) + more + after
            }
            Change::Move { key, .. } => {
                let Some((mine, at)) = self.acted_since(key) else { return 0.0 };
                let Some((theirs, _)) = since(*other, other_calls, key) else { return 0.0 };
                // Who is not given any gets a later one.
                let passed = self.passed(key, (*one, mine), (*other, theirs));
                self.first(theirs, mine, at) + passed
            }
        }
    }

    /// Since when the owner of a call could make it, if it waited for nothing else then, and how it did.
    pub(super) fn acted_since(&self, key: Key) -> Option<(Nanos, Acted)> {
        let call = self.calls.get(key)?;
        let owner = call.owner?;
        let ready = self.ready_for(owner, position(self.calls_of(owner), key));
        Some((ready.filter(Ready::is_due)?.since, call.acted()))
    }

    /// How much less likely it is that `other` makes a call instead of `one`, by those that make the next ones and could before it.
    /// Of both the request, and since when it could.
    fn passed(&self, key: Key, one: (Key, Nanos), other: (Key, Nanos)) -> f64 {
        let Some((acted, operation)) = self.calls.get(key).map(|call| (call.acted(), call.operation)) else {
            return 0.0;
        };
        let after = Nanos(acted.at.0.saturating_add(1));
        let next = self.recent.later(after, operation, MAX_PASSED_LOOKED_AT);
        let passed = |next: Key| {
            let call = self.calls.get(next)?;
            let owner = call.owner.filter(|&owner| owner != one.0 && owner != other.0)?;
            let theirs = (self.ready_for(owner, position(self.calls_of(owner), next))?.since, call.acted());
            let order = |since| ln_share(self.order_of((since, acted), theirs));
            Some(order(other.1) - order(one.1))
        };
        next.take(MAX_NEIGHBOURS).filter_map(passed).sum::<f64>().min(0.0)
    }

    /// The likeliest of other ways to whom a call and those around it belong, if it is likelier than what is assumed.
    pub(super) fn best_change(&self, key: Key, memo: &mut Memo<'_>) -> Option<Change> {
        let call = self.calls.get(key)?;
        if call.is_settled() {
            return None;
        }
        let changes = self.changes(key, memo);
        self.best_of(changes, memo)
    }

    /// The likeliest of other ways, if it is likelier than what is assumed and changes nothing that was decided.
    ///
    /// Who could act first says little where others have what is not theirs. So what is plain is not given up for it, unless something
    /// else becomes plain by that, or what is plain may be a mistake because something was not seen.
    pub(super) fn best_of(&self, changes: Changes, memo: &mut Memo<'_>) -> Option<Change> {
        /// Gains below are noise.
        const WORTH: f64 = 0.01;
        let undecided = changes.into_iter().filter(|change| !self.is_decided(change));
        let mut better: Vec<_> = undecided
            .map(|change| (self.gain(&change, memo).total, change))
            .filter(|&(gain, _)| gain > WORTH)
            .collect();
        better.sort_by(|one, other| other.0.total_cmp(&one.0));
        let may_change_all = self.may_have_missed(self.last_used);
        better.into_iter().map(|(_, change)| change).find(|change| may_change_all || self.keeps_plain(change))
    }

    /// Whether no fewer of the requests whose calls it changes are plain after a change.
    pub(super) fn keeps_plain(&self, change: &Change) -> bool {
        let Some(Outcome { one, one_calls, other, other_calls }) = self.outcome(change) else { return false };
        let now = usize::from(self.is_plain(one)) + usize::from(self.is_plain(other));
        let then = || {
            [(one, one_calls), (other, other_calls)].iter().filter(|(of, calls)| self.is_plain_with(*of, calls)).count()
        };
        now == 0 || then() >= now
    }
}

/// What a log-odds is as the logarithm of a share.
pub(super) fn ln_share(odds: f64) -> f64 {
    -(-odds).exp().ln_1p()
}
