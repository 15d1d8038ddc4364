//! The life of connections: state changes and resets.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use wirespan_common::{
    mode::Mode,
    record::{Socket as Record, kind, reason, socket},
};

use crate::{
    emit::emit,
    kernel::{self, Sock},
    state::{self, State, Way, progress},
};

// TCP states, include/net/tcp_states.h.
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const SYN_RECV: i32 = 3;
const FIN_WAIT1: i32 = 4;
const TIME_WAIT: i32 = 6;
const CLOSE: i32 = 7;
const CLOSE_WAIT: i32 = 8;
const LAST_ACK: i32 = 9;
/// Also what `bpf_sock.state` says of a listener.
pub const LISTEN: i32 = 10;
const CLOSING: i32 = 11;

/// `inet_sock_set_state(sk, oldstate, newstate)`
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn state_change(ctx: BtfTracePointContext) -> i32 {
    let Some(sk) = Sock::argument(&ctx, 0) else { return 0 };
    if !sk.is_tcp() {
        return 0;
    }
    let (old, new) = (kernel::number(&ctx, 1), kernel::number(&ctx, 2));
    match new {
        SYN_SENT => begins(sk),
        ESTABLISHED => established(sk, old),
        FIN_WAIT1 => closes_first(sk, socket::LOCAL_CLOSED_FIRST),
        CLOSE_WAIT => closes_first(sk, socket::REMOTE_CLOSED_FIRST),
        CLOSE => closed(sk, old),
        LISTEN => {
            if let Some(state) = state::of_traced(sk) {
                state.opener = kernel::current();
                record(sk, state, reason::LISTEN, 0);
            }
        }
        _ => {}
    }
    0
}

/// `connect` was called; runs in the caller's context. The local port is not chosen yet.
#[inline(always)]
fn begins(sk: Sock) {
    let Some(state) = state::of_traced(sk) else { return };
    let task = kernel::current();
    // A socket may be disconnected and used again: everything begins anew, but not its cookie.
    *state =
        State { cookie: state.cookie, connect_ns: kernel::now(), opener: task, flags: socket::ACTIVE, ..State::NEW };
    state.choose(task);
}

#[inline(always)]
fn established(sk: Sock, old: i32) {
    let Some(state) = state::of_traced(sk) else { return };
    let now = kernel::now();
    state.established_ns = now;
    state.flags |= socket::ESTABLISHED;
    if old == SYN_SENT {
        // Known already, but where states are kept by cookie and the socket had none when it began to connect.
        state.flags |= socket::ACTIVE;
    }
    if old == SYN_RECV {
        // Runs in softirq context: who accepts it is known when it is read. With fast open, payload may have passed in
        // both directions already; what was first seen of our direction was then its beginning.
        state.flags |= socket::PASSIVE | socket::FROM_START;
        if state.sent.known == 0 {
            state.sent.begin(sk.snd_nxt());
        }
        state.local_first_seq = state.sent.next_seq.wrapping_sub(state.sent.offset as u32);
        if state.received.known == 0 {
            // Payload of a fast open SYN is counted already, and was seen at the listener.
            let received = sk.bytes_received();
            state.received.begin(sk.rcv_nxt());
            state.received.offset = received;
        }
        state.remote_first_seq = state.received.next_seq.wrapping_sub(state.received.offset as u32);
    } else if state.flags & socket::ACTIVE != 0 && state.sent.known != 0 {
        // Our SYN passed the packet hook and set where we begin; where the other end begins is known now.
        state.flags |= socket::FROM_START;
        state.local_first_seq = state.sent.next_seq.wrapping_sub(state.sent.offset as u32);
        if state.received.known == 0 {
            state.received.begin(sk.rcv_nxt());
        }
        state.remote_first_seq = state.received.next_seq.wrapping_sub(state.received.offset as u32);
    }
    state.reported_ns = now;
    record(sk, state, reason::OPEN, 0);
}

#[inline(always)]
fn closes_first(sk: Sock, flag: u32) {
    if let Some(state) = state::known(sk)
        && state.flags & (socket::LOCAL_CLOSED_FIRST | socket::REMOTE_CLOSED_FIRST) == 0
    {
        state.flags |= flag;
    }
}

