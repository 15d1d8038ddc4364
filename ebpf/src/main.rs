//! The kernel plane: what is seen of sockets, packets and tasks becomes records in ring buffers.
//!
//! One file per hook family: [`wire`] (packets; [`packet`] reads their headers), [`socket`] (the life of connections), [`touch`] (which task reads and
//! sends), [`task`] (processes). [`state`] is what is remembered per socket, [`emit`] the only place that reserves ring
//! buffer space, [`kernel`] the only place that reads kernel memory.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod emit;
mod kernel;
mod maps;
mod packet;
mod settings;
mod socket;
mod state;
mod task;
mod touch;
mod wire;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// GPL-only helpers (ring buffers are fine without, reading kernel memory is not) need a licence that says GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual BSD/GPL\0";
