//! Queues in which many were given the place of another: the latest calls of a kind, and all that waited for one, are assigned to each
//! other anew at once.
//!
//! Where a call is given to the wrong one of those that wait, each of those behind may be given the next one's. Each of them looks right
//! then, and no exchange of two makes anything likelier ([`super::change`]), until one is answered that has a call too many or lacks one.

use smallvec::SmallVec;

use super::align::MAX_CANDIDATES;
use super::assignment::assigned;
use super::change::MAX_COMPARED;
use super::gain::ln_share;
use super::process::{Call, Calls, Process};
use super::timeline::IMPOSSIBLE;
use crate::flow::Nanos;
use crate::slots::Key;

/// Calls of one kind that are assigned anew at once, at most.
const MAX_CALLS: usize = 64;
/// Calls of any kind that are looked through for them.
const MAX_LOOKED_AT: usize = 512;
/// Kinds of calls that are tried.
const MAX_KINDS: usize = 8;
/// Who is so many places away from its turn does not act.
const MAX_PLACES: usize = 8;
/// What speaks against each place, as a natural logarithm.
const AWAY: f64 = 1.0;
/// Where the order is kept no better than that, as log-odds, nobody has the place of another.
const KEPT: f64 = 4.0;
/// Gains below are noise.
const WORTH: f64 = 0.01;

/// One of those that wait for the same thing.
struct Waiting {
    request: Key,
    /// Since when it could act.
    since: Nanos,
    /// Its other calls.
    others: Calls,
}

/// A call, and whose it is to be: nobody's if `None`.
type Given = (Key, Option<Key>);

impl Process {
    /// A request was answered of which it is not plain what it did: assigns the calls of the kinds that it has too many or too few of
    /// anew, and if that does not help those of the others.
    pub(super) fn realign(&mut self, parent: Key) {
        let is_needed = !self.is_plain(parent) && self.calls_of(parent).len() <= MAX_COMPARED;
        if !is_needed || self.open.len() > MAX_CANDIDATES {
            return;
        }
        // Where something was not seen it is not said that there is a call for each of those that waited.
        if self.may_have_missed(self.last_used) || self.kept_order() < KEPT {
            return;
        }
        for operation in self.doubtful_kinds(parent) {
            if self.is_exhausted() || self.realign_kind(parent, operation) {
                break;
            }
        }
    }

    /// Kinds of calls that a request may have wrong ones of: first those that such requests make and it did not, or that it made more
    /// than once.
    fn doubtful_kinds(&self, parent: Key) -> SmallVec<[u64; MAX_KINDS]> {
        let (mut odd, mut usual) = (SmallVec::new(), SmallVec::<[u64; MAX_KINDS]>::new());
        let Some(request) = self.parents.get(parent) else { return odd };
        for key in self.recent.since(request.read).take(MAX_LOOKED_AT) {
            let Some((operation, made)) = self.calls.get(key).map(|call| (call.operation, call.made)) else { continue };
            if odd.contains(&operation) || usual.contains(&operation) || odd.len() + usual.len() >= MAX_KINDS {
                continue;
            }
            match request.calls.iter().filter(|&&own| self.is_same_kind(own, key)).count() {
                0 if self.turn(parent, &request.calls, operation, made).is_none() => {}
                1 => usual.push(operation),
                _ => odd.push(operation),
            }
        }
        odd.extend(usual);
        odd
    }

    /// Since when a request with these calls could first make one of a kind, if it could before a time.
    fn turn(&self, request: Key, calls: &[Key], operation: u64, at: Nanos) -> Option<Nanos> {
        let before = self.place(calls, at);
        let first = |count: usize| {
            let ready = self.ready_at(request, &calls[..count], operation, Some(at))?;
            let is_next = ready.is_due() && self.plans.is_known(ready.history, operation);
            (is_next && ready.since < at).then_some(ready.since)
        };
        (0..=before).find_map(first)
    }

    /// Assigns the calls of a kind to those that waited for them, from when a request waited on, if everything is likelier then.
    /// Whether it did.
    fn realign_kind(&mut self, parent: Key, operation: u64) -> bool {
        let Some(answered) = self.parents.get(parent).and_then(|parent| parent.answered) else { return false };
        let (_, others) = self.apart(parent, |call| call.operation == operation);
        let Some(since) = self.turn(parent, &others, operation, answered) else { return false };
        let is_free = |&key: &Key| {
            let Some(call) = self.calls.get(key) else { return false };
            let is_few = |owner: Key| self.calls_of(owner).len() <= MAX_COMPARED;
            !call.is_settled() && call.owner.is_some_and(is_few)
        };
        let mut calls: Vec<Key> = self.recent.later(since, operation, MAX_LOOKED_AT).filter(is_free).collect();
        if calls.len() > MAX_CALLS {
            return false;
        }
        let waiting = self.all_waiting(parent, operation, &mut calls);
        if calls.is_empty() || waiting.len() < 2 {
            return false;
        }
        let places = assigned(&self.costs(&calls, &waiting));
        let given = calls.iter().zip(places).map(|(&call, place)| (call, waiting.get(place).map(|one| one.request)));
        let is_new = |&(key, to): &Given| self.calls.get(key).is_some_and(|call| call.owner != to);
        let given: Vec<Given> = given.filter(is_new).collect();
        self.take_if_likelier(parent, &given)
    }

