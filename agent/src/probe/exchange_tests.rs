use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use wirespan_common::exchange::{ONE_RECORD, SLOT_HEADER_BYTES, slot_bytes};
use wirespan_common::record::{Header, kind};
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::probe::block::Block;
use crate::probe::buffers::Buffers;
use crate::probe::drain::Drain;
use crate::probe::merge::Merge;

const CPUS: usize = 2;
const LIMIT: u32 = 4096;
/// Longer than the clocks of two CPUs may differ.
const LATER_NS: u64 = 1_000_000_000;
/// Far longer than anything may wait to be handed on.
const PATIENCE: Duration = Duration::from_secs(20);

/// Stands for the kernel: memory that the agent maps, and the programs that write to it.
struct Kernel {
    file: File,
    sizes: Sizes,
}

/// A slot that was reserved.
struct Slot {
    cpu: usize,
    half: usize,
    at: u32,
    bytes: u32,
}

impl Kernel {
    fn new() -> Self {
        let sizes = Sizes::of(LIMIT);
        let file = File::from(rustix::fs::memfd_create("exchange", rustix::fs::MemfdFlags::empty()).expect("memory"));
        file.set_len((CPUS * sizes.part()) as u64).expect("a length");
        Self { file, sizes }
    }

    fn agent(&self) -> Agent {
        let memory = Shared::map(&self.file, CPUS * self.sizes.part()).expect("a mapping");
        let buffers = Buffers::Exchange(Exchange::over(memory, CPUS, self.sizes));
        Agent { buffers, merge: Merge::default() }
    }

    fn add(&self, at: usize, by: u64) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, at as u64).expect("a word");
        let before = u64::from_ne_bytes(word);
        self.file.write_all_at(&(before + by).to_ne_bytes(), at as u64).expect("written");
        before
    }

    fn reserve(&self, cpu: usize, record_bytes: u32) -> Option<Slot> {
        let bytes = slot_bytes(record_bytes);
        let part = cpu * self.sizes.part();
        let before = self.add(part, bytes.into());
        let slot = Slot { cpu, half: exchange::half(before), at: exchange::bytes(before), bytes };
        if slot.at >= LIMIT {
            self.add(part + 8 + 8 * slot.half, bytes.into());
            return None;
        }
        Some(slot)
    }

    fn commit(&self, slot: &Slot, time_ns: u64, len: u32) {
        let part = slot.cpu * self.sizes.part();
        let at = (part + HALVES_AT + slot.half * stride(self.sizes.half)) as u64 + u64::from(slot.at);
        let header = Header { time_ns, len, kind: kind::FORK, cpu: slot.cpu as u16 };
        self.file.write_all_at(&u64::from(slot.bytes).to_ne_bytes(), at).expect("written");
        self.file.write_all_at(header.as_bytes(), at + u64::from(SLOT_HEADER_BYTES)).expect("written");
        self.add(part + 8 + 8 * slot.half, ONE_RECORD | u64::from(slot.bytes));
    }

    fn emit(&self, cpu: usize, time_ns: u64, len: u32) -> bool {
        self.reserve(cpu, len).map(|slot| self.commit(&slot, time_ns, len)).is_some()
    }
}

/// Stands for the agent: what it reads with.
struct Agent {
    buffers: Buffers,
    merge: Merge,
}

/// Time and length of each record that is ready.
fn poll(agent: &mut Agent, now_ns: u64) -> Vec<(u64, usize)> {
    let mut got = Vec::new();
    let mut block = Block::default();
    let horizon_ns = agent.buffers.read(now_ns, usize::MAX, &mut block);
    agent.merge.add([block], horizon_ns);
    agent.merge.hand_over(&mut Vec::new(), &mut |record| {
        let time = Header::read_from_prefix(record).map_or(0, |(header, _)| header.time_ns);
        got.push((time, record.len()));
    });
    got
}

