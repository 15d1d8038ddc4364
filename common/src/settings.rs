//! What the agent tells the kernel programs before it loads them: one read-only global.

#[cfg(feature = "user")]
use zerocopy::{Immutable, IntoBytes};

use crate::offset::Offsets;

/// Read-only for the programs; the verifier sees the values as constants.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
#[cfg_attr(feature = "user", derive(IntoBytes, Immutable))]
pub struct Settings {
    /// Process id of the agent: its sockets are never recorded.
    pub own_tgid: u32,
    /// Bytes copied of each message of the end that opened the connection.
    pub request_head_bytes: u32,
    /// Bytes copied of each message of the end that accepted it.
    pub response_head_bytes: u32,
    /// Nanoseconds between two reports of a connection on which payload flows.
    pub report_ns: u32,
    /// 1 where tracing programs can't use socket storage (before 5.11): states are kept in a hash by socket cookie.
    pub states_by_cookie: u32,
    /// Size of a half of the exchange, one of [`crate::exchange::size`], bytes.
    pub half_bytes: u32,
    /// A slot begins before this place in its half, bytes; at most `half_bytes`.
    pub half_limit_bytes: u32,
    /// Where the fields are that the programs read.
    pub offsets: Offsets,
}

impl Settings {
    /// The defaults, with nothing resolved.
    pub const DEFAULT: Self = Self {
        own_tgid: 0,
        request_head_bytes: 8192,
        response_head_bytes: 4096,
        report_ns: 1_000_000_000,
        states_by_cookie: 0,
        half_bytes: crate::exchange::size::LARGE as u32,
        half_limit_bytes: crate::exchange::size::LARGE as u32,
        offsets: Offsets::UNRESOLVED,
    };
}

const _: () = assert!(size_of::<Settings>() == 28 + 25 * 4);
