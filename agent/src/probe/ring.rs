//! The ring buffers: one per CPU, read in turns and merged by time.

use std::collections::VecDeque;

use aya::maps::{ArrayOfMaps, Map, MapData, MapError, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use wirespan_common::record::Header;
use zerocopy::FromBytes as _;

use super::load::LoadError;

/// Records that were read and wait to be handed on take at most this much, bytes; then the rest stays in the rings. It is
/// what a burst may bring while the core works on the beginning of it.
const WAITING_BYTES: usize = 16 << 20;
/// Records handed on at once, before the rings are emptied again: at 3 us each this is less than 2 ms, while a ring of 512 KiB
/// takes more than 10 ms to fill at full speed.
const PORTION: usize = 512;
/// A record is stamped when its program begins and can be read when the program ends. Younger records than this wait for
/// the next turn, so that what a slower program still writes finds its place. Programs take about 0.3 us.
const SLACK_NS: u64 = 200_000;
/// A block of this size is kept for the next read; larger ones go back to the system, bytes.
const SPARE_BYTES: usize = 1 << 20;

/// All ring buffers, and records that were read but not handed on yet.
pub(super) struct Rings {
    rings: Vec<RingBuf<MapData>>,
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

impl Rings {
    /// Makes a ring buffer for each CPU and gives them to the programs.
    pub(super) fn make(outer: &mut Map, cpus: usize, bytes: u32) -> Result<Self, LoadError> {
        let mut rings = Vec::with_capacity(cpus);
        for cpu in 0..u32::try_from(cpus).unwrap_or(u32::MAX) {
            let ring =
                Self::ring(outer, cpu, bytes).map_err(|error| LoadError::Ring { cpu, bytes, reason: chain(&error) })?;
            rings.push(ring);
        }
        Ok(Self {
            rings,
            blocks: VecDeque::new(),
            first_block: 0,
            waiting: VecDeque::new(),
            held: 0,
            spare: Vec::new(),
            handed: 0,
            late: 0,
        })
    }

    fn ring(outer: &mut Map, cpu: u32, bytes: u32) -> Result<RingBuf<MapData>, MapError> {
        let template = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, bytes, 0);
        let ring = RingBuf::try_from(Map::RingBuf(MapData::create(template, "RING", None)?))?;
        ArrayOfMaps::<&mut MapData, RingBuf<MapData>>::try_from(outer)?.set(cpu, &ring, 0)?;
        Ok(ring)
    }

    /// Empties the rings and hands over, in order of time, the first records that no slower program can still precede.
    /// `now_ns` is the time on the records' clock. How many were handed over.
    pub(super) fn poll(&mut self, now_ns: u64, sink: &mut dyn FnMut(&[u8])) -> usize {
        let horizon = self.read(now_ns.saturating_sub(SLACK_NS));
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

    /// Takes everything out of the rings that there is room for. Up to which time nothing is missing, at most `horizon`.
    fn read(&mut self, mut horizon: u64) -> u64 {
        let number = self.first_block + self.blocks.len() as u64;
        let mut bytes = std::mem::take(&mut self.spare);
        let room = WAITING_BYTES.saturating_sub(self.held);
        let old = self.waiting.len();
        for ring in &mut self.rings {
            let mut last = None;
            loop {
                if bytes.len() >= room {
                    // More may wait in this ring: what is younger than what was taken of it can't be handed on yet.
                    horizon = horizon.min(last.unwrap_or(self.handed));
                    break;
                }
                let Some(item) = ring.next() else { break };
                let Ok((header, _)) = Header::read_from_prefix(&item) else { continue };
                let len = (header.len as usize).min(item.len());
                let at = bytes.len() as u32;
                self.waiting.push_back(Waiting { time_ns: header.time_ns, block: number, at, len: len as u32 });
                bytes.extend_from_slice(&item[..len]);
                last = Some(header.time_ns);
            }
        }
        let new = self.waiting.len() - old;
        if new == 0 {
            self.spare = bytes;
            return horizon;
        }
        self.held += bytes.len();
        self.blocks.push_back(Block { bytes, left: new });
        // Runs that are in order already, one for each ring, which the sort makes use of.
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

/// An error with all its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let this = error.to_string();
        if !text.contains(&this) {
            text = format!("{text}: {this}");
        }
        cause = error.source();
    }
    text
}
