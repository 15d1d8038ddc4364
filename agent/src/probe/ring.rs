//! The kernel's own ring buffers, one per CPU: for kernels without the exchange.

use aya::maps::{ArrayOfMaps, Map, MapData, MapError, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;

use super::block::Block;
use super::error::{LoadError, chain};

/// All ring buffers.
pub(super) struct Rings {
    rings: Vec<RingBuf<MapData>>,
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
        Ok(Self { rings })
    }

    fn ring(outer: &mut Map, cpu: u32, bytes: u32) -> Result<RingBuf<MapData>, MapError> {
        let template = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, bytes, 0);
        let ring = RingBuf::try_from(Map::RingBuf(MapData::create(template, "RING", None)?))?;
        ArrayOfMaps::<&mut MapData, RingBuf<MapData>>::try_from(outer)?.set(cpu, &ring, 0)?;
        Ok(ring)
    }

    /// How many CPUs there are.
    pub(super) fn cpus(&self) -> usize {
        self.rings.len()
    }

    /// Takes what a CPU's programs wrote, up to about `room` bytes. If records are left, gives the time of the last that
    /// was taken: the rest is not older, but for the time a program takes.
    pub(super) fn read(&mut self, cpu: usize, room: usize, block: &mut Block) -> Option<u64> {
        let mut taken = 0;
        let mut last = 0;
        loop {
            if taken >= room {
                return Some(last);
            }
            let item = self.rings[cpu].next()?;
            taken += item.len();
            last = block.add(&item).unwrap_or(last);
        }
    }
}
