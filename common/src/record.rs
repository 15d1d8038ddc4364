//! Records: what the kernel programs write into the ring buffers and the agent reads, and what a recording holds.
//!
//! Every record starts with a [`Header`]; its `kind` says what follows. Times are nanoseconds of `CLOCK_BOOTTIME`.

#[cfg(feature = "user")]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What follows a [`Header`].
pub mod kind {
    /// A [`super::Segment`] and `captured + tail` bytes of payload.
    pub const SEGMENT: u16 = 1;
    /// A [`super::Socket`].
    pub const SOCKET: u16 = 2;
    /// A [`super::Task`]: a process was born.
    pub const FORK: u16 = 3;
    /// A [`super::Task`]: a process became another program.
    pub const EXEC: u16 = 4;
    /// A [`super::Task`]: a process ended.
    pub const EXIT: u16 = 5;
    /// A [`super::Touch`]: a task took the first bytes of a message from a socket.
    pub const READ: u16 = 6;
    /// A [`super::Touch`]: a socket is sent on in another context than before.
    pub const SEND: u16 = 7;
    /// A [`super::Relation`]: a thread made another.
    pub const THREAD: u16 = 8;
    /// A [`super::Relation`]: a thread woke another of its process.
    pub const WAKE: u16 = 9;
    /// A [`super::Routine`]: a goroutine hands a request to a client connection of `net/http`.
    pub const GO_CALL: u16 = 10;
    /// A [`super::Routine`]: a goroutine begins to write for a client connection of `net/http`.
    pub const GO_WRITER: u16 = 11;
    /// From here on: facts that user space found out, in the agent's own encoding. The kernel never writes these.
    pub const FIRST_FACT: u16 = 64;
}

/// Starts every record. 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Header {
    /// When it happened: nanoseconds of `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Bytes of the record that mean something, this header included. The ring buffer's slot may be larger.
    pub len: u32,
    /// One of [`kind`].
    pub kind: u16,
    /// The CPU that wrote it.
    pub cpu: u16,
}

/// One end of a connection. 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Endpoint {
    /// IPv6 address in network order; IPv4 as `::ffff:a.b.c.d`, so that v4-mapped sockets look like IPv4.
    pub addr: [u8; 16],
    /// Port in host order.
    pub port: u16,
    /// Always zero.
    pub pad: u16,
}

/// Which task; zero where it is not known. 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct TaskId {
    /// Thread id.
    pub tid: u32,
    /// Process id (thread group id).
    pub tgid: u32,
}

/// Flags of a [`Segment`].
pub mod segment {
    /// Leaves this machine's socket; without it the segment arrives.
    pub const EGRESS: u32 = 1 << 0;
    /// First payload in this direction since payload went the other way (or ever).
    pub const TURN: u32 = 1 << 1;
    /// The peer ends its direction after this segment's bytes.
    pub const FIN: u32 = 1 << 2;
    /// Arrived ahead of bytes that are missing: they may still come.
    pub const AHEAD: u32 = 1 << 3;
    /// `offset` counts from the byte after the SYN. Without it, from where the kernel programs first saw the socket.
    pub const FROM_START: u32 = 1 << 4;
    /// Seen at a listening socket: payload of a SYN (TCP fast open) or of the ACK that ends the handshake. `cookie` and
    /// `offset` are 0; the connection is the one that opens with the same pair of endpoints.
    pub const LISTENER: u32 = 1 << 5;
    /// This is payload of a SYN: its first byte has the sequence number `seq`, the SYN itself has `seq - 1`.
    pub const SYN: u32 = 1 << 6;
    /// The connection was opened by this end.
    pub const ACTIVE: u32 = 1 << 7;
    /// The connection was opened by the other end.
    pub const PASSIVE: u32 = 1 << 8;
    /// A socket of the agent itself.
    pub const SELF: u32 = 1 << 9;
    /// Changes each time that the connection is recorded again after it was not for a while: offsets count from there.
    pub const AGAIN: u32 = 1 << 10;
}

