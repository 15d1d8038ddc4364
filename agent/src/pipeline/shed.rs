//! Load shedding: while the machine has no time to spare, the requests of some connections are not read, and the kernel counts
//! them.
//!
//! Only processes that answer or make very many requests are spared so, and only those that do not do both: what links the others is
//! learnt from all that they do. Both ends of a connection are chosen alike, and other connections each round.

use foldhash::HashMap;
use wirespan_common::mode::Mode;

use super::core::Core;
use super::state::{State, Watch};
use crate::flow::fact::Shedding;
use crate::flow::{Cookie, Facts, Nanos, Role};
use crate::proto::Protocol;
use crate::trace::address;

/// What is left out.
#[derive(Debug, Default)]
pub(super) struct Shed {
    told: Shedding,
    /// What processes did since something is left out.
    rates: HashMap<u32, Rate>,
    /// Connections whose requests are not read. Some may be gone.
    connections: Vec<Cookie>,
}

/// How many requests of a process were read.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    since: Nanos,
    seen: u32,
    before: u32,
}

/// A connection whose requests are not read.
pub(super) struct Unread {
    protocol: &'static Protocol,
    /// The process that answers them, if it is known to have requests that nobody followed.
    blinds: Option<u32>,
}

/// Of processes with fewer requests within [`WINDOW_NS`] none is left out.
const MANY: u32 = 1_000;
const WINDOW_NS: u64 = 1_000_000_000;
/// Processes whose requests are counted; beyond that all are forgotten.
const MAX_PROCESSES: usize = 4_096;

impl Shed {
    /// A request of a process was read. Whether it has very many.
    fn note(&mut self, tgid: u32, now: Nanos) -> bool {
        if self.rates.len() >= MAX_PROCESSES && !self.rates.contains_key(&tgid) {
            self.rates.clear();
        }
        let rate = self.rates.entry(tgid).or_default();
        let passed = now.0.saturating_sub(rate.since.0);
        if passed >= WINDOW_NS {
            let before = if passed < 2 * WINDOW_NS { rate.seen } else { 0 };
            *rate = Rate { since: now, seen: 0, before };
        }
        rate.seen = rate.seen.saturating_add(1);
        rate.seen.max(rate.before) >= MANY
    }

    /// Whether a connection is one of those that are left out.
    fn takes(&self, facts: &Facts) -> bool {
        /// Constants of SplitMix64, which mixes well.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let ends = address::number(facts.local) ^ address::number(facts.remote);
        let mixed = ends.wrapping_add(u64::from(self.told.round).wrapping_mul(STEP));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % u64::from(Shedding::PARTS) < u64::from(self.told.parts)
    }
}

impl Core {
    /// From now on so much is left out. Gives the connections of which the requests were not read, to be
    /// [reconsidered](Self::reconsider).
    pub(super) fn shed(&mut self, told: Shedding) -> Vec<Cookie> {
        self.shed.told = told;
        if told.parts == 0 {
            self.shed.rates.clear();
        }
        std::mem::take(&mut self.shed.connections)
    }

    /// Reads the requests of a connection again, if they are not to be left out any more.
    pub(super) fn reconsider(&mut self, facts: &Facts, state: &mut State) {
        if matches!(state.watch, Watch::Shed(_)) {
            if self.shed.takes(facts) && !self.relations.family.follows(facts.task.tgid) {
                self.shed.connections.push(facts.cookie);
            } else {
                self.read_again(facts, state);
            }
        }
    }

    fn read_again(&mut self, facts: &Facts, state: &mut State) {
        if let Some(protocol) = self.end_shedding(state) {
            let parser = (protocol.parser)(true);
            self.feed(facts, state, parser.appetite());
            state.watch = Watch::Parsing(parser);
        }
    }

    /// The requests of a connection are not left out any more.
    pub(super) fn end_shedding(&mut self, state: &mut State) -> Option<&'static Protocol> {
        let Watch::Shed(Unread { protocol, blinds }) = state.watch else { return None };
        state.watch = Watch::Unknown;
        if let Some(tgid) = blinds {
            self.relations.family.sides.close_unfollowed(tgid);
        }
        Some(protocol)
    }

    /// A request is over, and no other is open on its connection: from now on its requests may be left out.
    pub(super) fn consider_shedding(&mut self, facts: &Facts, state: &mut State, now: Nanos) {
        let tgid = facts.task.tgid;
        if self.shed.told.parts == 0
            || tgid == 0
            || !self.shed.note(tgid, now)
            || !self.shed.takes(facts)
            || self.relations.family.follows(tgid)
        {
            return;
        }
        let Some(protocol) = state.protocol else { return };
        // What it is asked meanwhile is nobody's that is known: a call of the process may be made for it.
        let blinds = (state.role(facts) == Some(Role::Server)).then_some(tgid);
        if let Some(tgid) = blinds {
            self.relations.family.sides.open_unfollowed(tgid);
        }
        state.watch = Watch::Shed(Unread { protocol, blinds });
        self.shed.connections.push(facts.cookie);
        self.steer(facts, state, Mode::Shed.into());
    }
}
