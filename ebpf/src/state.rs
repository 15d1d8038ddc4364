//! What is remembered per socket.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::{LruHashMap, SkStorage},
    helpers::generated::bpf_sk_storage_get,
    macros::btf_map,
};
use wirespan_common::{
    count::Counter,
    link::{Goroutines, Linked, evidence},
    mode::{Mode, Order},
    record::{TaskId, socket},
};

use crate::{
    kernel::Sock,
    maps::{DESELECTED, LINKED, NEWEST_LINK, NEWEST_ORDER, NEWEST_SELECTION, ORDERS, count},
    settings::setting,
};

/// Sockets remembered where socket storage can't be used; the least recently used go first. About 300 bytes each.
const MAX_STATES: usize = 65_536;

/// What is remembered per socket; goes with the socket.
#[btf_map]
static STATES: SkStorage<State> = SkStorage::new();

/// The same by cookie, where tracing programs can't use socket storage. The agent gives it one entry elsewhere.
#[btf_map]
static STATES_BY_COOKIE: LruHashMap<u64, State, MAX_STATES> = LruHashMap::new();

/// One direction of a connection. 32 bytes.
#[repr(C)]
pub struct Way {
    /// Payload bytes before `next_seq`, since the connection began or since we first saw it.
    pub offset: u64,
    /// When the last new byte passed; 0 for never.
    pub time_ns: u64,
    /// Sequence number that new payload is expected to begin with.
    pub next_seq: u32,
    /// Bytes of the current message that may still be copied.
    pub left: u32,
    /// Whether `next_seq` means something, as [`progress`].
    pub known: u16,
    /// What is missing before `next_seq`, as a [`hole`].
    pub hole: u16,
    /// Whether payload passed this way last.
    pub last: u32,
}

impl Way {
    const NEW: Self = Self { offset: 0, time_ns: 0, next_seq: 0, left: 0, known: 0, hole: 0, last: 0 };
}

/// How far a direction has got.
pub mod progress {
    /// That is not known.
    pub const UNKNOWN: u16 = 0;
    /// It goes on.
    pub const OPEN: u16 = 1;
    /// Its FIN was seen, a bit beside the other.
    pub const ENDED: u16 = 2;
}

/// What is missing of a direction because others overtook it. It comes again, unless the connection ends.
pub mod hole {
    /// Nothing.
    pub const NONE: u16 = 0;
    /// Bytes that would not have been copied: there is nothing to wait for.
    pub const BODY: u16 = 1;
    /// Bytes of which some would have been copied.
    pub const HEAD: u16 = 2;
}

/// No task is known.
pub const NOBODY: TaskId = TaskId { tid: 0, tgid: 0 };

/// A socket's state. All zero is a socket that was never seen.
///
/// The two ends of a socket's work, sending tasks and arriving packets, are often on two CPUs, and every line of the cache
/// that one of them writes costs the other 50 to 100 ns. So what packets write fills one line, and what is only read in
/// steady state another. Socket storage begins 8 bytes into a line.
#[repr(C)]
pub struct State {
    // First line: read by every program, written when something changes.
    pub cookie: u64,
    pub sender: TaskId,
    pub reader: TaskId,
    /// [`socket`] flags.
    pub flags: u32,
    /// [`Mode`].
    pub mode: u16,
    /// Bytes to copy of each message of the end that accepted the connection; 0 for as many as the settings say.
    pub response_bytes: u16,
    /// The newest order when the socket last asked for its own.
    pub order: u32,
    /// The number of the selection by which the socket is recorded or not, plus one; 0 as long as its process is not known.
    pub chosen: u32,
    /// The kernel's tick when the clock was read last for what was sent, of a connection that is only counted.
    pub sent_tick: u32,
    /// The same for what was received.
    pub received_tick: u32,
    pub opener: TaskId,
    // Second line: written by every packet.
    pub sent: Way,
    pub received: Way,
    // Third line: now and then, and when the connection opens and closes.
    pub reported_ns: u64,
    pub connect_ns: u64,
    pub established_ns: u64,
    pub local_first_seq: u32,
    pub remote_first_seq: u32,
    /// Whether it was told who took the message that is being received. Only tasks touch this, and each change of mode.
    pub took: u32,
    /// The newest change of [`LINKED`] when the socket last asked for its process.
    pub newest_link: u32,
    /// The process that it asked for.
    pub linked_tgid: u32,
    /// Where that process keeps its goroutines, if it is to be told which of them use the socket.
    pub go: Goroutines,
    pub pad: u32,
    /// The goroutine of which it was told last that it sends.
    pub told_goid: u64,
}

