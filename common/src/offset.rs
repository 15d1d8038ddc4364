//! Kernel structure fields that the programs read, as one table.
//!
//! The kernel side has no relocations of its own: the agent resolves each row against the running kernel's BTF before
//! it loads the programs and hands them the numbers as read-only globals. Reading a kernel field by a constant is a bug.

#[cfg(feature = "user")]
use zerocopy::{Immutable, IntoBytes};

/// Offsets in bytes from the start of the structure; [`MISSING`] where the running kernel has no such field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(IntoBytes, Immutable))]
pub struct Offsets {
    /// `struct sock_common.skc_family`: `u16`.
    pub skc_family: u32,
    /// `struct sock_common.skc_rcv_saddr`: IPv4, network order.
    pub skc_rcv_saddr: u32,
    /// `struct sock_common.skc_daddr`: IPv4, network order.
    pub skc_daddr: u32,
    /// `struct sock_common.skc_v6_rcv_saddr`: 16 bytes.
    pub skc_v6_rcv_saddr: u32,
    /// `struct sock_common.skc_v6_daddr`: 16 bytes.
    pub skc_v6_daddr: u32,
    /// `struct sock_common.skc_dport`: `u16`, network order.
    pub skc_dport: u32,
    /// `struct sock_common.skc_cookie`: `u64`, 0 until somebody asked for it.
    pub skc_cookie: u32,
    /// `struct sock_common.skc_net`: pointer to `struct net`.
    pub skc_net: u32,
    /// `struct net.ns.inum`: `u32`, the number in `/proc/PID/ns/net`.
    pub net_ns_inum: u32,
    /// `struct sock.sk_err`: `i32`, a positive errno.
    pub sk_err: u32,
    /// `struct sock.sk_protocol`: `u16` (5.6 and later).
    pub sk_protocol: u32,
    /// `struct inet_sock.inet_sport`: `u16`, network order.
    pub inet_sport: u32,
    /// `struct tcp_sock.rcv_nxt`: `u32`, next byte expected from the peer.
    pub tcp_rcv_nxt: u32,
    /// `struct tcp_sock.snd_nxt`: `u32`, next byte to put on the wire.
    pub tcp_snd_nxt: u32,
    /// `struct tcp_sock.srtt_us`: `u32`, smoothed round trip in 1/8 microseconds.
    pub tcp_srtt_us: u32,
    /// `struct tcp_sock.bytes_acked`: `u64`.
    pub tcp_bytes_acked: u32,
    /// `struct tcp_sock.bytes_received`: `u64`.
    pub tcp_bytes_received: u32,
    /// `struct tcp_sock.total_retrans`: `u32`, segments.
    pub tcp_total_retrans: u32,
    /// `struct task_struct.pid`: `i32`, a thread id.
    pub task_pid: u32,
    /// `struct task_struct.tgid`: `i32`, a process id.
    pub task_tgid: u32,
    /// `struct task_struct.start_boottime`: `u64`, nanoseconds since boot.
    pub task_start_boottime: u32,
    /// `struct task_struct.comm`: 16 bytes.
    pub task_comm: u32,
    /// `struct task_struct.exit_code`: `i32`, as `wait(2)` gives it.
    pub task_exit_code: u32,
    /// `struct linux_binprm.filename`: pointer to a string.
    pub binprm_filename: u32,
    /// `struct task_struct.thread.fsbase`: `u64`, where user space keeps what belongs to the thread; x86-64 only.
    pub task_fsbase: u32,
}

/// Stands in a table for a field that the running kernel does not have.
pub const MISSING: u32 = u32::MAX;

impl Offsets {
    /// A table in which nothing is resolved.
    pub const UNRESOLVED: Self = Self {
        skc_family: MISSING,
        skc_rcv_saddr: MISSING,
        skc_daddr: MISSING,
        skc_v6_rcv_saddr: MISSING,
        skc_v6_daddr: MISSING,
        skc_dport: MISSING,
        skc_cookie: MISSING,
        skc_net: MISSING,
        net_ns_inum: MISSING,
        sk_err: MISSING,
        sk_protocol: MISSING,
        inet_sport: MISSING,
        tcp_rcv_nxt: MISSING,
        tcp_snd_nxt: MISSING,
        tcp_srtt_us: MISSING,
        tcp_bytes_acked: MISSING,
        tcp_bytes_received: MISSING,
        tcp_total_retrans: MISSING,
        task_pid: MISSING,
        task_tgid: MISSING,
        task_start_boottime: MISSING,
        task_comm: MISSING,
        task_exit_code: MISSING,
        binprm_filename: MISSING,
        task_fsbase: MISSING,
    };
}

const _: () = assert!(size_of::<Offsets>() == 25 * 4);
