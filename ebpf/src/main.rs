//! The kernel plane: what is seen of sockets, packets and tasks becomes records for the agent.
//!
//! One file per hook family: [`wire`] (packets; [`packet`] reads their headers), [`socket`] (the life of connections), [`touch`] (which task reads and
//! sends), [`task`] (processes), [`thread`] (their threads), [`http_client`] (requests of Go programs, whose goroutines [`goroutine`]
//! reads). [`state`] is what is remembered per socket, [`emit`] the only place that
//! hands records to the agent, [`kernel`] the only place that reads kernel memory. `ring.rs` is the root of a second
//! object, for older kernels.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod counted;
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
