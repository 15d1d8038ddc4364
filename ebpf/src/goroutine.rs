//! Which goroutine runs on a task: read from the memory of its process, by places that the agent found out.
//!
//! Go keeps the running goroutine in the thread's own storage while the thread is in the kernel, on x86-64 alone.

use aya_ebpf::helpers::{bpf_probe_read_user, generated::bpf_get_current_task};
use wirespan_common::link::Goroutines;

use crate::kernel;

/// A goroutine of the current process, where the program keeps it; nothing is read before it is asked for.
#[derive(Clone, Copy)]
pub struct Goroutine {
    g: u64,
    go: Goroutines,
}

impl Goroutine {
    /// The one that the current task runs.
    #[inline(always)]
    pub fn current(go: Goroutines) -> Self {
        // SAFETY: takes nothing, cannot fail.
        let base = kernel::thread_base(unsafe { bpf_get_current_task() } as *const u8);
        let g = if base == 0 { 0 } else { user(base.wrapping_sub(u64::from(go.g_below))) };
        Self { g, go }
    }

    /// The one whose structure lies there.
    #[inline(always)]
    pub fn at(g: u64, go: Goroutines) -> Self {
        Self { g, go }
    }

    /// Its id; 0 for unknown.
    #[inline(always)]
    pub fn id(self) -> u64 {
        self.field(self.go.goid_at)
    }

    /// The id of the one that started it; 0 for unknown.
    #[inline(always)]
    pub fn parent(self) -> u64 {
        self.field(self.go.parent_goid_at)
    }

    #[inline(always)]
    fn field(self, at: u16) -> u64 {
        if self.g == 0 || at == 0 { 0 } else { user(self.g.wrapping_add(u64::from(at))) }
    }
}

/// A word of the current process; 0 where it can't be read.
#[inline(always)]
fn user(address: u64) -> u64 {
    // SAFETY: the helper reads memory of the user alone, checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_user(address as *const u64) }.unwrap_or_default()
}
