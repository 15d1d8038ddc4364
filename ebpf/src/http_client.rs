//! Go's `net/http` handing requests to its connections: probes in programs, put on them by the agent.
//!
//! A request is sent by a goroutine of the connection, never by the one that makes it. What joins them is the connection.

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_get_attach_cookie, macros::uprobe, programs::ProbeContext};
use wirespan_common::{
    link::Goroutines,
    record::{Routine, kind},
};

use crate::{emit::emit, goroutine::Goroutine, kernel};

// Words of `struct pt_regs` on x86-64, the only machine on which these are attached.
const R14: usize = 1;
const RAX: usize = 10;

/// `net/http.(*persistConn).roundTrip`: in the goroutine that makes the request.
#[uprobe]
pub fn go_call(ctx: ProbeContext) -> u32 {
    record(kind::GO_CALL, &ctx);
    0
}

/// `net/http.(*persistConn).writeLoop`: in the goroutine that will write all requests of the connection.
#[uprobe]
pub fn go_writer(ctx: ProbeContext) -> u32 {
    record(kind::GO_WRITER, &ctx);
    0
}

#[inline(always)]
fn record(kind: u16, ctx: &ProbeContext) {
    // SAFETY: the context of the program.
    let go = Goroutines::from_bits(unsafe { bpf_get_attach_cookie(ctx.as_ptr()) });
    // Go keeps the running goroutine in this register, and the receiver of a method comes first among its arguments.
    let goroutine = Goroutine::at(register(ctx, R14), go);
    let (goid, parent) = (goroutine.id(), goroutine.parent());
    let connection = register(ctx, RAX);
    let task = kernel::current();
    emit::<Routine>(kind, |record| {
        // SAFETY: the slot is ours and large enough for every field.
        unsafe {
            (*record).task = task;
            (*record).goid = goid;
            (*record).parent_goid = parent;
            (*record).connection = connection;
        }
        size_of::<Routine>() as u32
    });
}

#[inline(always)]
fn register(ctx: &ProbeContext, word: usize) -> u64 {
    // SAFETY: within the registers; the verifier checks it.
    unsafe { ctx.as_ptr().cast::<u64>().add(word).read_volatile() }
}
