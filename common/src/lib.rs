//! What the kernel programs and the agent agree on, byte for byte.
//!
//! Every type here is `#[repr(C)]`, made of integers and arrays, padded explicitly, with its size asserted at compile
//! time. Integers are in the machine's byte order: the writer and the reader are the same machine, or a recording that
//! says which order it has.
#![no_std]

pub mod count;
pub mod exchange;
pub mod link;
pub mod mode;
pub mod offset;
pub mod record;
pub mod settings;
