//! Packets: payload, sequence numbers and wire time of both directions, at the root of cgroup v2.
//!
//! The decision here is only how much to copy. What is old (retransmissions, keep-alive and window probes) ends early.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_skb_load_bytes, bpf_tcp_sock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use wirespan_common::{
    count::Counter,
    mode::Mode,
    record::{MAX_HEAD_BYTES, Segment, TAIL_BYTES, segment, socket},
};

use crate::{
    counted::{is_passed_over, is_time_to_report},
    emit::{Payload, emit_segment},
    kernel,
    maps::count,
    packet::{FIN, PSH, Packet, SYN, headers},
    socket::LISTEN,
    state::{self, NOBODY, State, hole, other, progress, way},
};

/// Let the packet pass, always.
const PASS: i32 = 1;

#[cgroup_skb]
pub fn egress(ctx: SkBuffContext) -> i32 {
    let _ = packet::<true>(ctx.as_ptr().cast());
    PASS
}

#[cgroup_skb]
pub fn ingress(ctx: SkBuffContext) -> i32 {
    let _ = packet::<false>(ctx.as_ptr().cast());
    PASS
}

/// What is new in a segment.
struct New {
    /// Payload bytes at its beginning that were seen before.
    skip: u32,
    len: u32,
    seq: u32,
    offset: u64,
    flags: u32,
    /// It is, or may be, the part of a message that was to be copied, and others have overtaken it.
    fills: bool,
}

