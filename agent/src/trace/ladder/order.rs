//! In which order requests act that wait for the same thing: learnt per process from pairs about which everything else leaves
//! no doubt.
//!
//! Most pools are queues and give a connection to whoever waits longest. Others prefer who comes at the right moment, or keep
//! no order. What is seen of a process decides how much the order says about its next calls.

use smallvec::SmallVec;

use super::change::{self, Change};
use super::memo::Memo;
use super::process::{Call, Calls, Process};
use super::timeline::position;
use crate::flow::Nanos;
use crate::slots::Key;

/// How often those that could act earlier did, by how much earlier they could.
#[derive(Debug, Default)]
pub(super) struct Order {
    pairs: [[Seen; GAPS]; MANNERS],
    /// Requests that could be learnt from.
    asked: u32,
    /// How many of them were looked at lately, and how many pairs there were.
    looked_at: u32,
    found: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    kept: u32,
    broken: u32,
}

/// Two that wait, as far as it matters who acts first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair {
    gap: usize,
    manner: Manner,
}

/// What one waits for that acts before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It is not known what for.
    Waiting,
    /// The later one had just become ready then.
    Fresh,
    /// A connection: that of the first of them had just become free.
    Queued,
}

const MANNERS: usize = 3;

/// What else matters for how much the order says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Circumstances {
    /// Several threads make calls.
    pub(super) has_many_callers: bool,
    /// Something of the process was not seen lately.
    pub(super) may_have_missed: bool,
}

/// When something was done, and whether a connection had just become free for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acted {
    pub(super) at: Nanos,
    pub(super) is_handed: bool,
}

/// Classes of how much earlier one could act than the other: less than so many microseconds, or more.
const GAPS_US: [u64; 5] = [100, 400, 2_000, 8_000, 32_000];
/// From this class on who waits for a connection is taken to wait in a queue.
const LONG: usize = 3;
const GAPS: usize = GAPS_US.len() + 1;
/// Who became ready less than this before may have come at the right moment.
const FRESH_NS: u64 = 1_000_000;
/// After so many pairs only some requests are learnt from: one of so many.
const WELL_KNOWN: u32 = 4_096;
const SAMPLED: u32 = 8;
/// The same where hardly any wait: where of so many requests there was not one pair for each so many of them.
const LOOKED_AT: u32 = 256;
const RARE: u32 = 32;
/// Counts are halved then.
const MAX_COUNT: u32 = 4_096;
/// What is expected weighs like so many sightings.
const WEIGHT: f64 = 4.0;
/// The same of what is known of others.
const WEIGHT_OF_OTHERS: f64 = 8.0;
/// How many keep the order, by the gap, before anything was seen.
const EXPECTED: [f64; GAPS] = [0.73; GAPS];
/// The same where several threads make calls: each may be held up by itself.
const EXPECTED_THREADS: [f64; GAPS] = [0.6, 0.65, 0.7, 0.73, 0.73, 0.73];
/// The same of those that wait for long: most pools are queues.
const QUEUES: f64 = 0.95;
/// However often the order was kept: whoever waits may be held up, and all that come after pass it for one reason. A natural logarithm.
const MOST: f64 = 7.0;
/// How much those that wait little longer than others are like those that wait much longer, as a share of the logarithm of their
/// odds; the rest is what was expected before anything was seen.
const LIKE_FURTHER: f64 = 0.5;
/// The same where several threads make calls.
const LIKE_FURTHER_THREADS: f64 = 0.3;

impl Call {
    /// When it was made, and whether its connection had just become free then.
    pub(super) fn acted(&self) -> Acted {
        /// A program takes that long to give a connection to whoever waits for it.
        const HANDED_NS: u64 = 1_000_000;
        let is_handed = self.free_since.is_some_and(|since| self.made.0.saturating_sub(since.0) < HANDED_NS);
        Acted { at: self.made, is_handed }
    }
}

impl Pair {
    /// One that could act at a time and another that could act later, and when the first of them acted.
    pub(super) fn new(earlier: Nanos, later: Nanos, acted: Acted) -> Self {
        let gap_us = later.0.saturating_sub(earlier.0) / 1_000;
        let gap = GAPS_US.iter().position(|&us| gap_us < us).unwrap_or(GAPS_US.len());
        let manner = if acted.at.0.saturating_sub(later.0) < FRESH_NS {
            Manner::Fresh
        } else if acted.is_handed {
            Manner::Queued
        } else {
            Manner::Waiting
        };
        Self { gap, manner }
    }
}

impl Seen {
    fn and(self, other: &Self) -> Self {
        Self { kept: self.kept + other.kept, broken: self.broken + other.broken }
    }
}

