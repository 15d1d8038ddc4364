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

/// Ids seen lately, in a table of fixed size: an id has a few places it may take, of which it takes the one of the oldest
/// id. Seconds are counted from any beginning.
#[derive(Debug)]
pub(super) struct Recent {
    sets: Vec<[Place; WAYS]>,
    secret: Secret,
}

/// Hash of an id, and the second after it came.
type Place = (u64, u32);

/// Places that an id may take: together one line of the cache. With fewer, two ids of a handful would meet too often.
const WAYS: usize = 4;

impl Recent {
    /// How long an id is remembered at most.
    const REMEMBER_SECONDS: u32 = 120;

    /// A table of 16 bytes for each of 2^`bits` places.
    pub(super) fn new(bits: u32) -> Self {
        Self { sets: vec![[(0, 0); WAYS]; (1 << bits) / WAYS], secret: Secret::default() }
    }

    pub(super) fn insert(&mut self, id: u128, second: u32) {
        let (set, hash) = self.set(id);
        let places = &mut self.sets[set];
        let place = places.iter().position(|(known, _)| *known == hash).unwrap_or_else(|| oldest(places));
        places[place] = (hash, second.saturating_add(1));
    }

    pub(super) fn contains(&self, id: u128, second: u32) -> bool {
        let (set, hash) = self.set(id);
        let oldest = second.saturating_sub(Self::REMEMBER_SECONDS);
        self.sets[set].iter().any(|&(known, since)| known == hash && since > oldest)
    }

    /// Where an id belongs, and what stands for it there.
    fn set(&self, id: u128) -> (usize, u64) {
        let hash = self.secret.hash(id);
        #[expect(clippy::cast_possible_truncation, reason = "the length of the table is a power of two")]
        let set = hash as usize & (self.sets.len() - 1);
        (set, hash)
    }
}

fn oldest(places: &[Place; WAYS]) -> usize {
    (1..WAYS).fold(0, |oldest, n| if places[n].1 < places[oldest].1 { n } else { oldest })
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
    fn a_table_that_is_nearly_empty_forgets_nothing() {
        for _ in 0..200 {
            let mut recent = Recent::new(14);
            (0..100).for_each(|id| recent.insert(id, 5));
            assert!((0..100).all(|id| recent.contains(id, 5)));
        }
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