/// New payload of one TCP segment (up to 64 KiB before segmentation offload), or its FIN. 128 bytes, then
/// `captured + tail` bytes.
///
/// Bytes that were seen before (retransmission, keep-alive and window probes) are cut off; a segment with nothing new
/// makes no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Segment {
    /// `kind` is [`kind::SEGMENT`].
    pub header: Header,
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// Stream offset of the first new byte in this direction, bytes.
    pub offset: u64,
    /// Time of the last new byte in the other direction; 0 if there was none.
    pub peer_time_ns: u64,
    /// Stream offset that the other direction has reached, bytes.
    pub peer_offset: u64,
    /// This machine's end, as in the packet.
    pub local: Endpoint,
    /// The other end, as in the packet.
    pub remote: Endpoint,
    /// TCP sequence number of the first new byte.
    pub seq: u32,
    /// Sequence number that the other direction will use next, as seen or as acknowledged.
    pub peer_next_seq: u32,
    /// New payload, bytes.
    pub len: u32,
    /// How many of the first new bytes follow this structure.
    pub captured: u32,
    /// How many of the last bytes follow those; 0 where everything was captured.
    pub tail: u32,
    /// [`segment`].
    pub flags: u32,
    /// The task that last sent on the socket.
    pub sender: TaskId,
    /// The task that last read from the socket.
    pub reader: TaskId,
}

/// Why a [`Socket`] record was written.
pub mod reason {
    /// The connection is established.
    pub const OPEN: u32 = 1;
    /// Now and then while payload flows.
    pub const REPORT: u32 = 2;
    /// The connection has ended, or was never established.
    pub const CLOSE: u32 = 3;
    /// The socket started to listen.
    pub const LISTEN: u32 = 4;
    /// The listening socket was closed.
    pub const UNLISTEN: u32 = 5;
}

/// Flags of a [`Socket`].
pub mod socket {
    /// Opened by this end (a client).
    pub const ACTIVE: u32 = 1 << 0;
    /// Opened by the other end (a server).
    pub const PASSIVE: u32 = 1 << 1;
    /// Was established at some time.
    pub const ESTABLISHED: u32 = 1 << 2;
    /// This end ended its direction first.
    pub const LOCAL_CLOSED_FIRST: u32 = 1 << 3;
    /// The other end ended its direction first.
    pub const REMOTE_CLOSED_FIRST: u32 = 1 << 4;
    /// This end sent a reset.
    pub const RESET_SENT: u32 = 1 << 5;
    /// The other end sent a reset.
    pub const RESET_RECEIVED: u32 = 1 << 6;
    /// A socket of the agent itself.
    pub const SELF: u32 = 1 << 7;
    /// `local_first_seq` and `remote_first_seq` are known from the handshake.
    pub const FROM_START: u32 = 1 << 8;
    /// Changes each time that it is recorded again, after its process was not selected for a while.
    pub const AGAIN: u32 = 1 << 9;
}

/// The life of a connection as the kernel knows it. 184 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Socket {
    /// `kind` is [`kind::SOCKET`].
    pub header: Header,
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// When `connect` began, 0 where it was not seen.
    pub connect_ns: u64,
    /// When the handshake was over at this end, 0 where it was not seen.
    pub established_ns: u64,
    /// Time of the last new byte sent, 0 if none was seen.
    pub sent_ns: u64,
    /// Time of the last new byte received, 0 if none was seen.
    pub received_ns: u64,
    /// Payload sent and acknowledged since the connection began, bytes.
    pub bytes_sent: u64,
    /// Payload received in order since the connection began, bytes.
    pub bytes_received: u64,
    /// Stream offset reached by the sending direction, bytes.
    pub sent_offset: u64,
    /// Stream offset reached by the receiving direction, bytes.
    pub received_offset: u64,
    /// This end, as the socket has it.
    pub local: Endpoint,
    /// The other end, as the socket has it (what was dialled, before any address translation).
    pub remote: Endpoint,
    /// [`reason`].
    pub reason: u32,
    /// [`socket`].
    pub flags: u32,
    /// The socket's error, a positive errno; 0 for none.
    pub error: u32,
    /// Number of the network namespace, as in `/proc/PID/ns/net`.
    pub netns: u32,
    /// Sequence number of the first payload byte that this end sends.
    pub local_first_seq: u32,
    /// Sequence number of the first payload byte that the other end sends.
    pub remote_first_seq: u32,
    /// Smoothed round trip, microseconds; 0 where there is none yet.
    pub srtt_us: u32,
    /// Segments that this end retransmitted.
    pub retransmits: u32,
    /// The task that opened (or listens on) the socket, where it was seen doing so.
    pub opener: TaskId,
    /// The task that last sent on the socket.
    pub sender: TaskId,
    /// The task that last read from the socket.
    pub reader: TaskId,
}

