//! Processes: birth, exec, end.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use wirespan_common::record::{FILENAME_BYTES, Task as Record, kind};

use crate::{
    emit::{emit, hurry},
    kernel::{self, Task},
    maps::DESELECTED,
    thread,
};

/// `sched_process_fork(parent, child)`
#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(ctx: BtfTracePointContext) -> i32 {
    let child = Task::argument(&ctx, 1);
    if child.tid() == child.tgid() {
        record(kind::FORK, child, Task::argument(&ctx, 0).tgid(), 0, |_| {});
    } else {
        thread::made(child);
    }
    0
}

/// `sched_process_exec(task, old_pid, binprm)`. The agent is to look at the process while it is there.
///
/// Whether the user wants to see the new program is not known here: it is recorded until the agent says otherwise.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec(ctx: BtfTracePointContext) -> i32 {
    let task = Task::argument(&ctx, 0);
    let _selected = DESELECTED.remove(task.tgid());
    record(kind::EXEC, task, 0, 0, |path| kernel::program_path(&ctx, 2, path));
    hurry();
    0
}

/// `sched_process_exit(task)`: the last thing of the thread that leads its process.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn exit(ctx: BtfTracePointContext) -> i32 {
    let task = Task::argument(&ctx, 0);
    if task.tid() == task.tgid() {
        record(kind::EXIT, task, 0, task.exit_code(), |_| {});
    }
    0
}

#[inline(always)]
fn record(kind: u16, task: Task, parent_tgid: u32, exit_code: i32, path: impl FnOnce(*mut [u8; FILENAME_BYTES])) {
    emit::<Record>(kind, |record| {
        // SAFETY: the slot is ours and large enough for every field.
        unsafe {
            (*record).start_ns = task.start_ns();
            (*record).tgid = task.tgid();
            (*record).parent_tgid = parent_tgid;
            (*record).exit_code = exit_code;
            (*record).pad = 0;
            (*record).comm = task.comm();
            (*record).filename = [0; FILENAME_BYTES];
            path(&raw mut (*record).filename);
        }
        size_of::<Record>() as u32
    });
}
