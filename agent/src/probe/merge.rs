//! Records of all CPUs in order of time.

use std::collections::VecDeque;

use super::block::{Block, Place};

/// Records handed on at once, before others have their turn: at 3 us each this is less than 2 ms.
const PORTION: usize = 512;

/// Puts blocks of records in order.
#[derive(Debug, Default)]
pub(super) struct Merge {
    /// Oldest first; `blocks[0]` has the number `first_block`.
    blocks: VecDeque<Held>,
    first_block: u64,
    /// In order of time.
    waiting: VecDeque<Waiting>,
    /// Up to this time nothing is missing.
    horizon_ns: u64,
    handed_ns: u64,
    late: u64,
}

#[derive(Debug)]
struct Held {
    block: Block,
    /// Records in it that were not handed on yet.
    left: usize,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    block: u64,
    place: Place,
}

impl Merge {
    /// Takes what was taken over. Up to `horizon_ns` nothing is missing then.
    pub(super) fn add(&mut self, blocks: impl IntoIterator<Item = Block>, horizon_ns: u64) {
        let old = self.waiting.len();
        for block in blocks.into_iter().filter(|block| !block.is_empty()) {
            let number = self.first_block + self.blocks.len() as u64;
            self.waiting.extend(block.places().iter().map(|&place| Waiting { block: number, place }));
            self.blocks.push_back(Held { left: block.places().len(), block });
        }
        self.horizon_ns = horizon_ns;
        if self.waiting.len() > old {
            // Runs that are nearly in order already, one for each CPU and block, which the sort makes use of.
            self.waiting.make_contiguous().sort_by_key(|record| record.place.time_ns);
        }
    }

    /// Hands over, in order of time, the first records that no slower program can still precede. The time that nothing
    /// handed over later is older than, and whether these were all.
    pub(super) fn hand_over(&mut self, freed: &mut Vec<Block>, sink: &mut dyn FnMut(&[u8])) -> (u64, bool) {
        for _ in 0..PORTION {
            match self.waiting.front().copied() {
                Some(record) if record.place.time_ns <= self.horizon_ns => {
                    self.waiting.pop_front();
                    self.hand_over_one(record, freed, sink);
                }
                _ => return (self.horizon_ns, true),
            }
        }
        (self.handed_ns, false)
    }

    /// Records that were handed over after younger ones.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    fn hand_over_one(&mut self, record: Waiting, freed: &mut Vec<Block>, sink: &mut dyn FnMut(&[u8])) {
        let Waiting { block, place } = record;
        if place.time_ns < self.handed_ns {
            self.late += 1;
        } else {
            self.handed_ns = place.time_ns;
        }
        let number = usize::try_from(block - self.first_block).unwrap_or(usize::MAX);
        let Some(held) = self.blocks.get_mut(number) else { return };
        sink(held.block.record(place));
        held.left -= 1;
        while self.blocks.front().is_some_and(|held| held.left == 0) {
            freed.extend(self.blocks.pop_front().map(|held| held.block));
            self.first_block += 1;
        }
    }
}