#[inline(always)]
fn packet<const EGRESS: bool>(skb: *mut __sk_buff) -> Option<()> {
    // SAFETY: the context of a packet program; the verifier checks each field.
    let sk = unsafe { (*skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: not null, from the context.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    // SAFETY: null is checked first; the verifier knows the rest.
    if sk.is_null() || unsafe { (*sk).protocol } != u32::from(kernel::TCP) {
        return None;
    }
    let packet = headers::<EGRESS>(skb)?;
    if packet.len == 0 && packet.flags & (SYN | FIN) == 0 {
        // An acknowledgement: half of the packets of a download. To find the socket's state would cost more than all before.
        return None;
    }
    // SAFETY: the context of a packet program.
    let cookie = || unsafe { bpf_get_socket_cookie(skb.cast()) };
    let mut seen = state::seen_by_packet(sk, cookie);
    // Of a socket that is not recorded only our own SYN is of interest, see below.
    if let Some(state) = &mut seen
        && (!EGRESS || state.sent.known != 0)
        && state.stays_off()
    {
        return None;
    }
    if let Some(state) = &seen
        && is_passed_over::<EGRESS>(state, &packet)
    {
        return None;
    }
    // SAFETY: a full socket.
    if unsafe { (*sk).state } == LISTEN as u32 {
        if packet.len > 0 {
            at_listener(skb, &packet);
        }
        return None;
    }
    let state = match seen {
        Some(state) => state,
        None => state::of_packet(sk, cookie)?,
    };
    if packet.flags & SYN != 0 {
        // Our own SYN; a SYN with payload (fast open) counts its payload from the next sequence number on. Also for sockets
        // that are not recorded: the opening of the agent's own is, and says where they begin.
        if EGRESS && state.sent.known == 0 {
            state.sent.begin(packet.seq.wrapping_add(1));
        }
        if packet.len == 0 {
            return None;
        }
    }
    if state.is_off() {
        return None;
    }
    state.obey();
    // The order may be older than the selection.
    if state.stays_off() {
        return None;
    }
    segment::<EGRESS>(skb, sk, state, &packet)
}

/// Payload on a connection.
#[inline(always)]
fn segment<const EGRESS: bool>(
    skb: *mut __sk_buff,
    sk: *mut bpf_sock,
    state: &mut State,
    packet: &Packet,
) -> Option<()> {
    let new = advance::<EGRESS>(sk, state, packet)?;
    let fin = packet.flags & FIN != 0;
    let mut flags = new.flags | if EGRESS { segment::EGRESS } else { 0 };
    if packet.flags & SYN != 0 {
        flags |= segment::SYN | segment::FROM_START;
    }
    if new.len > 0 && way::<EGRESS>(state).last == 0 {
        way::<EGRESS>(state).last = 1;
        other::<EGRESS>(state).last = 0;
        flags |= segment::TURN;
        let budget = state.budget(EGRESS);
        way::<EGRESS>(state).left = budget;
    }
    if !EGRESS && new.flags & segment::AHEAD != 0 && state.response_bytes != 0 {
        // What overtakes a head must not use up the little that is left for it.
        state.response_bytes = 0;
        let budget = state.budget(EGRESS);
        way::<EGRESS>(state).left = budget;
    }
    let (captured, tail) = if state.mode >= Mode::Shed as u16 {
        if !is_time_to_report::<EGRESS>(state, new.len) {
            return None;
        }
        // A segment record without payload carries both offsets and times: it is a report.
        (0, 0)
    } else {
        // What overtook a head has used up what may be copied, and was not what it was meant for.
        let captured = if new.fills {
            new.len.min(state.budget(EGRESS))
        } else {
            let captured = new.len.min(way::<EGRESS>(state).left);
            way::<EGRESS>(state).left -= captured;
            captured
        };
        if captured == 0 && packet.flags & PSH == 0 && !fin {
            // In the middle of a body. The next record shows how much there was.
            way::<EGRESS>(state).time_ns = kernel::now();
            return None;
        }
        if fin {
            flags |= segment::FIN;
        }
        (captured.min(MAX_HEAD_BYTES), (new.len - captured).min(TAIL_BYTES))
    };
    let capture = Capture { skb, state: Some(state), packet, new: &new, flags, captured, tail };
    let now = emit_segment(captured, tail, capture);
    if new.len > 0 {
        way::<EGRESS>(state).time_ns = now;
    }
    Some(())
}

/// Moves the direction on by what is new in the segment. `None` if nothing is and no FIN comes with it.
#[inline(always)]
fn advance<const EGRESS: bool>(sk: *mut bpf_sock, state: &mut State, packet: &Packet) -> Option<New> {
    let fin = packet.flags & FIN != 0;
    // A SYN takes one sequence number before its payload.
    let seq = if packet.flags & SYN != 0 { packet.seq.wrapping_add(1) } else { packet.seq };
    let is_copied = state.mode < Mode::Shed as u16;
    let way = way::<EGRESS>(state);
    if way.known == progress::UNKNOWN {
        way.begin(seq);
    }
    // Without a branch, which would make the verifier go twice through all that follows.
    way.known |= u16::from(packet.flags & FIN) * progress::ENDED;
    let ahead = seq.wrapping_sub(way.next_seq).cast_signed();
    let end = seq.wrapping_add(packet.len);
    if ahead >= 0 {
        let offset = way.offset + u64::from(ahead as u32);
        let mut flags = 0;
        if !EGRESS && (ahead > 0 || way.hole != hole::NONE) {
            let missing = expected(sk, way.next_seq).wrapping_sub(seq).cast_signed() < 0;
            way.hole = if !missing {
                hole::NONE
            } else if is_copied && (way.last == 0 || (way.hole == hole::NONE && way.left > 0)) {
                hole::HEAD
            } else {
                way.hole.max(hole::BODY)
            };
            if way.hole == hole::HEAD {
                flags |= segment::AHEAD;
            }
        }
        way.next_seq = end;
        way.offset = offset + u64::from(packet.len);
        return Some(New { skip: 0, len: packet.len, seq, offset, flags, fills: false });
    }
    // Behind what was seen: an overlap, a repetition, or what fills a hole.
    let behind = ahead.unsigned_abs();
    if behind < packet.len {
        let offset = way.offset;
        let len = packet.len - behind;
        way.offset += u64::from(len);
        let seq = way.next_seq;
        way.next_seq = end;
        return Some(New { skip: behind, len, seq, offset, flags: 0, fills: false });
    }
    if !EGRESS && packet.len > 0 {
        let expected = expected(sk, way.next_seq);
        let missing = end.wrapping_sub(expected).cast_signed();
        if missing > 0 && expected != way.next_seq {
            let len = (missing as u32).min(packet.len);
            let skip = packet.len - len;
            let seq = seq.wrapping_add(skip);
            let offset = way.offset.wrapping_sub(u64::from(way.next_seq.wrapping_sub(seq)));
            let fills = way.hole == hole::HEAD;
            return Some(New { skip, len, seq, offset, flags: if fills { segment::AHEAD } else { 0 }, fills });
        }
    }
    // A keep-alive or window probe, or a repeated FIN: of no interest. A first FIN stands right at the end.
    (fin && end == way.next_seq).then_some(New {
        skip: 0,
        len: 0,
        seq: end,
        offset: way.offset,
        flags: 0,
        fills: false,
    })
}

/// What the socket expects next from its peer.
#[inline(always)]
fn expected(sk: *mut bpf_sock, otherwise: u32) -> u32 {
    // SAFETY: a full TCP socket.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return otherwise;
    }
    // SAFETY: not null.
    unsafe { (*tcp).rcv_nxt }
}

/// Payload on the last packet of a handshake, or on a SYN: the connection's socket does not exist yet.
#[inline(always)]
fn at_listener(skb: *mut __sk_buff, packet: &Packet) {
    let syn = packet.flags & SYN != 0;
    let seq = if syn { packet.seq.wrapping_add(1) } else { packet.seq };
    let new = New { skip: 0, len: packet.len, seq, offset: 0, flags: 0, fills: false };
    let mut flags = segment::LISTENER | segment::TURN | segment::PASSIVE;
    if syn {
        flags |= segment::SYN;
    }
    if packet.flags & FIN != 0 {
        flags |= segment::FIN;
    }
    let captured = packet.len.min(1024);
    let tail = (packet.len - captured).min(TAIL_BYTES);
    let capture = Capture { skb, state: None, packet, new: &new, flags, captured, tail };
    emit_segment(captured, tail, capture);
}

/// What a segment record is made of.
#[derive(Clone, Copy)]
struct Capture<'a> {
    skb: *mut __sk_buff,
    /// `None` at a listening socket.
    state: Option<&'a State>,
    packet: &'a Packet,
    new: &'a New,
    flags: u32,
    captured: u32,
    tail: u32,
}