/// Which task took what a message begins with from a socket, or gave it to one. 48 bytes.
///
/// A read makes one record per message: the first after something was sent on the socket. A send makes one only where
/// the sender's context is known and is not the one of the last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Touch {
    /// `kind` is [`kind::READ`] or [`kind::SEND`].
    pub header: Header,
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// The task.
    pub task: TaskId,
    /// What runs on the task, where its runtime shows it: the id of a goroutine. 0 for unknown, and for who takes from a socket
    /// that this end opened.
    pub context: u64,
    /// What started that: the id of a goroutine. 0 for unknown.
    pub parent: u64,
}

/// A thread made or woke another thread of its process. 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Relation {
    /// `kind` is [`kind::THREAD`] or [`kind::WAKE`].
    pub header: Header,
    /// Who did it.
    pub task: TaskId,
    /// The thread that was made or woken, of the same process.
    pub other_tid: u32,
    /// Always zero.
    pub pad: u32,
    /// Of a wake-up: the futex that the woken thread waited for, 0 for unknown.
    pub futex: u64,
}

/// A goroutine and a client connection of Go's `net/http`. 48 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Routine {
    /// `kind` is [`kind::GO_CALL`] or [`kind::GO_WRITER`].
    pub header: Header,
    /// The thread that it runs on.
    pub task: TaskId,
    /// Its id.
    pub goid: u64,
    /// Id of the goroutine that started it.
    pub parent_goid: u64,
    /// Address of the `net/http.persistConn`: names the connection while it lives.
    pub connection: u64,
}

/// Length of a task's name in the kernel, with the NUL at its end.
pub const COMM_BYTES: usize = 16;
/// Length of the path kept of an executable, cut at its end, NUL-padded.
pub const FILENAME_BYTES: usize = 128;

/// A process begins, changes or ends. 184 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(FromBytes, IntoBytes, Immutable, KnownLayout))]
pub struct Task {
    /// `kind` is [`kind::FORK`], [`kind::EXEC`] or [`kind::EXIT`].
    pub header: Header,
    /// When the process was born: nanoseconds of `CLOCK_BOOTTIME`. With `tgid` it names a process for ever.
    pub start_ns: u64,
    /// Process id.
    pub tgid: u32,
    /// Process id of the parent; on fork only.
    pub parent_tgid: u32,
    /// As `wait(2)` gives it; on exit only.
    pub exit_code: i32,
    /// Always zero.
    pub pad: u32,
    /// The task's name, NUL-padded.
    pub comm: [u8; COMM_BYTES],
    /// Path given to `execve`, NUL-padded; on exec only.
    pub filename: [u8; FILENAME_BYTES],
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Endpoint>() == 20);
    assert!(size_of::<TaskId>() == 8);
    assert!(size_of::<Segment>() == 128);
    assert!(size_of::<Socket>() == 184);
    assert!(size_of::<Task>() == 184);
    assert!(size_of::<Touch>() == 48);
    assert!(size_of::<Relation>() == 40);
    assert!(size_of::<Routine>() == 48);
    assert!(core::mem::offset_of!(Segment, local) == 48);
    assert!(core::mem::offset_of!(Segment, sender) == 112);
    assert!(core::mem::offset_of!(Socket, local) == 88);
    assert!(core::mem::offset_of!(Socket, opener) == 160);
};

/// Largest number of captured bytes in a segment record.
pub const MAX_HEAD_BYTES: u32 = 8192;

/// Bytes of the end of a segment that are copied when its whole payload is not: enough to see the end of a chunked
/// body with a short trailer.
pub const TAIL_BYTES: u32 = 32;
