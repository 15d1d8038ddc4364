//! What the kernel programs wrote, taken over from wherever they wrote it.

use wirespan_common::exchange::{SLOT_ALIGN_BYTES, SLOT_HEADER_BYTES};
use wirespan_common::record::Header;
use zerocopy::FromBytes as _;

use super::exchange::Exchange;
use super::ring::Rings;
use crate::system::Shared;

/// A record in a ring buffer is stamped when its program begins and can be read when the program ends. Younger records than
/// this wait for the next turn, so that what a slower program still writes finds its place. Programs take about 0.3 us.
const RING_SLACK_NS: u64 = 200_000;
/// In the exchange a record is stamped when its room is reserved, so that what is not taken over in a turn is younger than the
/// turn: but for the clocks of two CPUs, which may differ by so much.
const EXCHANGE_SLACK_NS: u64 = 1_000;

/// Where the programs of this kernel put their records.
pub(super) enum Buffers {
    Exchange(Exchange),
    Rings(Rings),
}

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

impl Buffers {
    /// Takes over everything that there is room for, in bytes. `now_ns` is the time on the records' clock. Gives the
    /// time up to which nothing is missing.
    pub(super) fn read(&mut self, now_ns: u64, room: usize, block: &mut Block) -> u64 {
        let mut horizon = now_ns;
        for cpu in 0..self.cpus() {
            let room = room.saturating_sub(block.bytes.len());
            let left = match self {
                Self::Exchange(exchange) => exchange.read(cpu, now_ns, room, block),
                Self::Rings(rings) => rings.read(cpu, room, block),
            };
            horizon = horizon.min(left.unwrap_or(horizon));
        }
        let slack = match self {
            Self::Exchange(_) => EXCHANGE_SLACK_NS,
            Self::Rings(_) => RING_SLACK_NS,
        };
        horizon.saturating_sub(slack)
    }

    fn cpus(&self) -> usize {
        match self {
            Self::Exchange(exchange) => exchange.cpus(),
            Self::Rings(rings) => rings.cpus(),
        }
    }
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
