//! The exchange: memory shared with the kernel programs, by the protocol of [`wirespan_common::exchange`].

use std::sync::atomic::Ordering;

use aya::maps::MapData;
use wirespan_common::exchange::{self, HALVES_AT, SLACK_BYTES, size, stride};

use super::block::Block;
use super::error::LoadError;
use crate::system::Shared;

/// All CPUs' halves.
pub(super) struct Exchange {
    memory: Shared,
    /// Bytes of one CPU's part.
    part: usize,
    stride: usize,
    /// A slot begins before this place in its half.
    limit: u32,
    cpus: Vec<Cpu>,
}

/// What is known of one CPU's part.
#[derive(Clone, Copy, Default)]
struct Cpu {
    /// A half that was swapped away while a program still wrote to it.
    unfinished: Option<Unfinished>,
    /// What was not read yet is not older.
    since_ns: u64,
}

#[derive(Clone, Copy)]
struct Unfinished {
    half: usize,
    /// Bytes.
    reserved: u32,
    swapped_ns: u64,
}

/// How large the halves are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// One of [`size`].
    pub(super) half: usize,
    /// How much of it is used, bytes.
    pub(super) limit: u32,
}

/// The maps that the object offers, by the size of a half.
pub(super) const MAPS: [(usize, &str); 3] =
    [(size::SMALL, "EXCHANGE_SMALL"), (size::MEDIUM, "EXCHANGE_MEDIUM"), (size::LARGE, "EXCHANGE_LARGE")];

impl Sizes {
    /// The smallest halves in which records of so many bytes can wait.
    pub(super) fn of(limit: u32) -> Self {
        let half = MAPS.map(|(half, _)| half).into_iter().find(|half| *half >= limit as usize).unwrap_or(size::LARGE);
        #[expect(clippy::cast_possible_truncation, reason = "a half is a mebibyte at most")]
        Self { half, limit: limit.min(half as u32) }
    }

    /// Bytes of one CPU's part.
    fn part(self) -> usize {
        HALVES_AT + 2 * stride(self.half)
    }

    /// The map with such halves.
    pub(super) fn map(self) -> &'static str {
        MAPS.iter().find(|(half, _)| *half == self.half).map_or("EXCHANGE_LARGE", |(_, name)| name)
    }
}

impl Exchange {
    /// Takes the memory of the map over.
    pub(super) fn new(map: &MapData, cpus: usize, sizes: Sizes) -> Result<Self, LoadError> {
        let bytes = cpus * sizes.part();
        let memory = Shared::map(map.fd(), bytes).map_err(|source| LoadError::Exchange { bytes, source })?;
        Ok(Self::over(memory, cpus, sizes))
    }

    fn over(memory: Shared, cpus: usize, sizes: Sizes) -> Self {
        let cpus = vec![Cpu::default(); cpus];
        Self { memory, part: sizes.part(), stride: stride(sizes.half), limit: sizes.limit, cpus }
    }

    /// How many CPUs there are.
    pub(super) fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// Takes what a CPU's programs wrote, unless it may be more than `room` bytes; `now_ns` is the time. If records may
    /// be left, gives the time that they are not older than.
    pub(super) fn read(&mut self, cpu: usize, now_ns: u64, room: usize, block: &mut Block) -> Option<u64> {
        let part = cpu * self.part;
        if let Some(unfinished) = self.cpus[cpu].unfinished
            && !self.take(cpu, unfinished, block)
        {
            return Some(self.cpus[cpu].since_ns);
        }
        let word = self.memory.word(part);
        let seen = word.load(Ordering::Relaxed);
        if exchange::bytes(seen) == 0 {
            self.cpus[cpu].since_ns = now_ns;
            return None;
        }
        if room < self.stride {
            return Some(self.cpus[cpu].since_ns);
        }
        // Only the agent swaps, so the half is still the one that was seen.
        let taken = word.swap(exchange::swapped(seen), Ordering::AcqRel);
        let swapped = Unfinished { half: exchange::half(taken), reserved: exchange::bytes(taken), swapped_ns: now_ns };
        self.cpus[cpu].unfinished = Some(swapped);
        (!self.take(cpu, swapped, block)).then(|| self.cpus[cpu].since_ns)
    }

    /// Takes a half that was swapped away, if all of it is committed.
    fn take(&mut self, cpu: usize, unfinished: Unfinished, block: &mut Block) -> bool {
        let Unfinished { half, reserved, swapped_ns } = unfinished;
        let part = cpu * self.part;
        let word = self.memory.word(part + size_of::<u64>() * (1 + half));
        let committed = word.load(Ordering::Acquire);
        if exchange::bytes(committed) != reserved {
            return false;
        }
        // What begins at the limit was refused. The largest record reaches into the slack.
        let len = (reserved as usize).min(self.limit as usize + SLACK_BYTES);
        let at = block.copy(&self.memory, part + HALVES_AT + half * self.stride, len);
        // From here on the half can be swapped in again.
        word.store(0, Ordering::Release);
        // What was not read yet is in the other half.
        self.cpus[cpu] = Cpu { unfinished: None, since_ns: swapped_ns };
        block.add_slots(at, reserved.min(self.limit), exchange::records(committed));
        true
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
