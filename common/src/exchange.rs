//! The memory through which records go from the kernel programs to the agent: for each CPU a pair of halves, of which the
//! programs fill one while the agent empties the other.
//!
//! Compared with the kernel's own ring buffer nobody takes a lock, and memory is used from its beginning again after each
//! swap, so that what is written lies in the CPU's cache however large the halves are.
//!
//! The protocol. A program *reserves* by adding its slot's size to `reserved`; the sum before the addition tells where its
//! slot begins and in which half. When the slot is written, it *commits* by adding the size, and one record, to the
//! half's `committed`. The agent *swaps* by replacing `reserved` with the other half and no bytes, which gives it what
//! was reserved of this one; when as much is committed, the half is the agent's alone until it swaps back. Both additions
//! are atomic and return the old value, which takes Linux 5.12.

/// One CPU's part of the map.
#[repr(C)]
pub struct Exchange<const STRIDE: usize> {
    /// Number of the swap in the upper half of the word, whose lowest bit is the half in use; bytes reserved of that half
    /// in the lower one. Bytes of refused slots are among them.
    pub reserved: u64,
    /// For each half: records in the upper half of the word, bytes committed in the lower one.
    pub committed: [u64; 2],
    /// Fills a line of the cache.
    pub pad: [u64; 5],
    /// Slots, one behind the other.
    pub halves: [[u8; STRIDE]; 2],
}

/// Bytes before the first half.
pub const HALVES_AT: usize = 64;
/// Stands before each record, and tells the size of the slot, these bytes included: a `u32`, then zeros.
pub const SLOT_HEADER_BYTES: u32 = 8;
/// Slots begin at multiples of this.
pub const SLOT_ALIGN_BYTES: u32 = 8;
/// A slot begins below the limit of its half and may reach so far beyond: room for the largest record, and for what the
/// verifier must believe possible.
pub const SLACK_BYTES: usize = 17 << 10;

/// One record, as `committed` counts it.
pub const ONE_RECORD: u64 = 1 << 32;

/// Sizes of a half, bytes without slack. The kernel's verifier must know the size, so each is a map of its own, and the
/// agent chooses one before it loads the programs.
pub mod size {
    /// For up to 8 CPUs: 16 MiB then.
    pub const LARGE: usize = 1 << 20;
    /// For up to 32 CPUs.
    pub const MEDIUM: usize = 256 << 10;
    /// For more.
    pub const SMALL: usize = 128 << 10;
}

/// How far the halves of a CPU's part are apart.
#[must_use]
pub const fn stride(size: usize) -> usize {
    size + SLACK_BYTES
}

/// What the lower half of a word says, bytes.
#[must_use]
pub const fn bytes(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

/// What the upper half of `committed` says.
#[must_use]
pub const fn records(word: u64) -> u32 {
    (word >> 32) as u32
}

/// A half with a limit of so many bytes is reported by a [`Call::Filling`] once this much of it is reserved: the rest takes what comes
/// until the agent has woken up.
#[must_use]
pub const fn filling(limit: u32) -> u32 {
    limit / 8
}

/// Why the agent is woken before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Call {
    /// A half fills so fast that it would be full.
    Filling = 1,
    /// Something was recorded that may be gone before the agent looks at it.
    Fleeting = 2,
}

/// After a [`Call::Fleeting`] no other one comes for so long, nanoseconds: on a machine that starts programs all the time each would
/// be a wake-up. The agent looks as often by itself meanwhile.
pub const HURRY_NS: u64 = 5_000_000;

/// Which half `reserved` means: 0 or 1.
#[must_use]
pub const fn half(reserved: u64) -> usize {
    (reserved >> 32) as usize & 1
}

/// `reserved` after a swap: the other half, empty.
#[must_use]
pub const fn swapped(reserved: u64) -> u64 {
    ((reserved >> 32).wrapping_add(1)) << 32
}

/// Size of the slot of a record.
#[must_use]
pub const fn slot_bytes(record_bytes: u32) -> u32 {
    // Never so large that it could overflow; the kernel's verifier takes no code for the case.
    record_bytes.wrapping_add(SLOT_HEADER_BYTES + SLOT_ALIGN_BYTES - 1) & !(SLOT_ALIGN_BYTES - 1)
}

const _: () = {
    use crate::record::{MAX_HEAD_BYTES, Segment, TAIL_BYTES};
    assert!(core::mem::offset_of!(Exchange<8>, halves) == HALVES_AT);
    let largest = size_of::<Segment>() + (MAX_HEAD_BYTES + TAIL_BYTES) as usize;
    assert!(slot_bytes(largest as u32) as usize <= SLACK_BYTES);
    assert!(stride(size::SMALL).is_multiple_of(64) && stride(size::LARGE).is_multiple_of(64));
};
