//! The ring buffers: one per CPU, read in turns and merged by time.

use aya::maps::{ArrayOfMaps, Map, MapData, MapError, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use wirespan_common::record::Header;
use zerocopy::FromBytes as _;

use super::load::LoadError;

/// What is read of one ring buffer before the others get their turn, bytes. Bounds the memory of a burst.
const TURN_BYTES: usize = 1 << 20;
/// A record is stamped when its program begins and can be read when the program ends. Younger records than this wait for
/// the next turn, so that what a slower program still writes finds its place. Programs take about 0.3 us.
const SLACK_NS: u64 = 200_000;

/// All ring buffers, and records that were read but are too young to be handed on.
pub(super) struct Rings {
    rings: Vec<RingBuf<MapData>>,
    /// Bytes of the records that wait.
    bytes: Vec<u8>,
    /// What `bytes` was before the last turn, kept for its memory.
    spare: Vec<u8>,
    waiting: Vec<Waiting>,
    handed: u64,
    late: u64,
}

/// A record in `Rings::bytes`.
#[derive(Clone, Copy)]
struct Waiting {
    time_ns: u64,
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
        Ok(Self { rings, bytes: Vec::new(), spare: Vec::new(), waiting: Vec::new(), handed: 0, late: 0 })
    }

    fn ring(outer: &mut Map, cpu: u32, bytes: u32) -> Result<RingBuf<MapData>, MapError> {
        let template = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, bytes, 0);
        let ring = RingBuf::try_from(Map::RingBuf(MapData::create(template, "RING", None)?))?;
        ArrayOfMaps::<&mut MapData, RingBuf<MapData>>::try_from(outer)?.set(cpu, &ring, 0)?;
        Ok(ring)
    }

    /// Hands over, in order of time, all records that no slower program can still precede. `now_ns` is the time on the
    /// records' clock. How many were handed over.
    pub(super) fn poll(&mut self, now_ns: u64, sink: &mut dyn FnMut(&[u8])) -> usize {
        let mut horizon = now_ns.saturating_sub(SLACK_NS);
        for ring in &mut self.rings {
            let mut read = 0;
            let mut last = 0;
            while read < TURN_BYTES {
                let Some(item) = ring.next() else { break };
                let Ok((header, _)) = Header::read_from_prefix(&item) else { continue };
                let len = (header.len as usize).min(item.len());
                self.waiting.push(Waiting { time_ns: header.time_ns, at: self.bytes.len() as u32, len: len as u32 });
                self.bytes.extend_from_slice(&item[..len]);
                read += item.len();
                last = header.time_ns;
            }
            if read >= TURN_BYTES {
                // More waits behind these: the other rings must not overtake it.
                horizon = horizon.min(last);
            }
        }
        // Each ring is nearly in order already, which the sort makes use of.
        self.waiting.sort_by_key(|record| record.time_ns);
        let ready = self.waiting.partition_point(|record| record.time_ns <= horizon);
        for record in &self.waiting[..ready] {
            if record.time_ns < self.handed {
                self.late += 1;
            } else {
                self.handed = record.time_ns;
            }
            sink(&self.bytes[record.at as usize..][..record.len as usize]);
        }
        self.keep_from(ready);
        ready
    }

    /// Hands over what waits, however young.
    pub(super) fn flush(&mut self, sink: &mut dyn FnMut(&[u8])) {
        while self.poll(u64::MAX, sink) > 0 {}
    }

    /// Records that were handed over after younger ones.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    fn keep_from(&mut self, ready: usize) {
        if ready == self.waiting.len() {
            self.waiting.clear();
            self.bytes.clear();
            // A burst must not keep its memory for ever.
            self.bytes.shrink_to(TURN_BYTES);
            self.waiting.shrink_to(TURN_BYTES / 256);
            return;
        }
        self.spare.clear();
        self.waiting.drain(..ready);
        for record in &mut self.waiting {
            let at = self.spare.len() as u32;
            self.spare.extend_from_slice(&self.bytes[record.at as usize..][..record.len as usize]);
            record.at = at;
        }
        std::mem::swap(&mut self.bytes, &mut self.spare);
        self.spare.shrink_to(TURN_BYTES);
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
