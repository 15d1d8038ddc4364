//! Cookies for sockets, early: for kernels before 5.11, where states are kept by cookie.
//!
//! A socket has no cookie until somebody asks for it, and the tracing programs of these kernels can't ask. Programs of other
//! kinds can: one where a socket is made, one where a connection is accepted. They do nothing else.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_get_socket_cookie,
    macros::{cgroup_sock, sock_ops},
    programs::{SockContext, SockOpsContext},
};

/// Let the socket be made, always.
const PASS: i32 = 1;
/// What the kernel takes for the answer of "no program" (`tcp_call_bpf` in include/net/tcp.h).
const NO_ANSWER: u32 = u32::MAX;

// Moments of `BPF_PROG_TYPE_SOCK_OPS`, include/uapi/linux/bpf.h.
const CONNECT: u32 = 3;
const ACCEPTED: u32 = 5;

/// A socket is made.
#[cgroup_sock(sock_create)]
pub fn socket_made(ctx: SockContext) -> i32 {
    // SAFETY: the context of the program.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    PASS
}

/// A connection comes into being. One that is accepted gets a socket that nobody made; one that is opened may have a socket
/// that is older than we are.
#[sock_ops]
pub fn connection_made(ctx: SockOpsContext) -> u32 {
    if matches!(ctx.op(), CONNECT | ACCEPTED) {
        // SAFETY: the context of the program, at moments at which its socket is a full one.
        unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    }
    // The kernel asks for timeouts and windows, too: it shall get what it gets where no program is.
    // SAFETY: the context of the program; the verifier allows to write its answer.
    unsafe { (*ctx.ops).__bindgen_anon_1.reply = NO_ANSWER };
    PASS as u32
}
