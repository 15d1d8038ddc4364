//! Connections and byte streams: records in, ordered chunks and gaps of known length out.
//!
//! Nothing here knows a protocol. What is built on a connection is the [`Consumer`]'s state, kept beside it.
//!
//! What a consumer can rely on, per connection and direction: positions follow each other without overlap, times never
//! go back, nothing follows the end. What one direction proves about the other (a response begins, so the request was
//! complete) is delivered before it.

pub mod fact;
pub mod kubernetes;
pub mod naming;
pub mod record;
pub mod recording;
pub mod table;

mod closed;
mod connection;
mod listeners;
mod orphan;
mod queue;
mod stream;

#[cfg(test)]
mod build;

use wirespan_common::record::{Endpoint, TaskId, Touch};

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// The kernel's socket cookie: names a socket for as long as this machine is up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// Which end of the connection sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that opened the connection and asks.
    Client,
    /// The end that accepted the connection and answers.
    Server,
}

/// What this machine's end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Opened here.
    Client,
    /// Accepted here.
    Server,
}

/// Which way bytes went, seen from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Sent by this end.
    Out,
    /// Received by this end.
    In,
}

impl Side {
    /// Who sends this way, seen from an end of that role.
    #[must_use]
    pub const fn sending(role: Role, way: Direction) -> Self {
        match (role, way) {
            (Role::Client, Direction::Out) | (Role::Server, Direction::In) => Self::Client,
            (Role::Client, Direction::In) | (Role::Server, Direction::Out) => Self::Server,
        }
    }
}

impl Role {
    /// Which end this is if that side sends this way.
    #[must_use]
    pub const fn where_sends(side: Side, way: Direction) -> Self {
        match (side, way) {
            (Side::Client, Direction::Out) | (Side::Server, Direction::In) => Self::Client,
            (Side::Client, Direction::In) | (Side::Server, Direction::Out) => Self::Server,
        }
    }

    /// Which way the server's bytes go at this end.
    #[must_use]
    pub const fn way_of_server(self) -> Direction {
        match self {
            Self::Client => Direction::In,
            Self::Server => Direction::Out,
        }
    }
}

/// Where in time and in its stream a chunk stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// When the chunk's last byte passed.
    pub time: Nanos,
    /// Stream offset of the chunk's first byte, bytes from the stream's beginning (or from where it was joined).
    pub pos: u64,
}

/// A piece of one direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// Bytes as they were on the wire.
    Bytes(&'a [u8]),
    /// So many bytes passed that are not known: not copied, or lost.
    Gap(u64),
}

impl Chunk<'_> {
    /// How many bytes of the stream the chunk stands for.
    #[must_use]
    pub fn len(&self) -> u64 {
        match *self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Gap(len) => len,
        }
    }

    /// Whether it stands for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both ends closed in order.
    Closed,
    /// This end sent a reset.
    ResetByLocal,
    /// The other end sent a reset.
    ResetByRemote,
    /// Nothing came back in time.
    TimedOut,
    /// The connection was never established: the peer refused it.
    Refused,
    /// The connection was never established: no way to the peer.
    Unreachable,
    /// The connection was never established: this end gave up.
    Aborted,
    /// It still exists, but we forget it (table full, or the agent ends).
    Forgotten,
}

/// What is known about a connection, whatever is spoken on it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The socket.
    pub cookie: Cookie,
    /// This end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
    /// What `connect` was called with, where the packets say something else (address translation).
    pub dialled: Option<Endpoint>,
    /// Which end opened it; `None` until that is known.
    pub role: Option<Role>,
    /// The process at this end, as well as it is known.
    pub task: TaskId,
    /// The task that opened the connection, where it was seen doing so.
    pub opener: TaskId,
    /// The task that sent last, where that was seen.
    pub sender: TaskId,
    /// Number of the network namespace; 0 where it is not known.
    pub netns: u32,
    /// When `connect` began; only for connections opened here while we watched.
    pub connecting: Option<Nanos>,
    /// When the handshake was over; only for connections established while we watched.
    pub established: Option<Nanos>,
    /// The first thing that was seen of it.
    pub first_seen: Nanos,
    /// The last thing that was seen of it.
    pub last_seen: Nanos,
    /// Sequence number of offset 0 in the direction sent by this end; known as soon as a byte or the handshake was seen.
    pub out_base: Option<u32>,
    /// Sequence number of offset 0 in the direction received by this end.
    pub in_base: Option<u32>,
    /// Whether both bases are those of the handshake: then they name the connection at both of its ends.
    pub from_start: bool,
    /// Payload sent and received, bytes, counted by the kernel from the connection's beginning.
    pub sent: u64,
    /// See [`Facts::sent`].
    pub received: u64,
    /// Smoothed round trip, microseconds; 0 for unknown.
    pub srtt_us: u32,
    /// Segments retransmitted by this end.
    pub retransmits: u32,
    /// Who ended their direction first, where that was seen.
    pub closed_first: Option<Side>,
    /// A connection of the agent itself.
    pub own: bool,
}

/// Takes what flows out of a [`flow`](self): chunks in stream order, per connection and direction.
pub trait Consumer {
    /// What it keeps per connection.
    type State: Default;

    /// The next piece of one direction. `seq` of a byte is `base + pos` (modulo 2^32) with the base in `facts`.
    fn chunk(&mut self, facts: &mut Facts, state: &mut Self::State, way: Direction, at: At, chunk: Chunk<'_>);

    /// The next bytes of a direction are the first since payload went the other way: in protocols that take turns a
    /// message begins with them, whatever is missing before them.
    fn turned(&mut self, _state: &mut Self::State, _way: Direction) {}

    /// So many bytes of one direction have passed before anything was seen of it: the stream begins after them.
    fn missed(&mut self, _facts: &mut Facts, _state: &mut Self::State, _way: Direction, _time: Nanos, _len: u64) {}

    /// A task took the first bytes of a message, or gives in another context than before.
    fn touched(&mut self, _facts: &mut Facts, _state: &mut Self::State, _touch: &Touch) {}

    /// This end (`Out`) or the other (`In`) will send nothing more.
    fn finished(&mut self, facts: &mut Facts, state: &mut Self::State, way: Direction, time: Nanos);

    /// Something new in `facts`, or time has passed: within a second of something seen, every 10 seconds of an idle one.
    fn refreshed(&mut self, facts: &mut Facts, state: &mut Self::State, time: Nanos);

    /// The connection was not recorded for a while and is now, as another: what was known of it says nothing any more.
    fn void(&mut self, _facts: &mut Facts, _state: Self::State) {}

    /// The connection is over, or we forget it.
    fn ended(&mut self, facts: &mut Facts, state: Self::State, ending: Ending, time: Nanos);
}
