//! Payload that was seen at a listening socket, before its connection existed: TCP fast open, and data on the ACK that
//! ends the handshake (the rule with `TCP_DEFER_ACCEPT`). It waits here for the connection that opens.

use std::collections::VecDeque;

use foldhash::HashMap;
use wirespan_common::record::{Endpoint, Segment, segment};

use super::Nanos;

/// Payloads kept at once. They wait for microseconds, so this is enough for millions of connections a second.
const MAX_ORPHANS: usize = 1_024;
/// Bytes kept at once: 512 payloads of which all that is ever copied (8 KiB) was copied.
const MAX_BYTES: usize = 4 << 20;
/// How long a payload waits. The connection opens within microseconds, or (lost record) never.
const MAX_AGE_NS: u64 = 2_000_000_000;
/// How far into a stream such payload may lie: a handshake's receive window is not scaled, so this is its largest.
const WINDOW_BYTES: u32 = 65_536;

/// A payload whose connection is not known yet.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) segment: Segment,
    /// Head and tail, one after the other.
    pub(super) copied: Box<[u8]>,
}

type Ends = (Endpoint, Endpoint);

/// All that wait. Endpoints are not unique across network namespaces, so several connections may share a key.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    by_ends: HashMap<Ends, Vec<Orphan>>,
    /// In the order of arrival; an entry whose payload has been taken is stale and ignored.
    order: VecDeque<(Nanos, Ends)>,
    bytes: usize,
}

impl Orphans {
    pub(super) fn is_empty(&self) -> bool {
        self.by_ends.is_empty()
    }

    /// Keeps a payload. Gives back how many had to go for it.
    pub(super) fn keep(&mut self, segment: &Segment, head: &[u8], tail: &[u8]) -> usize {
        let bytes = head.len() + tail.len();
        if bytes > MAX_BYTES {
            return 1;
        }
        let mut gone = 0;
        while self.order.len() >= MAX_ORPHANS || self.bytes + bytes > MAX_BYTES {
            gone += self.drop_first();
        }
        self.bytes += bytes;
        let ends = (segment.local, segment.remote);
        self.order.push_back((Nanos(segment.header.time_ns), ends));
        let orphan = Orphan { segment: *segment, copied: [head, tail].concat().into_boxed_slice() };
        self.by_ends.entry(ends).or_default().push(orphan);
        gone
    }

    /// Takes the earliest payload of the stream whose first byte has sequence number `base`, with its stream offset.
    pub(super) fn take(&mut self, local: Endpoint, remote: Endpoint, base: u32) -> Option<(u64, Orphan)> {
        let waiting = self.by_ends.get_mut(&(local, remote))?;
        let (at, offset) = waiting
            .iter()
            .map(|orphan| orphan.segment.seq.wrapping_sub(base))
            .enumerate()
            .filter(|&(_, offset)| offset < WINDOW_BYTES)
            .min_by_key(|&(_, offset)| offset)?;
        let orphan = waiting.remove(at);
        self.bytes -= orphan.copied.len();
        if waiting.is_empty() {
            self.by_ends.remove(&(local, remote));
        }
        Some((u64::from(offset), orphan))
    }

    /// Gives up what has waited too long. Gives back how many.
    pub(super) fn expire(&mut self, now: Nanos) -> usize {
        let mut gone = 0;
        while self.order.front().is_some_and(|(time, _)| time.0.saturating_add(MAX_AGE_NS) <= now.0) {
            gone += self.drop_first();
        }
        gone
    }

    /// Drops the payload that came first, unless it has been taken.
    fn drop_first(&mut self) -> usize {
        let Some((time, ends)) = self.order.pop_front() else { return 0 };
        let Some(waiting) = self.by_ends.get_mut(&ends) else { return 0 };
        let before = waiting.len();
        if let Some(at) = waiting.iter().position(|orphan| orphan.segment.header.time_ns == time.0) {
            self.bytes -= waiting.remove(at).copied.len();
        }
        let gone = before - waiting.len();
        if waiting.is_empty() {
            self.by_ends.remove(&ends);
        }
        gone
    }
}

impl Orphan {
    /// The first and the last bytes of the payload.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        self.copied.split_at((self.segment.captured as usize).min(self.copied.len()))
    }

    /// Whether it begins a message.
    pub(super) fn turn(&self) -> bool {
        self.segment.flags & segment::TURN != 0
    }

    /// Whether the direction ends after it.
    pub(super) fn fin(&self) -> bool {
        self.segment.flags & segment::FIN != 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::build;
    use super::*;

    fn orphan(seq: u32, time: u64) -> Segment {
        build::seg(0).at(0, b"hello").seq(seq).time(time).flags(segment::LISTENER).segment
    }

    #[test]
    fn only_the_stream_that_the_sequence_number_fits_gets_it() {
        let mut orphans = Orphans::default();
        let segment = orphan(2, 0);
        orphans.keep(&segment, b"hello", b"");
        assert!(orphans.take(segment.local, segment.remote, 3).is_none(), "before the stream");
        assert!(orphans.take(segment.local, segment.remote, 2u32.wrapping_sub(WINDOW_BYTES)).is_none(), "too far");
        assert!(orphans.take(segment.remote, segment.local, 2).is_none(), "other ends");
        let (offset, taken) = orphans.take(segment.local, segment.remote, u32::MAX - 1).unwrap();
        assert_eq!((offset, taken.parts().0), (4, &b"hello"[..]));
        assert!(orphans.is_empty());
        assert_eq!(orphans.bytes, 0);
    }

    #[test]
    fn they_are_bounded_in_number_and_age() {
        let mut orphans = Orphans::default();
        let gone: usize =
            (0..2 * MAX_ORPHANS as u32).map(|n| orphans.keep(&orphan(n, u64::from(n)), b"hello", b"")).sum();
        assert_eq!(gone, MAX_ORPHANS);
        assert_eq!(orphans.expire(Nanos(MAX_AGE_NS + MAX_ORPHANS as u64)), 1);
        assert_eq!(orphans.expire(Nanos(u64::MAX)), MAX_ORPHANS - 1);
        assert!(orphans.is_empty());
        assert_eq!(orphans.bytes, 0);

        let large = vec![0; MAX_BYTES / 2];
        let gone: usize = (0..3).map(|n| orphans.keep(&orphan(n, 0), &large, b"")).sum();
        assert_eq!((gone, orphans.bytes), (1, MAX_BYTES));
    }
}
