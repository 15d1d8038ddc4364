//! The maps that the agent shares, but for the way that records go ([`crate::emit`]) and the states of sockets
//! ([`crate::state`]).

#[cfg(target_arch = "bpf")]
use core::arch::asm;

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use wirespan_common::{count::Counter, link::Linked};

/// Orders not yet obeyed. An order is for one socket and is read once or twice: the least recently used can go.
const MAX_ORDERS: usize = 16_384;
/// Processes that the user does not want to see.
const MAX_DESELECTED: usize = 16_384;
/// Processes of which more is told than their connections.
const MAX_LINKED: usize = 4096;

/// [`Counter`] values.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { Counter::SLOTS as usize }> = PerCpuArray::new();

/// What the agent wants of a socket ([`wirespan_common::mode::Order`]), by cookie.
#[btf_map]
pub static ORDERS: LruHashMap<u64, u32, MAX_ORDERS> = LruHashMap::new();

/// Counts the orders that were ever given, so that a socket knows when to look for its own.
#[btf_map]
pub static NEWEST_ORDER: Array<u32, 1> = Array::new();

/// Processes not to be traced: new sockets of theirs start as `Unselected`.
#[btf_map]
pub static DESELECTED: HashMap<u32, u32, MAX_DESELECTED> = HashMap::new();

/// Counts how often what was not selected may have become so, so that a socket knows when to look again.
#[btf_map]
pub static NEWEST_SELECTION: Array<u32, 1> = Array::new();

/// Processes of which more is told, by process id.
#[btf_map]
pub static LINKED: HashMap<u32, Linked, MAX_LINKED> = HashMap::new();

/// Counts the changes of [`LINKED`], so that a socket knows when to look for its process.
#[btf_map]
pub static NEWEST_LINK: Array<u32, 1> = Array::new();

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // The compiler offers no atomic addition for this target, and one is needed: a packet that arrives may interrupt
        // a program on the same CPU.
        // SAFETY: the slot is this CPU's and lives as long as the map.
        #[cfg(target_arch = "bpf")]
        unsafe {
            asm!("lock *(u64 *)({slot} + 0) += {one}", slot = in(reg) slot, one = in(reg) 1u64)
        };
    }
}
