//! How much of a connection the kernel copies. The agent decides, the kernel obeys.

/// Capture modes of a socket, as stored in the kernel.
///
/// A plain `u32` in shared memory: [`Mode::from_raw`] gives `None` for a value that no version wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Mode {
    /// Not recognised yet: the head of each message is copied, and the verdict map is consulted before each copy.
    Probe = 0,
    /// Request and response in turns: up to the head budget is copied after each change of direction.
    Heads = 1,
    /// Counters only; a report of them now and then, and the end.
    Opaque = 2,
    /// Not selected: nothing at all is recorded.
    Off = 3,
}

impl Mode {
    /// The mode with this number, if there is one.
    #[must_use]
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Probe),
            1 => Some(Self::Heads),
            2 => Some(Self::Opaque),
            3 => Some(Self::Off),
            _ => None,
        }
    }
}