    /// A request's calls of which something is so, and the others.
    fn apart(&self, request: Key, is_so: impl Fn(&Call) -> bool) -> (Calls, Calls) {
        self.calls_of(request).iter().copied().partition(|&key| self.calls.get(key).is_some_and(&is_so))
    }

    /// Those that have one of these calls and those that are open and wait for one, in the order in which they could act. A call of one
    /// that can't have waited, or whose turn is far off, is left out: it stays where it is.
    fn all_waiting(&self, parent: Key, operation: u64, calls: &mut Vec<Key>) -> Vec<Waiting> {
        let owners = calls.iter().filter_map(|&key| self.calls.get(key)?.owner);
        let open = self.open.iter().copied().filter(|&request| self.calls_of(request).len() < MAX_COMPARED);
        let mut requests: Vec<Key> = owners.chain([parent]).chain(open).collect();
        requests.sort();
        requests.dedup();
        let mut waiting = Vec::new();
        for request in requests {
            let (of_kind, others) = self.apart(request, |call| call.operation == operation);
            let answered = self.parents.get(request).and_then(|request| request.answered);
            let at = match of_kind.first() {
                Some(&first) => self.calls.get(first).map(|call| call.made),
                None => Some(answered.unwrap_or(self.last_used)),
            };
            let are_free = of_kind.iter().all(|key| calls.contains(key));
            match at.filter(|_| are_free).and_then(|at| self.turn(request, &others, operation, at)) {
                Some(since) => waiting.push(Waiting { request, since, others }),
                None => calls.retain(|key| !of_kind.contains(key)),
            }
        }
        waiting.sort_by_key(|waiting| (waiting.since, waiting.request));
        for far in waiting.split_off(waiting.len().min(calls.len() + MAX_PLACES)) {
            calls.retain(|&key| self.calls.get(key).is_some_and(|call| call.owner != Some(far.request)));
        }
        waiting
    }

    /// What it costs to give each call to each of those that wait, and last to nobody: how much less likely that makes it what they did,
    /// and how far from its turn each is.
    fn costs(&self, calls: &[Key], waiting: &[Waiting]) -> Vec<Vec<f64>> {
        let likelihood = |one: &Waiting, calls: &[Key]| self.likelihood_from(one.request, calls, 0);
        let without: Vec<f64> = waiting.iter().map(|one| likelihood(one, &one.others)).collect();
        let of = |(place, &key): (usize, &Key)| {
            let Some(call) = self.calls.get(key) else { return vec![-IMPOSSIBLE; waiting.len() + 1] };
            let to = |(at, one): (usize, &Waiting)| {
                let away = at.abs_diff(place);
                if one.since >= call.made || (away > MAX_PLACES && call.owner != Some(one.request)) {
                    return -IMPOSSIBLE;
                }
                self.effort.spend(1);
                let mut with = one.others.clone();
                with.insert(self.place(&with, call.made), key);
                without[at] - likelihood(one, &with) + AWAY * away as f64
            };
            waiting.iter().enumerate().map(to).chain([-self.nobodys(call)]).collect()
        };
        calls.iter().enumerate().map(of).collect()
    }

    /// Gives calls to others, if everything is likelier then and more of what they did is plain. Whether it did.
    fn take_if_likelier(&mut self, parent: Key, given: &[Given]) -> bool {
        let owner = |key: Key| self.calls.get(key).and_then(|call| call.owner);
        let before: Vec<Given> = given.iter().map(|&(key, _)| (key, owner(key))).collect();
        let mut changed: Vec<Key> = given.iter().chain(&before).filter_map(|&(_, owner)| owner).collect();
        changed.sort();
        changed.dedup();
        let (now, plain_now) = self.likelihood_of_all(&changed, given);
        given.iter().for_each(|&(key, to)| self.give(key, to));
        let (then, plain_then) = self.likelihood_of_all(&changed, given);
        let is_better = then > now + WORTH && plain_then > plain_now && self.is_plain(parent);
        if !is_better {
            before.into_iter().for_each(|(key, to)| self.give(key, to));
        }
        is_better
    }

    /// How likely it is what these did, and the order in which these calls were made; and of how many it is plain.
    fn likelihood_of_all(&self, requests: &[Key], calls: &[Given]) -> (f64, usize) {
        let did = |&request: &Key| self.likelihood_from(request, self.calls_of(request), 0);
        let plain = requests.iter().filter(|&&request| self.is_plain(request)).count();
        (requests.iter().map(did).sum::<f64>() + self.order_around(calls), plain)
    }

    /// How likely it is that these calls and those around them were made in this order, by since when their owners could.
    fn order_around(&self, calls: &[Given]) -> f64 {
        let order = |(at, &(key, _)): (usize, &Given)| {
            let Some(mine) = self.acted_since(key) else { return 0.0 };
            let is_new = |other: &Key| calls[..at].iter().all(|(known, _)| known != other);
            let near = self.before(key).chain(self.after(key)).filter(is_new);
            near.filter_map(|other| self.acted_since(other))
                .map(|theirs| ln_share(self.order_of(mine, theirs)))
                .sum::<f64>()
        };
        calls.iter().enumerate().map(order).sum()
    }
}