/// How many of so many keep the order, if what is expected weighs like so many of them.
fn share(Seen { kept, broken }: Seen, expected: f64, weight: f64) -> f64 {
    (f64::from(kept) + weight * expected) / (f64::from(kept) + f64::from(broken) + weight)
}

fn ln_odds(share: f64) -> f64 {
    (share / (1.0 - share)).ln()
}

impl Order {
    /// How much likelier it is that the earlier one acts first, as a natural logarithm.
    pub(super) fn odds(&self, pair: Pair, seen: Circumstances) -> f64 {
        let Circumstances { has_many_callers, may_have_missed } = seen;
        let expected = if has_many_callers { EXPECTED_THREADS } else { EXPECTED };
        // What is known of others tells as long as little is known of just these: of all that wait for long, and of all that wait.
        let is_long = pair.gap >= LONG;
        let like = |manner: Manner| {
            let pairs = &self.pairs[manner as usize];
            if is_long { pairs[LONG..].iter().fold(Seen::default(), Seen::and) } else { pairs[pair.gap] }
        };
        let just = self.pairs[pair.manner as usize][pair.gap];
        let all = like(Manner::Waiting).and(&like(Manner::Queued));
        let like_further = match pair.manner {
            // Who is taken for the next one of a queue, because one was not seen, is close to it.
            _ if is_long || may_have_missed => 0.0,
            _ if !has_many_callers => LIKE_FURTHER,
            Manner::Queued => LIKE_FURTHER_THREADS,
            // Threads that wait in no queue race each other, and the closer the more.
            Manner::Waiting | Manner::Fresh => 0.0,
        };
        let expected = self.expected(pair.gap, expected[pair.gap], like_further);
        let share = match (pair.manner, is_long) {
            // Those that come at the right moment are taken to wait like others.
            (Manner::Fresh, false) => share(just, share(all, expected, WEIGHT_OF_OTHERS), WEIGHT),
            (Manner::Fresh, true) => {
                let fresh = share(like(Manner::Fresh), share(all, expected, WEIGHT_OF_OTHERS), WEIGHT);
                share(just, fresh, WEIGHT_OF_OTHERS)
            }
            (_, false) => share(all, expected, WEIGHT),
            (manner, true) => {
                let all = share(all, QUEUES, WEIGHT);
                share(just, share(like(manner), all, WEIGHT_OF_OTHERS), WEIGHT_OF_OTHERS)
            }
        };
        ln_odds(share).clamp(-MOST, MOST)
    }

    /// How many are expected to keep the order where one could act only so little before the other, by those that do where one could
    /// act much earlier. Two that come so close to each other are rare: each would be doubted until enough of them were seen.
    fn expected(&self, gap: usize, before: f64, like_further: f64) -> f64 {
        if like_further == 0.0 {
            return before;
        }
        let of = |manner: Manner| self.pairs[manner as usize][gap + 1..].iter().fold(Seen::default(), Seen::and);
        let further = share(of(Manner::Waiting).and(&of(Manner::Queued)), before, WEIGHT);
        let odds = like_further * ln_odds(further) + (1.0 - like_further) * ln_odds(before);
        1.0 / (1.0 + (-odds).exp())
    }

    /// Whether the next request is to be learnt from.
    fn is_due(&mut self) -> bool {
        self.asked = self.asked.wrapping_add(1);
        let is_rare = self.looked_at >= LOOKED_AT && self.found < self.looked_at / RARE;
        !(is_rare || self.is_well_known()) || self.asked.is_multiple_of(SAMPLED)
    }

    /// A request was looked at for pairs, and so many were found.
    const fn note(&mut self, found: usize) {
        (self.looked_at, self.found) = (self.looked_at + 1, self.found.saturating_add(found as u32));
        if self.looked_at >= 2 * LOOKED_AT {
            (self.looked_at, self.found) = (self.looked_at / 2, self.found / 2);
        }
    }

    /// Whether so much was seen that some of the requests are enough.
    fn is_well_known(&self) -> bool {
        self.pairs.iter().flatten().map(|seen| seen.kept + seen.broken).sum::<u32>() >= WELL_KNOWN
    }

    /// A pair about which there is no doubt.
    pub(super) fn learn(&mut self, pair: Pair, is_kept: bool) {
        let seen = &mut self.pairs[pair.manner as usize][pair.gap];
        *if is_kept { &mut seen.kept } else { &mut seen.broken } += 1;
        if seen.kept + seen.broken >= MAX_COUNT {
            *seen = Seen { kept: seen.kept / 2, broken: seen.broken / 2 };
        }
    }
}

