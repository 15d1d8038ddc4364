//! Programs that do nothing, at the hooks of those that do: what a run costs by itself, with the kernel taking its time.
//! Only the benches load them.
#![no_std]
#![no_main]

mod object;

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_skb},
    programs::{BtfTracePointContext, SkBuffContext},
};

/// Let the packet pass, always.
const PASS: i32 = 1;

#[cgroup_skb]
pub fn empty_egress(_: SkBuffContext) -> i32 {
    PASS
}

#[cgroup_skb]
pub fn empty_ingress(_: SkBuffContext) -> i32 {
    PASS
}

#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub fn empty_read(_: BtfTracePointContext) -> i32 {
    0
}
