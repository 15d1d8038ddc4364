//! Calls of the C library for which there is no safe wrapper: the one module of the agent with unsafe code.
#![allow(unsafe_code)]

/// Gives memory that was freed back to the system.
///
/// Loading takes the kernel's type information apart, in many thousand small pieces of tens of mebibytes together. The C
/// library keeps what was freed of it, for a process that never needs as much again.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; the C library locks its own state.
    unsafe {
        libc::malloc_trim(0);
    }
}
