//! Records of all CPUs in order of time.

use std::collections::VecDeque;

use wirespan_common::exchange::{SLOT_ALIGN_BYTES, SLOT_HEADER_BYTES};
use wirespan_common::record::Header;
use zerocopy::FromBytes as _;

use super::exchange::Exchange;
use super::ring::Rings;
use crate::system::Shared;

/// Records that were read and wait to be handed on take at most this much, bytes; then the rest stays with the kernel. It is
/// what a burst may bring while the core works on the beginning of it.
const WAITING_BYTES: usize = 16 << 20;
/// Records handed on at once, before what the programs wrote is taken over again: at 3 us each this is less than 2 ms, while
/// it takes them more than 10 ms to fill 512 KiB at full speed.
const PORTION: usize = 512;
/// A record is stamped when its program begins and can be read when the program ends. Younger records than this wait for
/// the next turn, so that what a slower program still writes finds its place. Programs take about 0.3 us.
const SLACK_NS: u64 = 200_000;
/// A block of this size is kept for the next read; larger ones go back to the system, bytes.
const SPARE_BYTES: usize = 1 << 20;

/// Where the kernel programs of this kernel put their records.
pub(super) enum Buffers {
    Exchange(Exchange),
    Rings(Rings),
}

/// Takes records from the buffers and hands them on in order.
pub(super) struct Merge {
    buffers: Buffers,
    /// What was read at one time, oldest first; `blocks[0]` has the number `first_block`.
    blocks: VecDeque<Block>,
    first_block: u64,
    /// In order of time.
    waiting: VecDeque<Waiting>,
    /// Bytes in all blocks.
    held: usize,
    spare: Vec<u8>,
    handed: u64,
    late: u64,
}

/// Records read at one time, one behind the other.
struct Block {
    bytes: Vec<u8>,
    /// Records in it that were not handed on yet.
    left: usize,
}

/// Where a record is.
#[derive(Clone, Copy)]
struct Waiting {
    time_ns: u64,
    block: u64,
    at: u32,
    len: u32,
}

/// What is read at one time of all CPUs.
pub(super) struct Batch<'a> {
    bytes: &'a mut Vec<u8>,
    waiting: &'a mut VecDeque<Waiting>,
    block: u64,
}

impl Batch<'_> {
    /// Takes a copy of one record, padding at its end left out. Its time; what is no record is left out.
    pub(super) fn add(&mut self, slot: &[u8]) -> Option<u64> {
        let (header, _) = Header::read_from_prefix(slot).ok()?;
        let len = (header.len as usize).min(slot.len());
        self.wait(header.time_ns, self.bytes.len(), len);
        self.bytes.extend_from_slice(&slot[..len]);
        Some(header.time_ns)
    }

    /// Takes a copy of shared memory, to be looked at by [`Self::add_slots`]. Where it is.
    pub(super) fn copy(&mut self, memory: &Shared, at: usize, len: usize) -> usize {
        let here = self.bytes.len();
        memory.copy(at, len, self.bytes);
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
            self.wait(header.time_ns, slot + SLOT_HEADER_BYTES as usize, len);
            found += 1;
            slot += size;
        }
        (found..records).for_each(|_| self.wait(0, at, 0));
    }

    fn wait(&mut self, time_ns: u64, at: usize, len: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "a block is some mebibytes at most")]
        self.waiting.push_back(Waiting { time_ns, block: self.block, at: at as u32, len: len as u32 });
    }
}

/// Size of a slot, and what is in it. `None` for what can't be one.
fn split_slot(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (size, _) = u32::read_from_prefix(bytes).ok()?;
    let is_slot = size > SLOT_HEADER_BYTES && size.is_multiple_of(SLOT_ALIGN_BYTES);
    let record = bytes.get(SLOT_HEADER_BYTES as usize..size as usize)?;
    is_slot.then_some((size as usize, record))
}

impl Merge {
    /// Nothing was read yet.
    pub(super) fn new(buffers: Buffers) -> Self {
        Self {
            buffers,
            blocks: VecDeque::new(),
            first_block: 0,
            waiting: VecDeque::new(),
            held: 0,
            spare: Vec::new(),
            handed: 0,
            late: 0,
        }
    }

    /// Takes what the programs wrote and hands over, in order of time, the first records that no slower program can still precede.
    /// `now_ns` is the time on the records' clock. How many were handed over.
    pub(super) fn poll(&mut self, now_ns: u64, sink: &mut dyn FnMut(&[u8])) -> usize {
        let horizon = self.read(now_ns).saturating_sub(SLACK_NS);
        let mut handed = 0;
        while handed < PORTION
            && let Some(record) = self.waiting.front().copied()
            && record.time_ns <= horizon
        {
            self.waiting.pop_front();
            self.hand_over(record, sink);
            handed += 1;
        }
        handed
    }

    /// Hands over what waits, however young.
    pub(super) fn flush(&mut self, sink: &mut dyn FnMut(&[u8])) {
        while self.poll(u64::MAX, sink) > 0 {}
    }

    /// Records that were handed over after younger ones.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Takes everything that there is room for. Up to which time nothing is missing, but for the time a program takes.
    fn read(&mut self, now_ns: u64) -> u64 {
        let mut bytes = std::mem::take(&mut self.spare);
        let room = WAITING_BYTES.saturating_sub(self.held);
        let old = self.waiting.len();
        let block = self.first_block + self.blocks.len() as u64;
        let mut batch = Batch { bytes: &mut bytes, waiting: &mut self.waiting, block };
        let mut horizon = now_ns;
        for cpu in 0..self.buffers.cpus() {
            let room = room.saturating_sub(batch.bytes.len());
            if let Some(left) = self.buffers.read(cpu, now_ns, room, &mut batch) {
                horizon = horizon.min(left);
            }
        }
        let new = self.waiting.len() - old;
        if new == 0 {
            self.spare = bytes;
            return horizon;
        }
        self.held += bytes.len();
        self.blocks.push_back(Block { bytes, left: new });
        // Runs that are nearly in order already, one for each CPU, which the sort makes use of.
        self.waiting.make_contiguous().sort_by_key(|record| record.time_ns);
        horizon
    }

    fn hand_over(&mut self, record: Waiting, sink: &mut dyn FnMut(&[u8])) {
        if record.time_ns < self.handed {
            self.late += 1;
        } else {
            self.handed = record.time_ns;
        }
        let Some(block) = usize::try_from(record.block - self.first_block).ok().and_then(|n| self.blocks.get_mut(n))
        else {
            return;
        };
        sink(&block.bytes[record.at as usize..][..record.len as usize]);
        block.left -= 1;
        while self.blocks.front().is_some_and(|block| block.left == 0) {
            let Some(mut empty) = self.blocks.pop_front() else { break };
            self.first_block += 1;
            self.held -= empty.bytes.len();
            empty.bytes.clear();
            if empty.bytes.capacity() <= SPARE_BYTES {
                self.spare = empty.bytes;
            }
        }
    }
}

impl Buffers {
    fn cpus(&self) -> usize {
        match self {
            Self::Exchange(exchange) => exchange.cpus(),
            Self::Rings(rings) => rings.cpus(),
        }
    }

    fn read(&mut self, cpu: usize, now_ns: u64, room: usize, batch: &mut Batch<'_>) -> Option<u64> {
        match self {
            Self::Exchange(exchange) => exchange.read(cpu, now_ns, room, batch),
            Self::Rings(rings) => rings.read(cpu, room, batch),
        }
    }
}
