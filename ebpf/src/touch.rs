//! Which task took a socket's data, and which gave it: the processes behind the packets.
//!
//! The send hook is offered as a typed tracepoint, as fentry and as kprobe; the agent attaches the first that works.

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, kprobe},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext},
};
use wirespan_common::{
    count::Counter,
    mode::Mode,
    record::{TaskId, Touch, kind, socket},
};

use crate::{
    emit::emit,
    goroutine::Goroutine,
    kernel::{self, Sock},
    maps::count,
    state::{self, State},
};

/// `tcp_rcv_space_adjust(sk)`: runs in the reader's context after each copy to user space (and on `MSG_PEEK`).
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn read(ctx: BtfTracePointContext) -> i32 {
    if let Some(state) = Sock::argument(&ctx, 0).and_then(state::of_traced) {
        reads(state, kernel::current());
    }
    0
}

/// `tcp_sendmsg_locked(sk, msg, skb, size_goal)`: runs in the sender's context for each piece that is queued (6.16).
#[btf_tracepoint(function = "tcp_sendmsg_locked")]
pub fn send(ctx: BtfTracePointContext) -> i32 {
    if let Some(state) = Sock::argument(&ctx, 0).and_then(state::of_traced) {
        sends(state, kernel::current());
    }
    0
}

/// `tcp_sendmsg(sk, msg, size)` on kernels without the tracepoint.
#[fentry(function = "tcp_sendmsg")]
pub fn send_fentry(ctx: FEntryContext) -> i32 {
    let sk = Sock(ctx.arg(0));
    if let Some(state) = state::of_traced(sk) {
        sends(state, kernel::current());
    }
    0
}

/// `tcp_sendmsg(sk, msg, size)` on kernels without fentry. The pointer is a plain number to the verifier, so this works
/// only with states kept by cookie.
#[kprobe(function = "tcp_sendmsg")]
pub fn send_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg(0).map(Sock)
        && let Some(state) = state::known(sk)
    {
        sends(state, kernel::current());
    }
    0
}

#[inline(always)]
fn reads(state: &mut State, task: TaskId) {
    // As in `sends`.
    if state.reader != task {
        state.reader = task;
        state.choose(task);
    }
    if state.mode == Mode::Shed as u16 && state.took == 0 {
        state.took = 1;
        count(Counter::ShedRequests);
    }
    if state.mode < Mode::Quiet as u16 && state.took == 0 {
        state.took = 1;
        // Each word read of a process costs some ten nanoseconds. Who takes the answer to a call says nothing about who made it.
        let (goid, parent) = match state.goroutines(task) {
            Some(go) if state.flags & socket::ACTIVE == 0 => {
                let goroutine = Goroutine::current(go);
                (goroutine.id(), goroutine.parent())
            }
            _ => (0, 0),
        };
        tell(kind::READ, state, task, goid, parent);
    }
}

#[inline(always)]
fn sends(state: &mut State, task: TaskId) {
    // A write would take the line away from the CPU that handles the other direction.
    if state.sender != task {
        state.sender = task;
        state.choose(task);
    }
    if (state.mode < Mode::Quiet as u16 || state.mode == Mode::Shed as u16) && state.took != 0 {
        state.took = 0;
    }
    if state.mode >= Mode::Quiet as u16 {
        return;
    }
    if let Some(go) = state.goroutines(task)
        // One goroutine answers all that comes on a connection.
        && (state.told_goid == 0 || state.flags & socket::PASSIVE == 0)
    {
        let goroutine = Goroutine::current(go);
        let goid = goroutine.id();
        // A client of `net/http` asks from one goroutine, too: this is told once per connection.
        if goid != state.told_goid && goid != 0 {
            state.told_goid = goid;
            tell(kind::SEND, state, task, goid, goroutine.parent());
        }
    }
}

#[inline(always)]
fn tell(kind: u16, state: &State, task: TaskId, goid: u64, parent: u64) {
    emit::<Touch>(kind, |record| {
        // SAFETY: the slot is ours and large enough for every field.
        unsafe {
            (*record).cookie = state.cookie;
            (*record).task = task;
            (*record).context = goid;
            (*record).parent = parent;
        }
        size_of::<Touch>() as u32
    });
}
