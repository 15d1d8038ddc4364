//! What the kernel programs wrote, taken over.

use wirespan_common::exchange::{SLOT_ALIGN_BYTES, SLOT_HEADER_BYTES};
use wirespan_common::record::Header;
use zerocopy::FromBytes as _;

use crate::system::Shared;

/// Records taken over at one time, of all CPUs, in no particular order.
#[derive(Debug, Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

/// Where a record is in its block, and when it happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) time_ns: u64,
    at: u32,
    len: u32,
}

impl Block {
    /// Whether nothing was taken over.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How much memory the records take, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How much memory it keeps when it is empty, bytes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<Place>()
    }

    /// Where the records are.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// A record.
    pub(super) fn record(&self, place: Place) -> &[u8] {
        let begin = place.at as usize;
        self.bytes.get(begin..begin + place.len as usize).unwrap_or_default()
    }

    /// Forgets the records, but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    /// Takes a copy of one record, padding at its end left out. Its time; what is no record is left out.
    pub(super) fn add(&mut self, slot: &[u8]) -> Option<u64> {
        let (header, _) = Header::read_from_prefix(slot).ok()?;
        let len = (header.len as usize).min(slot.len());
        self.place(header.time_ns, self.bytes.len(), len);
        self.bytes.extend_from_slice(&slot[..len]);
        Some(header.time_ns)
    }

    /// Takes a copy of shared memory, to be looked at by [`Self::add_slots`]. Where it is.
    pub(super) fn copy(&mut self, memory: &Shared, at: usize, len: usize) -> usize {
        let here = self.bytes.len();
        memory.copy(at, len, &mut self.bytes);
        here
    }

    /// Takes the records of the slots from place `at` on which begin before `end`, `records` of them. Those that are not
    /// found are taken as records without anything, which whoever gets them counts.
    pub(super) fn add_slots(&mut self, at: usize, end: u32, records: u32) {
        let (mut found, mut slot) = (0, at);
        while found < records && slot < at + end as usize {
            let Some((size, record)) = self.bytes.get(slot..).and_then(split_slot) else { break };
            let Ok((header, _)) = Header::read_from_prefix(record) else { break };
            let len = (header.len as usize).min(record.len());
            self.place(header.time_ns, slot + SLOT_HEADER_BYTES as usize, len);
            found += 1;
            slot += size;
        }
        (found..records).for_each(|_| self.place(0, at, 0));
    }

    fn place(&mut self, time_ns: u64, at: usize, len: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a block is some mebibytes at most")]
        self.places.push(Place { time_ns, at: at as u32, len: len as u32 });
    }
}

/// Size of a slot, and what is in it. `None` for what can't be one.
fn split_slot(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (size, _) = u32::read_from_prefix(bytes).ok()?;
    let is_slot = size > SLOT_HEADER_BYTES && size.is_multiple_of(SLOT_ALIGN_BYTES);
    let record = bytes.get(SLOT_HEADER_BYTES as usize..size as usize)?;
    is_slot.then_some((size as usize, record))
}