#[test]
fn records_of_all_cpus_come_in_order_of_time() {
    let kernel = Kernel::new();
    let mut agent = kernel.agent();
    assert!(poll(&mut agent, LATER_NS).is_empty());
    for (cpu, time) in [(0, 10), (1, 11), (1, 13), (0, 12), (0, 14)] {
        assert!(kernel.emit(cpu, time, 100 + time as u32));
    }
    assert_eq!(poll(&mut agent, LATER_NS), [(10, 110), (11, 111), (12, 112), (13, 113), (14, 114)]);
    assert!(poll(&mut agent, LATER_NS).is_empty());
    // The other halves, and then these again.
    for round in 1..5 {
        assert!(kernel.emit(1, round * LATER_NS, 16));
        assert_eq!(poll(&mut agent, (round + 1) * LATER_NS), [(round * LATER_NS, 16)]);
    }
}

#[test]
fn a_half_is_read_when_the_last_program_has_finished_with_it() {
    let kernel = Kernel::new();
    let mut agent = kernel.agent();
    assert!(poll(&mut agent, LATER_NS).is_empty());
    let slow = kernel.reserve(0, 500).expect("room");
    assert!(kernel.emit(0, LATER_NS + 2, 40));
    assert!(kernel.emit(1, LATER_NS + 3, 50));
    // Whatever the slow program writes may be older than what the other CPU has.
    assert!(poll(&mut agent, 2 * LATER_NS).is_empty());
    // Meanwhile there is the other half.
    assert!(kernel.emit(0, 2 * LATER_NS + 4, 60));
    assert!(poll(&mut agent, 3 * LATER_NS).is_empty());
    kernel.commit(&slow, LATER_NS + 1, 500);
    // What came meanwhile is older than what another CPU has now.
    assert!(kernel.emit(1, 3 * LATER_NS + 5, 70));
    let in_order = [(1, 1, 500), (1, 2, 40), (1, 3, 50), (2, 4, 60), (3, 5, 70)];
    assert_eq!(poll(&mut agent, 4 * LATER_NS), in_order.map(|(second, ns, len)| (second * LATER_NS + ns, len)));
    assert_eq!(agent.merge.late(), 0);
}

#[test]
fn what_was_refused_leaves_no_trace() {
    let kernel = Kernel::new();
    let mut agent = kernel.agent();
    let fit = (0..100).filter(|time| kernel.emit(0, *time, 1000)).count();
    assert_eq!(fit, 5, "the fifth begins before the limit and ends behind it");
    assert_eq!(poll(&mut agent, LATER_NS).len(), fit);
    assert!(kernel.emit(0, 101, 1000));
    assert_eq!(poll(&mut agent, LATER_NS), [(101, 1000)]);
}

#[test]
fn records_that_cannot_be_found_are_handed_over_as_nothing() {
    let kernel = Kernel::new();
    let mut agent = kernel.agent();
    assert!(kernel.emit(0, 1, 100));
    let slot = kernel.reserve(0, 100).expect("room");
    kernel.commit(&slot, 2, 100);
    // Its size is damaged.
    kernel.file.write_all_at(&[1], (HALVES_AT + slot.at as usize) as u64).expect("written");
    assert!(kernel.emit(0, 3, 100));
    assert_eq!(poll(&mut agent, LATER_NS), [(0, 0), (0, 0), (1, 100)]);
}

#[test]
fn sizes_fit_what_may_wait() {
    let sizes = |limit| (Sizes::of(limit).map(), Sizes::of(limit).limit);
    assert_eq!(sizes(4096), ("EXCHANGE_SMALL", 4096));
    assert_eq!(sizes(256 << 10), ("EXCHANGE_MEDIUM", 256 << 10));
    assert_eq!(sizes(1 << 20), ("EXCHANGE_LARGE", 1 << 20));
    assert_eq!(sizes(u32::MAX), ("EXCHANGE_LARGE", 1 << 20));
}

#[test]
fn who_waits_is_woken_by_what_the_thread_took_over() {
    let kernel = Kernel::new();
    let mut drain = Drain::start(kernel.agent().buffers, None).expect("a thread");
    for round in 1..=3 {
        let begun = Instant::now();
        // One for each CPU: these words cannot be added to while the agent swaps them, as programs can.
        assert!((0..CPUS).all(|cpu| kernel.emit(cpu, round, 64)));
        let mut seen = 0;
        while seen < CPUS {
            drain.wait(PATIENCE);
            drain.poll(&mut |_| seen += 1);
        }
        assert!(begun.elapsed() < PATIENCE, "it was found only when nobody waited any longer");
    }
    drain.flush(&mut |_| panic!("nothing is left"));
    assert_eq!(drain.late(), 0);
}
