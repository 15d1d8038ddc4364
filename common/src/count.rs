//! Counters that the kernel keeps per CPU, by index into one per-CPU array.

/// Names the slots of the kernel's counter array.
///
/// `Attempted = (records that reached a buffer) + RingFull` holds at any time on each CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Records that a program wanted to emit.
    Attempted = 0,
    /// Records refused because the CPU's ring buffer had no room.
    RingFull = 1,
    /// Packets whose headers could not be read, or made no sense.
    BadPacket = 2,
    /// Sockets for which the kernel had no memory for our state.
    NoStorage = 3,
    /// Records sent without their payload because copying it from the packet failed.
    CopyFailed = 4,
    /// Requests of connections that are [`crate::mode::Mode::Shed`], when their process takes what arrives: the request, or the
    /// response.
    ShedRequests = 5,
}

impl Counter {
    /// How many slots the array has.
    pub const SLOTS: u32 = 6;
    /// All of them, in the order of their slots.
    pub const ALL: [Self; Self::SLOTS as usize] =
        [Self::Attempted, Self::RingFull, Self::BadPacket, Self::NoStorage, Self::CopyFailed, Self::ShedRequests];
}
