//! Ids of spans and traces: made from what they name, so that a replay makes them again.
//!
//! An id is known as soon as the first byte of its exchange has passed, and needs no table and no source of randomness:
//! it is the seed of the agent's run, the socket and the number of the exchange, mixed.

use super::span::{SpanId, TraceId};
use crate::flow::{Cookie, Role};

/// Makes the ids of one run of the agent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids {
    seed: u64,
}

/// What an id is for. Two of a different kind never share an id by construction of their input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The exchange with this number on its connection.
    Exchange(u64),
    /// The segment with this number of a connection's span.
    Connection(u64),
}

impl Ids {
    /// `seed` is [`crate::flow::fact::Host::seed`].
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The id of a span.
    #[must_use]
    pub fn span(self, cookie: Cookie, role: Option<Role>, subject: Subject) -> SpanId {
        SpanId(never_zero(self.mix(SPAN, cookie, role, subject)).to_be_bytes())
    }

    /// The id of the trace that begins with a span.
    #[must_use]
    pub fn trace(self, cookie: Cookie, role: Option<Role>, subject: Subject) -> TraceId {
        let high = self.mix(TRACE_HIGH, cookie, role, subject);
        let low = never_zero(self.mix(TRACE_LOW, cookie, role, subject));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&high.to_be_bytes());
        id[8..].copy_from_slice(&low.to_be_bytes());
        TraceId(id)
    }

    fn mix(self, purpose: u64, cookie: Cookie, role: Option<Role>, subject: Subject) -> u64 {
        let role = match role {
            None => 0,
            Some(Role::Client) => 1,
            Some(Role::Server) => 2,
        };
        let (kind, number) = match subject {
            Subject::Exchange(number) => (0, number),
            Subject::Connection(number) => (1, number),
        };
        [purpose << 8 | kind << 4 | role, cookie.0, number].into_iter().fold(avalanche(self.seed), absorb)
    }
}

const SPAN: u64 = 1;
const TRACE_HIGH: u64 = 2;
const TRACE_LOW: u64 = 3;

/// 2^64 divided by the golden ratio, odd: spreads consecutive numbers over all bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Takes one more word into the state. Both steps are bijections of the word, so two inputs that differ in one word
/// only never collide.
fn absorb(state: u64, word: u64) -> u64 {
    avalanche(state.rotate_left(23) ^ word.wrapping_add(GOLDEN))
}

/// The finaliser of the SplitMix64 generator (Steele, Lea and Flood 2014, "mix13" of David Stafford): a bijection in
/// which each bit of the input changes each bit of the output with probability one half.
fn avalanche(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

const fn never_zero(word: u64) -> u64 {
    if word == 0 { GOLDEN } else { word }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_of_different_things_differ() {
        let mut spans = HashSet::new();
        let mut traces = HashSet::new();
        for cookie in 0..100 {
            for number in 0..20 {
                for role in [None, Some(Role::Client), Some(Role::Server)] {
                    for subject in [Subject::Exchange(number), Subject::Connection(number)] {
                        assert!(spans.insert(Ids::new(7).span(Cookie(cookie), role, subject)));
                        assert!(traces.insert(Ids::new(7).trace(Cookie(cookie), role, subject)));
                    }
                }
            }
        }
    }

    #[test]
    fn the_seed_decides_and_nothing_else() {
        let id = |seed| Ids::new(seed).span(Cookie(1), Some(Role::Client), Subject::Exchange(0));
        assert_eq!(id(1), id(1));
        assert_ne!(id(1), id(2));
        assert_eq!(id(42).to_string(), "fd0353e98fbd670a");
    }

    #[test]
    fn each_bit_of_the_number_changes_about_half_of_the_id() {
        let id =
            |number| u64::from_be_bytes(Ids::new(3).span(Cookie(9), Some(Role::Server), Subject::Exchange(number)).0);
        for bit in 0..64 {
            let changed = (id(0) ^ id(1 << bit)).count_ones();
            assert!((12..=52).contains(&changed), "bit {bit} changes {changed} bits");
        }
    }

    #[test]
    fn zero_is_no_id() {
        assert_ne!(never_zero(0), 0);
        assert_eq!(never_zero(5), 5);
    }
}
