//! Which goroutine runs on a task: read from the memory of its process, by places that the agent found out.
//!
//! Go keeps the running goroutine in the thread's own storage while the thread is in the kernel, on x86-64 alone.

use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_get_current_task};
use wirespan_common::link::Goroutines;

use crate::kernel;

/// The ids of a goroutine; 0 for unknown.
#[derive(Clone, Copy, Default)]
pub struct Goroutine {
    pub goid: u64,
    /// Of the one that started it.
    pub parent: u64,
}

/// The goroutine that the current task runs.
#[inline(always)]
pub fn current(go: Goroutines) -> Goroutine {
    // SAFETY: takes nothing, cannot fail.
    let base = kernel::thread_base(unsafe { bpf_get_current_task() } as *const u8);
    if base == 0 {
        return Goroutine::default();
    }
    at(user(base.wrapping_sub(u64::from(go.g_below))), go)
}

/// The one whose structure lies there.
#[inline(always)]
pub fn at(g: u64, go: Goroutines) -> Goroutine {
    if g == 0 {
        return Goroutine::default();
    }
    let field = |at: u16| if at == 0 { 0 } else { user(g.wrapping_add(u64::from(at))) };
    Goroutine { goid: field(go.goid_at), parent: field(go.parent_goid_at) }
}

/// A word of the current process; 0 where it can't be read.
#[inline(always)]
fn user(address: u64) -> u64 {
    // SAFETY: the helper reads memory of the user alone, checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_user(address as *const u64) }.unwrap_or_default()
}
