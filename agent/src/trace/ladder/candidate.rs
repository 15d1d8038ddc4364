//! Which requests may have made a call, the likeliest first.
//!
//! All that are open can, and those that were answered only just now, if the call is told late. But most programs call while they are
//! busy with the request, and where that is so it is enough to look at what the thread did last.

use smallvec::SmallVec;

use super::order::Acted;
use super::plan::About;
use super::process::{Call, MAX_RIVALS, Process};
use crate::flow::Nanos;
use crate::slots::Key;

/// Requests that were answered lately and may have made a call before: such a call is told late.
const MAX_LATE: usize = 64;
/// They were answered in about this order: after so many that were not answered since there are no more.
const MAX_EARLIER: u32 = 4;
/// Of a connection that became free so lately it may be that somebody waited for it.
const JUST_FREE_NS: u64 = 200_000;

/// A request that may have made a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) request: Key,
    /// How likely that is, as a natural logarithm.
    pub(super) likelihood: f64,
    /// Since when it was its turn, if it was.
    turn: Option<Nanos>,
}

impl Process {
    /// The requests that the calling thread was busy with lately, if the last of them would do what is usual by the call, and when it
    /// is: then nobody else is asked about. Who waits for a connection acts whenever one becomes free.
    fn nearest(&self, call: &Call, plans: &mut About<'_>) -> Option<SmallVec<[Key; 8]>> {
        let (at, cause) = call.cause?;
        if call.free_since.is_some_and(|free| free >= at || call.made.0.saturating_sub(free.0) < JUST_FREE_NS) {
            return None;
        }
        let request = self.stands_for(cause)?;
        let ready = self.ready(request, call.operation, call.made)?;
        if !ready.is_due() || self.may_have_missed(call.made) {
            return None;
        }
        let step = self.step(call, (request, self.calls_of(request)), &ready);
        let known = plans.known(ready.history)?;
        let (likelihood, has_waited) = known.weigh(&step, self.trust());
        if has_waited || !known.is_usual(likelihood) || !known.is_mostly_adjacent() {
            return None;
        }
        let is_open = |&request: &Key| self.parents.get(request).is_some_and(|parent| parent.is_open_at(call.made));
        let taken = self.threads.get(&call.tid)?.all_taken();
        let mut near = SmallVec::new();
        for request in taken.filter_map(|(_, cause)| self.stands_for(cause)).filter(is_open) {
            if !near.contains(&request) {
                near.push(request);
            }
        }
        Some(near)
    }

    /// Requests that may have made a call: the likeliest first, then the others by how likely they are.
    pub(super) fn candidates(&self, call: &Call) -> Vec<Candidate> {
        let trust = self.trust();
        let mut plans = self.plans.about(call.operation);
        let near = self.nearest(call, &mut plans);
        let room = near.as_ref().map_or(self.open.len(), SmallVec::len);
        let (mut candidates, mut others) = (Vec::with_capacity(room), Vec::with_capacity(room));
        let mut is_usual = false;
        let mut earlier = 0;
        let is_late = |parent: &&Key| {
            let answered = self.parents.get(**parent).and_then(|parent| parent.answered);
            answered.is_some_and(|answered| answered > call.made)
        };
        let late = self.closed.iter().rev().take(MAX_LATE).take_while(|parent| {
            earlier += u32::from(!is_late(parent));
            earlier <= MAX_EARLIER
        });
        let late = late.filter(is_late);
        let (near, all) = match &near {
            Some(near) => (near.as_slice(), None),
            None => (&[][..], Some(self.open.iter().chain(late))),
        };
        for &request in near.iter().chain(all.into_iter().flatten()) {
            let Some(ready) = self.ready(request, call.operation, call.made) else { continue };
            let Some(known) = plans.known(ready.history) else {
                others.push((request, ready.is_due()));
                continue;
            };
            let step = self.step(call, (request, self.calls_of(request)), &ready);
            let (likelihood, has_waited) = known.weigh(&step, trust);
            is_usual = is_usual || (ready.is_due() && !has_waited && known.is_usual(likelihood));
            candidates.push(Candidate { request, likelihood, turn: ready.is_due().then_some(ready.since) });
        }
        // Who was never seen to do this then is asked about only where there are not enough others, or where something that they did
        // may not have been seen; who waits for an answer only if nobody did what is usual. It is nobody's turn.
        let may_have_missed = self.may_have_missed(call.made);
        if candidates.len() <= MAX_RIVALS || may_have_missed {
            let asked = others.iter().filter(|&&(_, is_due)| !is_usual || may_have_missed || is_due);
            candidates.extend(asked.filter_map(|&(request, _)| {
                let ready = self.ready(request, call.operation, call.made)?;
                let step = self.step(call, (request, self.calls_of(request)), &ready);
                let likelihood = self.plans.likelihood(ready.history, &step, trust);
                Some(Candidate { request, likelihood, turn: None })
            }));
        }
        candidates
            .sort_by(|one, other| other.likelihood.total_cmp(&one.likelihood).then(one.request.cmp(&other.request)));
        // Of those that are about as likely the one whose turn it is.
        let mut best = 0;
        for (at, candidate) in candidates.iter().enumerate().skip(1) {
            if self.is_before(candidate, &candidates[best], call.acted()) {
                best = at;
            }
        }
        if best < candidates.len() {
            candidates.swap(0, best);
        }
        candidates
    }

    /// Whether it is rather this one that makes a call, by whose turn it is.
    pub(super) fn is_before(&self, one: &Candidate, other: &Candidate, acted: Acted) -> bool {
        let (Some(turn), Some(first)) = (one.turn, other.turn) else { return false };
        one.likelihood - other.likelihood + self.first(turn, first, acted) > 0.0
    }
}