/// What speaks against that two were exchanged must be so strong, as a natural logarithm, for there to be no doubt.
const BEYOND_DOUBT: f64 = -6.0;
/// Calls of the same kind that each call of an answered request is compared with.
const MAX_COMPARED: usize = 4;
/// Calls of any kind that are looked through for them.
const MAX_LOOKED_AT: usize = 64;

impl Process {
    /// How likely it is that of two that wait it is this one that acts first, by since when they could act and when they did: as
    /// log-odds, 0 where they did not wait at the same time.
    pub(super) fn order_of(&self, one: (Nanos, Acted), other: (Nanos, Acted)) -> f64 {
        let acted = if one.1.at <= other.1.at { one.1 } else { other.1 };
        if one.0.max(other.0) >= acted.at {
            return 0.0;
        }
        if one.1.at < other.1.at { self.first(one.0, other.0, acted) } else { self.first(other.0, one.0, acted) }
    }

    /// How surely those that wait for a connection are given one in the order in which they came, as log-odds.
    pub(super) fn kept_order(&self) -> f64 {
        let seen = Circumstances { has_many_callers: self.has_many_callers(), may_have_missed: false };
        self.order.odds(Pair { gap: GAPS - 1, manner: Manner::Queued }, seen)
    }

    /// A request was answered: what is known of its calls and of those before tells in which order requests act.
    pub(super) fn learn_order(&mut self, parent: Key) {
        if !self.order.is_due() || !self.is_plain(parent) {
            return;
        }
        let mut found = 0;
        let calls = Calls::from(self.calls_of(parent));
        for (at, &key) in calls.iter().enumerate() {
            let Some((made, operation)) = self.calls.get(key).map(|call| (call.made, call.operation)) else { continue };
            let Some(ready) = self.ready_for(parent, at) else { continue };
            let earlier = self.recent.earlier(made, Nanos(ready.since.0.saturating_add(1)), operation, MAX_LOOKED_AT);
            let later = self.recent.later(made, operation, MAX_LOOKED_AT).filter(|&other| other != key);
            let pairs: SmallVec<[_; MAX_COMPARED]> = earlier
                .chain(later)
                .filter_map(|other| self.undoubted(parent, key, ready.since, other))
                .take(MAX_COMPARED)
                .collect();
            found += pairs.len();
            for (pair, is_kept) in pairs.into_iter().flatten() {
                self.order.learn(pair, is_kept);
            }
        }
        self.order.note(found);
    }

    /// Two calls for which two requests waited, if it is beyond doubt whose they are; `None` if they are no such calls.
    fn undoubted(&self, parent: Key, key: Key, mine: Nanos, other: Key) -> Option<Option<(Pair, bool)>> {
        let (call, with) = (self.calls.get(key)?, self.calls.get(other)?);
        let theirs = with.owner.filter(|&theirs| theirs != parent && call.operation == with.operation)?;
        let (one, two) = (self.parents.get(parent)?, self.parents.get(theirs)?);
        let acted = call.made.min(with.made);
        if two.answered.is_none() || mine >= acted || two.read >= acted {
            return None;
        }
        let their = self.ready_for(theirs, position(&two.calls, other))?.since;
        if their >= acted || mine == their || !self.is_plain(theirs) {
            return None;
        }
        let is_kept = (mine < their) == (call.made < with.made);
        let first = if call.made <= with.made { call } else { with };
        let pair = Pair::new(mine.min(their), mine.max(their), first.acted());
        if call.proof.is_some() && with.proof.is_some() {
            return Some(Some((pair, is_kept)));
        }
        if call.proof.is_some() || with.proof.is_some() || one.calls.len().max(two.calls.len()) > change::MAX_COMPARED {
            return Some(None);
        }
        let mut memo = Memo::new(self);
        let doubt = self.exchanges(key, parent, other, &mut memo);
        let is_doubtful = doubt.iter().any(|change: &Change| self.gain(change, &mut memo).steps > BEYOND_DOUBT);
        Some((!is_doubtful).then_some((pair, is_kept)))
    }