const _: () = assert!(core::mem::offset_of!(State, sent) == 56 && core::mem::offset_of!(State, reported_ns) == 56 + 64);

/// A packet program's state of a full socket, made if it is not there. `None` if there is no memory for it.
#[inline(always)]
pub fn of_packet(sk: *mut bpf_sock, cookie: impl Fn() -> u64) -> Option<&'static mut State> {
    if setting!(states_by_cookie) != 0 {
        return by_cookie(cookie(), true);
    }
    let state = stored(sk, true)?;
    if state.cookie == 0 {
        state.cookie = cookie();
    }
    Some(state)
}

/// A packet program's state of a full socket that was seen before.
#[inline(always)]
pub fn seen_by_packet(sk: *mut bpf_sock, cookie: impl Fn() -> u64) -> Option<&'static mut State> {
    let state = if setting!(states_by_cookie) != 0 { by_cookie(cookie(), false) } else { stored(sk, false) };
    // Made by a tracing program before the socket had a cookie, or by nobody yet.
    state.filter(|state| state.cookie != 0)
}

/// A tracing program's state of a socket, made if it is not there. `None` if there is no memory for it, or it is not a
/// full socket.
#[inline(always)]
pub fn of_traced(sk: Sock) -> Option<&'static mut State> {
    of_packet(sk.0.cast_mut(), || sk.cookie())
}

/// A tracing program's state of a socket that was seen before.
#[inline(always)]
pub fn known(sk: Sock) -> Option<&'static mut State> {
    if setting!(states_by_cookie) != 0 { by_cookie(sk.cookie(), false) } else { stored(sk.0, false) }
}

/// From socket storage. `sk` is a pointer that the verifier trusts as a socket: from the context of a packet program, or
/// an argument of a typed tracepoint.
#[inline(always)]
fn stored(sk: *const bpf_sock, create: bool) -> Option<&'static mut State> {
    let map = (&raw const STATES).cast_mut().cast();
    let flags = if create { u64::from(BPF_SK_STORAGE_GET_F_CREATE) } else { 0 };
    // SAFETY: the verifier checks the pointer; the map is ours. The storage lives as long as the socket, which our caller
    // holds.
    let state = unsafe { bpf_sk_storage_get(map, sk.cast_mut().cast(), core::ptr::null_mut(), flags) };
    if create && state.is_null() {
        count(Counter::NoStorage);
    }
    // SAFETY: null or a value of the map's type. Two CPUs may write to it at once (one sends while the other receives);
    // they write to different fields but for `last` of a way, where either answer is right.
    unsafe { state.cast::<State>().as_mut() }
}

#[inline(always)]
fn by_cookie(cookie: u64, create: bool) -> Option<&'static mut State> {
    if cookie == 0 {
        return None;
    }
    let mut state = STATES_BY_COOKIE.get_ptr_mut(cookie);
    if create && state.is_none() {
        // If another CPU was faster, its entry is as good.
        let _ = STATES_BY_COOKIE.insert(cookie, &NEW, u64::from(BPF_NOEXIST));
        state = STATES_BY_COOKIE.get_ptr_mut(cookie);
        match state {
            // SAFETY: as in `stored`.
            Some(state) => unsafe { (*state).cookie = cookie },
            None => count(Counter::NoStorage),
        }
    }
    // SAFETY: as in `stored`; an entry that is evicted meanwhile is another's or nobody's, which costs one wrong record.
    state.and_then(|state| unsafe { state.as_mut() })
}

/// What a new entry of the hash begins with; too large for a program's stack.
static NEW: State = State::NEW;

#[inline(always)]
fn newest_selection() -> u32 {
    // SAFETY: a live map value that the agent counts up; a stale value only delays another look.
    NEWEST_SELECTION.get(0).map_or(0, |newest| unsafe { core::ptr::read_volatile(newest) })
}

impl State {
    /// A socket that was never seen.
    pub const NEW: Self = Self {
        cookie: 0,
        sender: NOBODY,
        reader: NOBODY,
        flags: 0,
        mode: Mode::Probe as u16,
        response_bytes: 0,
        order: 0,
        chosen: 0,
        sent_tick: 0,
        received_tick: 0,
        opener: NOBODY,
        reported_ns: 0,
        sent: Way::NEW,
        received: Way::NEW,
        connect_ns: 0,
        established_ns: 0,
        local_first_seq: 0,
        remote_first_seq: 0,
        took: 0,
        newest_link: 0,
        linked_tgid: 0,
        go: Goroutines { g_below: 0, goid_at: 0, parent_goid_at: 0, pad: 0 },
        pad: 0,
        told_goid: 0,
    };

