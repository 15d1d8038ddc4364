//! What is remembered per socket.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::bpf_sk_storage_get,
};
use wirespan_common::{
    count::Counter,
    mode::Mode,
    record::{TaskId, socket},
};

use crate::{
    kernel,
    maps::{DESELECTED, NEWEST_ORDER, ORDERS, STATES, count, setting},
};

/// One direction of a connection.
#[repr(C)]
pub struct Way {
    /// Payload bytes before `next_seq`, since the connection began or since we first saw it.
    pub offset: u64,
    /// When the last new byte passed; 0 for never.
    pub time_ns: u64,
    /// Sequence number that new payload is expected to begin with.
    pub next_seq: u32,
    /// Whether `next_seq` means something.
    pub known: u32,
    /// Bytes of the current message that may still be copied.
    pub left: u32,
    pub pad: u32,
}

impl Way {
    const NEW: Self = Self { offset: 0, time_ns: 0, next_seq: 0, known: 0, left: 0, pad: 0 };
}

/// No task is known.
pub const NOBODY: TaskId = TaskId { tid: 0, tgid: 0 };

/// No direction has sent payload yet, see [`State::turn`].
pub const NO_TURN: u32 = 0;
/// Payload was last sent by this end.
pub const TURN_OUT: u32 = 1;
/// Payload was last received.
pub const TURN_IN: u32 = 2;

/// A socket's state. All zero is a socket that was never seen.
#[repr(C)]
pub struct State {
    pub cookie: u64,
    pub connect_ns: u64,
    pub established_ns: u64,
    pub reported_ns: u64,
    pub sent: Way,
    pub received: Way,
    pub opener: TaskId,
    pub sender: TaskId,
    pub reader: TaskId,
    /// [`socket`] flags.
    pub flags: u32,
    /// [`Mode`].
    pub mode: u32,
    pub local_first_seq: u32,
    pub remote_first_seq: u32,
    /// Which way payload went last.
    pub turn: u32,
    /// The newest order when the socket last asked for its own.
    pub order: u32,
    pub pad: u32,
    /// Whether the process that uses the socket was looked up among the deselected.
    pub chosen: u32,
}

/// The socket's state, made if it is not there. `None` if there is no memory for it, or the socket is not a full one.
///
/// `sk` must be a pointer that the verifier trusts as a socket: from the context of a packet program, or an argument of
/// a typed tracepoint.
#[inline(always)]
pub fn of<T>(sk: *const T) -> Option<&'static mut State> {
    // SAFETY: the verifier checks the pointer; the storage lives at least as long as the socket, which our caller holds.
    let state = unsafe { get(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE)) };
    if state.is_none() {
        count(Counter::NoStorage);
    }
    state
}

/// The socket's state if it was seen before.
#[inline(always)]
pub fn known<T>(sk: *const T) -> Option<&'static mut State> {
    // SAFETY: as in `of`.
    unsafe { get(sk, 0) }
}

#[inline(always)]
unsafe fn get<T>(sk: *const T, flags: u64) -> Option<&'static mut State> {
    let map = (&raw const STATES).cast_mut().cast();
    // SAFETY: the caller's pointer, our map.
    let state = unsafe { bpf_sk_storage_get(map, sk.cast_mut().cast(), core::ptr::null_mut(), flags) };
    // SAFETY: null or a value of the map's type. Two CPUs may write to it at once (one sends while the other receives);
    // they write to different fields but for `turn`, where either answer is right.
    unsafe { state.cast::<State>().as_mut() }
}

impl State {
    /// A socket that was never seen.
    pub const NEW: Self = Self {
        cookie: 0,
        connect_ns: 0,
        established_ns: 0,
        reported_ns: 0,
        sent: Way::NEW,
        received: Way::NEW,
        opener: NOBODY,
        sender: NOBODY,
        reader: NOBODY,
        flags: 0,
        mode: Mode::Probe as u32,
        local_first_seq: 0,
        remote_first_seq: 0,
        turn: NO_TURN,
        order: 0,
        pad: 0,
        chosen: 0,
    };

    /// Notes who uses the socket; if the user does not want to see them, the socket goes off. Done once per socket.
    #[inline(always)]
    pub fn choose(&mut self, task: TaskId) {
        if self.chosen != 0 || task.tgid == 0 {
            return;
        }
        self.chosen = 1;
        if task.tgid == setting!(own_tgid) {
            self.flags |= socket::SELF;
            self.mode = Mode::Off as u32;
        } else if DESELECTED.get_ptr(task.tgid).is_some() {
            self.mode = Mode::Off as u32;
        }
    }

    /// Takes over the capture mode that the agent ordered, if it gave an order since we last asked.
    ///
    /// Asking for this socket's order costs a look-up in a hash; that there is anything new at all, next to nothing.
    #[inline(always)]
    pub fn obey(&mut self) {
        let Some(newest) = NEWEST_ORDER.get(0) else { return };
        // SAFETY: a live map value that the agent counts up; a stale value only delays the order by a packet.
        let newest = unsafe { core::ptr::read_volatile(newest) };
        if newest == self.order {
            return;
        }
        self.order = newest;
        if let Some(mode) = ORDERS.get_ptr(self.cookie) {
            // SAFETY: a live map value; at worst another order's mode is read, which a later order mends.
            self.mode = unsafe { *mode };
        }
    }

    /// Bytes to copy of a message that goes this way.
    #[inline(always)]
    pub fn budget(&self, egress: bool) -> u32 {
        let asks = if self.flags & socket::ACTIVE != 0 {
            egress
        } else if self.flags & socket::PASSIVE != 0 {
            !egress
        } else {
            true
        };
        if asks { setting!(request_head_bytes) } else { setting!(response_head_bytes) }
    }
}

/// The state of a packet program's full socket, made with its cookie if it is not there.
#[inline(always)]
pub fn of_packet(sk: *mut bpf_sock, cookie: impl FnOnce() -> u64) -> Option<&'static mut State> {
    let state = of(sk)?;
    if state.cookie == 0 {
        state.cookie = cookie();
    }
    Some(state)
}

/// The state of a tracepoint's socket, made with its cookie if it is not there.
#[inline(always)]
pub fn of_traced(sk: kernel::Sock) -> Option<&'static mut State> {
    let state = of(sk.0)?;
    if state.cookie == 0 {
        state.cookie = sk.cookie();
    }
    Some(state)
}
