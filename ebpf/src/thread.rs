//! Threads made and woken, of the processes of which the agent wants to know it.

use aya_ebpf::{helpers::generated::bpf_task_pt_regs, macros::btf_tracepoint, programs::BtfTracePointContext};
use wirespan_common::{
    link::evidence,
    record::{Relation, TaskId, kind},
};

use crate::{
    emit::emit,
    kernel::{self, Task},
    maps::LINKED,
};

/// A thread was made.
#[inline(always)]
pub fn made(child: Task) {
    let task = kernel::current();
    if wants(task.tgid, evidence::THREADS) {
        relation(kind::THREAD, task, child.tid(), 0);
    }
}

/// `sched_waking(task)`: runs on behalf of whoever wakes it, which may be an interrupt. For every wake-up of the machine:
/// attached only while somebody wants to know.
#[btf_tracepoint(function = "sched_waking")]
pub fn wake(ctx: BtfTracePointContext) -> i32 {
    let task = kernel::current();
    if !wants(task.tgid, evidence::THREADS) {
        return 0;
    }
    let woken = Task::argument(&ctx, 0);
    if woken.tgid() != task.tgid {
        return 0;
    }
    // SAFETY: the verifier trusts the argument of the tracepoint as a task.
    let registers = unsafe { bpf_task_pt_regs(ctx.arg::<*mut _>(0)) };
    let futex = kernel::futex(registers as *const u8);
    // Who sleeps for anything else waits for no thread.
    if futex != 0 {
        relation(kind::WAKE, task, woken.tid(), futex);
    }
    0
}

#[inline(always)]
fn wants(tgid: u32, flag: u32) -> bool {
    // SAFETY: a live map value; one that is removed meanwhile is still memory of the map.
    LINKED.get_ptr(tgid).is_some_and(|linked| unsafe { (*linked).flags } & flag != 0)
}

#[inline(always)]
fn relation(kind: u16, task: TaskId, other_tid: u32, futex: u64) {
    emit::<Relation>(kind, |record| {
        // SAFETY: the slot is ours and large enough for every field.
        unsafe {
            (*record).task = task;
            (*record).other_tid = other_tid;
            (*record).pad = 0;
            (*record).futex = futex;
        }
        size_of::<Relation>() as u32
    });
}
