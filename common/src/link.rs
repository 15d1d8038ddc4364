//! What the kernel programs are to tell of a process beside its connections, so that its requests can be joined. The agent
//! decides, the kernel obeys.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Flags of a [`Linked`].
pub mod evidence {
    /// Which goroutine takes from a socket and gives to it.
    pub const ROUTINES: u32 = 1 << 0;
    /// Which thread makes another, and which wakes another.
    pub const THREADS: u32 = 1 << 1;
}

/// What is wanted of a process, and where it is found. 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Linked {
    /// [`evidence`].
    pub flags: u32,
    /// Where Go keeps its goroutines.
    pub go: Goroutines,
}

/// Where a Go program keeps the goroutine that a thread runs, and its ids. 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Goroutines {
    /// The pointer to the running goroutine lies so many bytes below the thread's base address; 0 where it can't be found.
    pub g_below: u16,
    /// Offset of its id, bytes.
    pub goid_at: u16,
    /// Offset of the id of the goroutine that started it, bytes; 0 where there is none (before Go 1.21).
    pub parent_goid_at: u16,
    /// Always zero.
    pub pad: u16,
}

impl Goroutines {
    /// As one number, for what is attached to a program's instruction.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.g_below as u64 | (self.goid_at as u64) << 16 | (self.parent_goid_at as u64) << 32
    }

    /// Of such a number.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { g_below: bits as u16, goid_at: (bits >> 16) as u16, parent_goid_at: (bits >> 32) as u16, pad: 0 }
    }
}

const _: () = assert!(size_of::<Linked>() == 12 && size_of::<Goroutines>() == 8);
