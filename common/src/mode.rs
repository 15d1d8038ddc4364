//! How much of a connection the kernel copies, and tells. The agent decides, the kernel obeys.

/// Capture modes of a socket, as stored in the kernel: the smaller, the more is told.
///
/// A plain number in shared memory: [`Mode::from_raw`] gives `None` for a value that no version wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Mode {
    /// Not recognised yet: the head of each message is copied.
    Probe = 0,
    /// Request and response in turns: up to the head budget is copied after each change of direction.
    Heads = 1,
    /// The same, but it is not told who takes a message and when: its process has nothing to be joined.
    Quiet = 2,
    /// As `Opaque`, but its protocol is known: its requests are left out because the machine has no time for them, and counted.
    Shed = 3,
    /// Counters only; a report of them now and then, and the end.
    Opaque = 4,
    /// Not selected: nothing at all is recorded, until its process is looked up again and is selected.
    Unselected = 5,
    /// Nothing at all is recorded, ever: the agent's own, and ports that are not selected.
    Off = 6,
}

impl Mode {
    /// The mode with this number, if there is one.
    #[must_use]
    pub const fn from_raw(raw: u16) -> Option<Self> {
        match raw {
            0 => Some(Self::Probe),
            1 => Some(Self::Heads),
            2 => Some(Self::Quiet),
            3 => Some(Self::Shed),
            4 => Some(Self::Opaque),
            5 => Some(Self::Unselected),
            6 => Some(Self::Off),
            _ => None,
        }
    }
}

/// What the agent wants of a socket from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Order {
    /// What is copied and told.
    pub mode: Mode,
    /// Bytes copied of each message of the end that accepted the connection; 0 for as many as the settings say. With
    /// [`Mode::Unselected`] the number of the selection, in which only its lower half counts.
    pub response_bytes: u16,
}

impl Order {
    /// As one number, which is how the kernel programs get it: the mode in the lower half.
    #[must_use]
    pub const fn to_raw(self) -> u32 {
        self.mode as u32 | (self.response_bytes as u32) << 16
    }

    /// The halves of such a number: mode and bytes.
    #[must_use]
    pub const fn halves(raw: u32) -> (u16, u16) {
        (raw as u16, (raw >> 16) as u16)
    }
}

impl From<Mode> for Order {
    fn from(mode: Mode) -> Self {
        Self { mode, response_bytes: 0 }
    }
}

const _: () = {
    let order = Order { mode: Mode::Quiet, response_bytes: 512 };
    let (mode, response_bytes) = Order::halves(order.to_raw());
    assert!(mode == Mode::Quiet as u16 && response_bytes == 512);
};
