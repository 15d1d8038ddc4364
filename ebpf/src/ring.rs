//! The kernel plane for kernels before 5.12: everything is as in `main.rs`, but that records go through the kernel's ring
//! buffers, because programs have no atomic instruction with a result there, and that sockets get their cookies early ([`cookie`]).
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod cookie;
mod counted;
#[path = "emit_ring.rs"]
mod emit;
mod goroutine;
mod http_client;
mod kernel;
mod maps;
mod object;
mod packet;
mod settings;
mod socket;
mod state;
mod task;
mod thread;
mod touch;
mod wire;
