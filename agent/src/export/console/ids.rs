//! Sets of ids that are random already. The console asks them for every span, so they have to cost next to nothing.

use std::hash::{BuildHasher, Hasher, RandomState};

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

/// Ids seen lately, in a table of fixed size in which a newer one may take the place of an older one. Seconds are counted
/// from any beginning.
#[derive(Debug)]
pub(super) struct Recent {
    /// Hash of an id and the second after it came, for each place.
    places: Vec<(u64, u32)>,
    secret: Secret,
}

impl Recent {
    /// How long an id is remembered at most.
    const REMEMBER_SECONDS: u32 = 120;

    /// A table of 16 bytes for each of 2^`bits` places.
    pub(super) fn new(bits: u32) -> Self {
        Self { places: vec![(0, 0); 1 << bits], secret: Secret::default() }
    }

    pub(super) fn insert(&mut self, id: u128, second: u32) {
        let (place, hash) = self.place(id);
        self.places[place] = (hash, second.saturating_add(1));
    }

    pub(super) fn contains(&self, id: u128, second: u32) -> bool {
        let (place, hash) = self.place(id);
        let (known, since) = self.places[place];
        known == hash && since > second.saturating_sub(Self::REMEMBER_SECONDS)
    }

    /// Where an id belongs, and what stands for it there.
    fn place(&self, id: u128) -> (usize, u64) {
        let hash = self.secret.hash(id);
        #[expect(clippy::cast_possible_truncation, reason = "the length of the table is a power of two")]
        let place = hash as usize & (self.places.len() - 1);
        (place, hash)
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
        let mut recent = Recent::new(20);
        assert!(![0, 7].iter().any(|id| recent.contains(*id, 0)));
        recent.insert(7, 3);
        recent.insert(0, 4);
        assert_eq!([7, 0, 8].map(|id| recent.contains(id, 123)), [true, true, false]);
        assert_eq!([7, 0, 8].map(|id| recent.contains(id, 124)), [false, true, false]);
    }

    #[test]
    fn a_full_table_forgets_some_and_keeps_many() {
        let mut recent = Recent::new(8);
        (1..=10_000).for_each(|id| recent.insert(id, 5));
        let kept = (1..=10_000).filter(|id| recent.contains(*id, 5)).count();
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