impl Payload for Capture<'_> {
    #[inline(always)]
    unsafe fn write<const MAX: usize>(self, record: *mut Segment) -> u32 {
        let Self { skb, state, packet, new, mut flags, .. } = self;
        if let Some(state) = state {
            // The flags of a connection have other places in a segment's flags.
            if state.flags & socket::FROM_START != 0 {
                flags |= segment::FROM_START;
            }
            if state.flags & socket::ACTIVE != 0 {
                flags |= segment::ACTIVE;
            }
            if state.flags & socket::PASSIVE != 0 {
                flags |= segment::PASSIVE;
            }
            if state.flags & socket::AGAIN != 0 {
                flags |= segment::AGAIN;
            }
        }
        let begin = packet.payload_at + new.skip;
        // SAFETY: the record is ours; the copies stay within its payload, and the helper checks them against the packet.
        let (captured, tail) = unsafe {
            let bytes = record.add(1).cast::<u8>();
            let captured = if MAX == 0 { 0 } else { copy::<MAX>(skb, begin, bytes, self.captured) };
            let at_end = begin + new.len - self.tail;
            let to = bytes.add(captured as usize & CLASS_MASK);
            (captured, copy::<{ TAIL_BYTES as usize }>(skb, at_end, to, self.tail))
        };
        // SAFETY: as above.
        unsafe {
            if let Some(state) = state {
                let other = if flags & segment::EGRESS != 0 { &state.received } else { &state.sent };
                (*record).cookie = state.cookie;
                (*record).peer_time_ns = other.time_ns;
                (*record).peer_offset = other.offset;
                // What the other end has sent is acknowledged, also where nothing of it was seen.
                (*record).peer_next_seq = if other.known == 0 { packet.ack } else { other.next_seq };
                (*record).sender = state.sender;
                (*record).reader = state.reader;
            } else {
                (*record).cookie = 0;
                (*record).peer_time_ns = 0;
                (*record).peer_offset = 0;
                (*record).peer_next_seq = packet.ack;
                (*record).sender = NOBODY;
                (*record).reader = NOBODY;
            }
            (*record).offset = new.offset;
            packet.local.write(&raw mut (*record).local);
            packet.remote.write(&raw mut (*record).remote);
            (*record).seq = new.seq;
            (*record).len = new.len;
            (*record).captured = captured;
            (*record).tail = tail;
            (*record).flags = flags;
        }
        size_of::<Segment>() as u32 + captured + tail
    }
}

/// Bounds where a tail may begin, for the verifier.
const CLASS_MASK: usize = 16_383;

/// Copies `len` (at most `MAX`, a power of two) bytes of the packet. How many were copied: all or none.
///
/// # Safety
/// `to` must have room for `MAX` bytes.
#[inline(always)]
unsafe fn copy<const MAX: usize>(skb: *mut __sk_buff, at: u32, to: *mut u8, len: u32) -> u32 {
    if len == 0 {
        return 0;
    }
    // The verifier wants to see that this is between 1 and MAX.
    let bounded = (core::hint::black_box(len - 1) & (MAX as u32 - 1)) + 1;
    // SAFETY: the caller's room; the helper checks the packet's bounds.
    if unsafe { bpf_skb_load_bytes(skb.cast(), at, to.cast(), bounded) } == 0 {
        bounded
    } else {
        count(Counter::CopyFailed);
        0
    }
}
