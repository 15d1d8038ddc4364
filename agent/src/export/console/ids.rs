//! Sets of ids that are random already. The console asks them for every span, so they have to cost next to nothing.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use crate::trace::span::{SpanId, TraceId};

/// An id as a number.
pub(super) fn of_trace(TraceId(bytes): TraceId) -> u128 {
    u128::from_ne_bytes(bytes)
}

/// An id as a number.
pub(super) fn of_span(SpanId(bytes): SpanId) -> u128 {
    u64::from_ne_bytes(bytes).into()
}

/// Makes hashes of ids, with two multiplications. Ids that came over the wire may have been chosen to collide: a secret of
/// this table's own is mixed in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secret {
    low: u64,
    high: u64,
}

impl Secret {
    fn hash(self, id: u128) -> u64 {
        let [low, high] = halves(id);
        folded_product(folded_product(low ^ self.low, high ^ self.high), SPREAD)
    }
}

impl Default for Secret {
    fn default() -> Self {
        let random = RandomState::new();
        Self { low: random.hash_one(0_u8), high: random.hash_one(1_u8) }
    }
}

impl BuildHasher for Secret {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed { secret: *self, hash: 0 }
    }
}

/// The hash of one id.
#[derive(Debug)]
pub(super) struct Mixed {
    secret: Secret,
    hash: u64,
}

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128((*byte).into());
        }
    }

    fn write_u128(&mut self, id: u128) {
        self.hash = self.secret.hash(id ^ u128::from(self.hash));
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// Ids seen lately, in a table of fixed size in which a newer one may take the place of an older one.
#[derive(Debug)]
pub(super) struct Recent {
    /// Hash of the id and second, for each place; no second is zero.
    places: Vec<(u64, u32)>,
    secret: Secret,
    since: Option<Instant>,
}

impl Recent {
    /// How long an id is remembered at most.
    const REMEMBER_SECONDS: u32 = 120;

    /// A table of 16 bytes for each of 2^`bits` places.
    pub(super) fn new(bits: u32) -> Self {
        Self { places: vec![(0, 0); 1 << bits], secret: Secret::default(), since: None }
    }

    pub(super) fn insert(&mut self, id: u128, now: Instant) {
        let second = self.second(now);
        let (place, hash) = self.place(id);
        self.places[place] = (hash, second);
    }

    pub(super) fn contains(&mut self, id: u128, now: Instant) -> bool {
        let oldest = self.second(now).saturating_sub(Self::REMEMBER_SECONDS).max(1);
        let (place, hash) = self.place(id);
        self.places[place].0 == hash && self.places[place].1 >= oldest
    }

    /// Where an id belongs, and what stands for it there.
    fn place(&self, id: u128) -> (usize, u64) {
        let hash = self.secret.hash(id);
        #[expect(clippy::cast_possible_truncation, reason = "the length of the table is a power of two")]
        let place = hash as usize & (self.places.len() - 1);
        (place, hash)
    }

    fn second(&mut self, now: Instant) -> u32 {
        let age: Duration = now.saturating_duration_since(*self.since.get_or_insert(now));
        u32::try_from(age.as_secs()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// The golden ratio as a fraction of 2^64: bits without a pattern.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

fn folded_product(one: u64, other: u64) -> u64 {
    let [low, high] = halves(u128::from(one) * u128::from(other));
    low ^ high
}

const fn halves(id: u128) -> [u64; 2] {
    [id as u64, (id >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_recent_is_known_until_it_is_old() {
        let start = Instant::now();
        let mut recent = Recent::new(20);
        assert!(!recent.contains(7, start));
        recent.insert(7, start);
        recent.insert(0, start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!([7, 0, 8].map(|id| recent.contains(id, after(120))), [true, true, false]);
        assert!(!recent.contains(7, after(121)));
    }

    #[test]
    fn a_full_table_forgets_some_and_keeps_many() {
        let now = Instant::now();
        let mut recent = Recent::new(8);
        (1..=10_000).for_each(|id| recent.insert(id, now));
        let kept = (1..=10_000).filter(|id| recent.contains(*id, now)).count();
        assert!((128..=256).contains(&kept), "{kept}");
    }

    #[test]
    fn ids_that_differ_little_have_hashes_that_differ_much() {
        let secret = Secret::default();
        for factor in [1, 1 << 40, 1 << 64, 1 << 100, u128::from_ne_bytes([1; 16])] {
            let hashes = || (0..255_u128).map(|id| secret.hash_one(id * factor));
            let low: HashSet<u64> = hashes().map(|hash| hash & 0xffff).collect();
            let high: HashSet<u64> = hashes().map(|hash| hash >> 48).collect();
            assert!(low.len() > 240 && high.len() > 240, "{factor:x}: {} {}", low.len(), high.len());
        }
    }
}