#[inline(always)]
fn closed(sk: Sock, old: i32) {
    // An established connection has an end to report, also if nothing was seen of it before: it may be older than the
    // agent and idle, or the kernel left out our run when it was accepted, and no payload ever passed.
    let lived = matches!(old, ESTABLISHED | FIN_WAIT1..=TIME_WAIT | CLOSE_WAIT..=LAST_ACK | CLOSING);
    let Some(state) = (if lived { state::of_traced(sk) } else { state::known(sk) }) else { return };
    if old == LISTEN {
        record(sk, state, reason::UNLISTEN, 0);
        return;
    }
    let seen = lived || state.flags & (socket::ACTIVE | socket::ESTABLISHED) != 0 || state.sent.known != 0;
    if !seen || old == CLOSE {
        return;
    }
    let error = sk.error();
    // The kernel sets the state before it sends a reset of its own accord (unread data, SO_LINGER 0): an established
    // connection that ends without FIN, error or the other's reset was reset here.
    if (old == ESTABLISHED || old == CLOSE_WAIT) && error == 0 && state.flags & socket::RESET_RECEIVED == 0 {
        state.flags |= socket::RESET_SENT;
    }
    if state.mode >= Mode::Shed as u16 {
        state.sent.catch_up(sk.snd_nxt());
        state.received.catch_up(sk.rcv_nxt());
    }
    record(sk, state, reason::CLOSE, error);
    // The socket may be connected again.
    state.flags = 0;
    state.sent.known = 0;
    state.received.known = 0;
}

/// `tcp_send_reset(sk, skb, ..)`: `sk` is null where a reset answers a packet for no socket.
#[btf_tracepoint(function = "tcp_send_reset")]
pub fn reset_sent(ctx: BtfTracePointContext) -> i32 {
    if let Some(state) = Sock::argument(&ctx, 0).and_then(state::known) {
        state.flags |= socket::RESET_SENT;
    }
    0
}

/// `tcp_receive_reset(sk)`
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn reset_received(ctx: BtfTracePointContext) -> i32 {
    if let Some(state) = Sock::argument(&ctx, 0).and_then(state::known) {
        state.flags |= socket::RESET_RECEIVED;
    }
    0
}

#[inline(always)]
fn record(sk: Sock, state: &State, why: u32, error: u32) {
    // The agent's own connections are announced once, so that their other end can be told apart from the rest.
    let own_opening = state.flags & socket::SELF != 0 && why == reason::OPEN;
    if state.is_off() && !own_opening {
        return;
    }
    let (local, remote) = sk.endpoints();
    emit::<Record>(kind::SOCKET, |out| {
        // SAFETY: the slot is ours and large enough for every field.
        unsafe {
            (*out).cookie = state.cookie;
            (*out).connect_ns = state.connect_ns;
            (*out).established_ns = state.established_ns;
            (*out).sent_ns = state.sent.time_ns;
            (*out).received_ns = state.received.time_ns;
            // The kernel's own counters may include the FIN: ours are better where we saw the beginning.
            if state.flags & socket::FROM_START != 0 {
                (*out).bytes_sent = state.sent.offset;
                (*out).bytes_received = state.received.offset;
            } else {
                (*out).bytes_sent = sk.bytes_acked();
                (*out).bytes_received = sk.bytes_received();
            }
            (*out).sent_offset = state.sent.offset;
            (*out).received_offset = state.received.offset;
            (*out).local = local;
            (*out).remote = remote;
            (*out).reason = why;
            (*out).flags = state.flags;
            (*out).error = error;
            (*out).netns = sk.netns();
            (*out).local_first_seq = state.local_first_seq;
            (*out).remote_first_seq = state.remote_first_seq;
            (*out).srtt_us = sk.srtt_us();
            (*out).retransmits = sk.retransmits();
            (*out).opener = state.opener;
            (*out).sender = state.sender;
            (*out).reader = state.reader;
        }
        size_of::<Record>() as u32
    });
}

impl Way {
    /// Counts what was not looked at, up to this sequence number. After a FIN there is nothing.
    #[inline(always)]
    fn catch_up(&mut self, end: u32) {
        let more = end.wrapping_sub(self.next_seq).cast_signed();
        if self.known == progress::OPEN && more > 0 {
            self.offset += u64::from(more.unsigned_abs());
            self.next_seq = end;
        }
    }

    /// Nothing of this direction has passed yet; its first byte will have this sequence number.
    #[inline(always)]
    pub fn begin(&mut self, first_seq: u32) {
        self.next_seq = first_seq;
        self.known = progress::OPEN;
        self.offset = 0;
    }
}