    /// How much likelier it is that one acts at this time and not the other one, by who could earlier.
    pub(super) fn first(&self, one: Nanos, other: Nanos, acted: Acted) -> f64 {
        let seen = Circumstances {
            has_many_callers: self.has_many_callers(),
            may_have_missed: self.may_have_missed(acted.at),
        };
        match one.cmp(&other) {
            std::cmp::Ordering::Less => self.order.odds(Pair::new(one, other, acted), seen),
            std::cmp::Ordering::Equal => 0.0,
            std::cmp::Ordering::Greater => -self.order.odds(Pair::new(other, one, acted), seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    const ACTED: Acted = Acted { at: Nanos(50 * MS), is_handed: false };

    const ONE_CALLER: Circumstances = Circumstances { has_many_callers: false, may_have_missed: false };
    const MANY_CALLERS: Circumstances = Circumstances { has_many_callers: true, may_have_missed: false };

    fn waiting() -> Pair {
        Pair::new(Nanos(MS), Nanos(41 * MS), ACTED)
    }

    fn fresh() -> Pair {
        Pair::new(Nanos(MS), Nanos(50 * MS - MS / 10), ACTED)
    }

    fn queued() -> Pair {
        Pair::new(Nanos(MS), Nanos(41 * MS), Acted { is_handed: true, ..ACTED })
    }

    #[test]
    fn a_queue_is_learnt_and_holds_for_newcomers_too() {
        let mut order = Order::default();
        let before = order.odds(fresh(), MANY_CALLERS);
        (0..100).for_each(|_| order.learn(waiting(), true));
        assert!(order.odds(waiting(), MANY_CALLERS) > 6.0, "{order:?}");
        assert!(order.odds(fresh(), MANY_CALLERS) > before + 1.5, "{order:?}");
    }

    #[test]
    fn newcomers_that_are_preferred_are_learnt_apart() {
        let mut order = Order::default();
        (0..100).for_each(|_| order.learn(waiting(), true));
        (0..100).for_each(|_| order.learn(fresh(), false));
        assert!(order.odds(fresh(), ONE_CALLER) < -3.0 && order.odds(waiting(), ONE_CALLER) > 6.0, "{order:?}");
    }

    #[test]
    fn those_that_wait_for_a_connection_are_learnt_apart() {
        let mut order = Order::default();
        (0..100).for_each(|at| order.learn(waiting(), at % 2 == 0));
        let before = order.odds(queued(), MANY_CALLERS);
        assert!(before < 1.0, "nothing is known of them but of others: {order:?}");
        (0..400).for_each(|_| order.learn(queued(), true));
        assert!(order.odds(queued(), MANY_CALLERS) > 4.0, "{order:?}");
        assert!(order.odds(waiting(), MANY_CALLERS) < 1.0, "{order:?}");
    }

    #[test]
    fn a_queue_is_expected_to_be_kept_by_those_that_come_close_to_each_other() {
        let close = |is_handed| Pair::new(Nanos(MS), Nanos(MS + MS / 20), Acted { is_handed, ..ACTED });
        for seen in [ONE_CALLER, MANY_CALLERS] {
            let mut order = Order::default();
            let before = order.odds(close(true), seen);
            (0..400).for_each(|_| order.learn(queued(), true));
            assert!(order.odds(close(true), seen) > before + 1.0, "{order:?}");
            let missed = Circumstances { may_have_missed: true, ..seen };
            assert!(order.odds(close(true), missed) < before + 0.01, "one may be taken for the next: {order:?}");
            (0..2).for_each(|_| order.learn(close(true), false));
            assert!(order.odds(close(true), seen) < before + 1.0, "what is seen of them counts more: {order:?}");
        }
        let mut order = Order::default();
        let before = order.odds(close(false), MANY_CALLERS);
        (0..400).for_each(|_| order.learn(waiting(), true));
        assert!(order.odds(close(false), MANY_CALLERS) <= before, "threads race each other: {order:?}");
    }

    #[test]
    fn however_often_an_order_was_kept_it_may_be_broken() {
        let mut order = Order::default();
        (0..MAX_COUNT - 1).for_each(|_| order.learn(queued(), true));
        assert!((order.odds(queued(), MANY_CALLERS) - MOST).abs() < 1e-9, "{order:?}");
        let mut order = Order::default();
        (0..MAX_COUNT - 1).for_each(|_| order.learn(queued(), false));
        assert!((order.odds(queued(), MANY_CALLERS) + MOST).abs() < 1e-9, "{order:?}");
    }

    #[test]
    fn where_no_order_is_kept_it_says_nothing() {
        let mut order = Order::default();
        (0..200).for_each(|at| order.learn(waiting(), at % 2 == 0));
        assert!(order.odds(waiting(), ONE_CALLER).abs() < 0.1, "{order:?}");
        // What a process does may change, and counts are bounded.
        (0..2 * MAX_COUNT).for_each(|_| order.learn(waiting(), true));
        assert!(order.odds(waiting(), ONE_CALLER) > 3.0, "{order:?}");
    }
}