    /// Whether this socket is not recorded.
    #[inline(always)]
    pub fn is_off(&self) -> bool {
        self.mode >= Mode::Unselected as u16
    }

    /// Notes who uses the socket; if the user does not want to see them, it is not recorded. Done once per socket.
    #[inline(always)]
    pub fn choose(&mut self, task: TaskId) {
        if self.chosen != 0 || task.tgid == 0 {
            return;
        }
        self.chosen = newest_selection().wrapping_add(1);
        if task.tgid == setting!(own_tgid) {
            self.flags |= socket::SELF;
            self.mode = Mode::Off as u16;
        } else if DESELECTED.get_ptr(task.tgid).is_some() {
            self.mode = Mode::Unselected as u16;
        }
    }

    /// Whether the socket is not recorded now, after another look at the selection if that has changed.
    ///
    /// What passed meanwhile is not known: everything begins anew, but for which end opened the connection.
    #[inline(always)]
    pub fn stays_off(&mut self) -> bool {
        if self.mode != Mode::Unselected as u16 {
            return self.mode == Mode::Off as u16;
        }
        let newest = newest_selection().wrapping_add(1);
        if self.chosen == newest {
            return true;
        }
        self.chosen = newest;
        let tgid = if self.reader.tgid != 0 { self.reader.tgid } else { self.sender.tgid };
        let tgid = if tgid != 0 { tgid } else { self.opener.tgid };
        if DESELECTED.get_ptr(tgid).is_some() {
            return true;
        }
        // The agent may have ordered it not to be recorded when it was not already.
        let _gone = ORDERS.remove(self.cookie);
        self.flags = (self.flags & !socket::FROM_START) ^ socket::AGAIN;
        (self.sent, self.received) = (Way::NEW, Way::NEW);
        (self.mode, self.response_bytes, self.took) = (Mode::Probe as u16, 0, 0);
        false
    }

    /// Takes over what the agent ordered, if it gave an order since we last asked.
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
        if let Some(order) = ORDERS.get_ptr(self.cookie) {
            // SAFETY: a live map value; at worst another socket's order is read, which a later order mends.
            let (mode, response_bytes) = Order::halves(unsafe { *order });
            if mode != self.mode {
                // Nobody kept these up to date while they were not to be told.
                self.took = 0;
                if self.mode == Mode::Shed as u16 {
                    (self.sent.last, self.received.last) = (0, 0);
                }
            }
            (self.mode, self.response_bytes) = (mode, response_bytes);
            if mode == Mode::Unselected as u16 {
                // Until the selection is another than that one; the order must not hold any longer.
                self.chosen = (newest_selection() & 0xffff_0000 | u32::from(response_bytes)).wrapping_add(1);
                let _gone = ORDERS.remove(self.cookie);
            }
        }
    }

    /// Where the process of this task keeps its goroutines, if it is to be told which of them use its sockets.
    ///
    /// As in `obey`, asking costs a look-up in a hash; that there is nothing new to ask for, next to nothing.
    #[inline(always)]
    pub fn goroutines(&mut self, task: TaskId) -> Option<Goroutines> {
        // SAFETY: as in `obey`.
        let newest = unsafe { core::ptr::read_volatile(NEWEST_LINK.get(0)?) };
        if newest != self.newest_link || task.tgid != self.linked_tgid {
            self.newest_link = newest;
            self.linked_tgid = task.tgid;
            self.go = Goroutines::default();
            if let Some(linked) = LINKED.get_ptr(task.tgid) {
                // SAFETY: a live map value; one that is removed meanwhile is still memory of the map.
                let Linked { flags, go } = unsafe { *linked };
                if flags & evidence::ROUTINES != 0 {
                    self.go = go;
                }
            }
        }
        (self.go.g_below != 0).then_some(self.go)
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
        if asks {
            setting!(request_head_bytes)
        } else if self.response_bytes != 0 {
            u32::from(self.response_bytes)
        } else {
            setting!(response_head_bytes)
        }
    }
}

/// The direction in which a packet goes.
#[inline(always)]
pub fn way<const EGRESS: bool>(state: &mut State) -> &mut Way {
    if EGRESS { &mut state.sent } else { &mut state.received }
}

/// The other one.
#[inline(always)]
pub fn other<const EGRESS: bool>(state: &mut State) -> &mut Way {
    if EGRESS { &mut state.received } else { &mut state.sent }
}
