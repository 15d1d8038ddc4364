//! Raw bytes to records and back: the one place where lengths that came from outside are believed or not.
//!
//! A decoded record borrows its payload from the bytes it was read from; the fixed part is copied, since neither a ring
//! buffer's slot nor a recording promises an alignment.

use wirespan_common::record::{self, Header, kind, reason, segment};
use zerocopy::{FromBytes, IntoBytes};

use super::Nanos;
use super::fact::Fact;

/// One record, as it came from the kernel or from the rim.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    /// New payload of a connection.
    Segment {
        /// The fixed part.
        segment: record::Segment,
        /// The first `captured` bytes of the payload.
        head: &'a [u8],
        /// The last `tail` bytes of the payload.
        tail: &'a [u8],
    },
    /// A socket opened, reports, closed, listens or stopped to listen.
    Socket(record::Socket),
    /// A process was born, became another program or ended; `header.kind` says which.
    Task(record::Task),
    /// A task took from a socket, or gave to it; `header.kind` says which.
    Touch(record::Touch),
    /// A thread made or woke another; `header.kind` says which.
    Relation(record::Relation),
    /// A goroutine and a client connection; `header.kind` says how they are related.
    Routine(record::Routine),
    /// What user space found out.
    Fact {
        /// When.
        time: Nanos,
        /// What.
        fact: Fact,
    },
}

impl Record<'_> {
    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Nanos {
        match self {
            Self::Segment { segment, .. } => Nanos(segment.header.time_ns),
            Self::Socket(socket) => Nanos(socket.header.time_ns),
            Self::Task(task) => Nanos(task.header.time_ns),
            Self::Touch(touch) => Nanos(touch.header.time_ns),
            Self::Relation(relation) => Nanos(relation.header.time_ns),
            Self::Routine(routine) => Nanos(routine.header.time_ns),
            Self::Fact { time, .. } => *time,
        }
    }
}

/// Bytes that are not a record.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Ends before its kind of record can.
    #[error("record of {have} bytes where at least {need} are needed")]
    Short {
        /// Bytes there.
        have: usize,
        /// Bytes that the record should have.
        need: usize,
    },
    /// The lengths in it contradict each other.
    #[error("segment of {len} bytes with {captured} + {tail} copied in a record of {record} bytes")]
    Lengths {
        /// Payload of the segment.
        len: u32,
        /// Copied from its beginning.
        captured: u32,
        /// Copied from its end.
        tail: u32,
        /// Length of the whole record.
        record: u32,
    },
    /// A position that no stream can have.
    #[error("segment of {len} bytes at stream offset {offset}")]
    Offset {
        /// Offset of its first byte.
        offset: u64,
        /// Payload of the segment.
        len: u32,
    },
    /// Belongs to no connection.
    #[error("record of kind {0} without a socket cookie")]
    NoCookie(u16),
    /// Written by another version.
    #[error("record of unknown kind {0}")]
    Kind(u16),
    /// Written by another version.
    #[error("socket record for unknown reason {0}")]
    Reason(u32),
    /// A fact that could not be read.
    #[error("fact: {0}")]
    Fact(#[from] serde_json::Error),
}

/// Reads one record. `bytes` may be longer than the record: its header says where it ends.
///
/// # Errors
///
/// When the bytes are not a record of this version.
pub fn decode(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let (header, _) = fixed::<Header>(bytes)?;
    let bytes =
        bytes.get(..header.len as usize).ok_or(Malformed::Short { have: bytes.len(), need: header.len as usize })?;
    match header.kind {
        kind::SEGMENT => decode_segment(bytes),
        kind::SOCKET => decode_socket(bytes),
        kind::FORK | kind::EXEC | kind::EXIT => Ok(Record::Task(fixed(bytes)?.0)),
        kind::READ | kind::SEND => {
            // Recordings of before goroutines' parents were told end without one.
            let mut whole = [0; size_of::<record::Touch>()];
            let have = bytes.len().min(whole.len());
            whole[..have].copy_from_slice(&bytes[..have]);
            let need = size_of::<record::Touch>() - size_of::<u64>();
            if have < need { Err(Malformed::Short { have, need }) } else { Ok(Record::Touch(fixed(&whole)?.0)) }
        }
        kind::THREAD | kind::WAKE => Ok(Record::Relation(fixed(bytes)?.0)),
        kind::GO_CALL | kind::GO_WRITER => Ok(Record::Routine(fixed(bytes)?.0)),
        kind::FIRST_FACT => {
            let (header, body) = fixed::<Header>(bytes)?;
            Ok(Record::Fact { time: Nanos(header.time_ns), fact: serde_json::from_slice(body)? })
        }
        other => Err(Malformed::Kind(other)),
    }
}

/// Appends a fact as a record: a header and JSON.
pub fn encode_fact(time: Nanos, fact: &Fact, out: &mut Vec<u8>) {
    let begin = out.len();
    let mut header = Header { time_ns: time.0, len: 0, kind: kind::FIRST_FACT, cpu: 0 };
    out.extend_from_slice(header.as_bytes());
    // Facts are plain structures with text for keys and write to memory: neither can fail. Were it otherwise, the
    // record would be cut back to nothing rather than be half a record.
    let Ok(len) = serde_json::to_writer(&mut *out, fact).map(|()| out.len() - begin) else {
        out.truncate(begin);
        return;
    };
    header.len = u32::try_from(len).unwrap_or(u32::MAX);
    out[begin..begin + size_of::<Header>()].copy_from_slice(header.as_bytes());
}

fn decode_segment(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let (segment, payload) = fixed::<record::Segment>(bytes)?;
    let record::Segment { len, captured, tail, offset, .. } = segment;
    let copied = u64::from(captured) + u64::from(tail);
    if copied != payload.len() as u64 || copied > u64::from(len) {
        return Err(Malformed::Lengths { len, captured, tail, record: segment.header.len });
    }
    if offset.checked_add(u64::from(len)).is_none() {
        return Err(Malformed::Offset { offset, len });
    }
    if segment.cookie == 0 && segment.flags & segment::LISTENER == 0 {
        return Err(Malformed::NoCookie(kind::SEGMENT));
    }
    let (head, tail) = payload.split_at(captured as usize);
    Ok(Record::Segment { segment, head, tail })
}

fn decode_socket(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let (socket, _) = fixed::<record::Socket>(bytes)?;
    match socket.reason {
        reason::OPEN | reason::REPORT | reason::CLOSE if socket.cookie == 0 => Err(Malformed::NoCookie(kind::SOCKET)),
        reason::OPEN | reason::REPORT | reason::CLOSE | reason::LISTEN | reason::UNLISTEN => Ok(Record::Socket(socket)),
        other => Err(Malformed::Reason(other)),
    }
}

/// The fixed part of a record and what follows it.
fn fixed<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), Malformed> {
    T::read_from_prefix(bytes).map_err(|_| Malformed::Short { have: bytes.len(), need: size_of::<T>() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::build::{self, Building};
    use super::*;

    #[test]
    fn a_segment_comes_with_its_head_and_tail() {
        let bytes = build::seg(7).at(100, b"GET /").uncopied(20, b"tail").bytes();
        let Ok(Record::Segment { segment, head, tail }) = decode(&bytes) else { panic!("not a segment") };
        assert_eq!((segment.cookie, segment.offset, segment.len), (7, 100, 29));
        assert_eq!((head, tail), (&b"GET /"[..], &b"tail"[..]));
    }

    #[test]
    fn a_slot_may_be_longer_than_its_record() {
        let mut bytes = build::seg(7).at(0, b"GET /").bytes();
        bytes.extend_from_slice(&[0xff; 64]);
        assert!(matches!(decode(&bytes), Ok(Record::Segment { head: b"GET /", .. })));
    }

    #[test]
    fn every_fact_survives_the_round_trip() {
        let facts = [
            Fact::Tick,
            Fact::Clock { boot_to_unix_ns: -5 },
            Fact::Host(super::super::fact::Host { name: "h\u{00f6}st".into(), seed: u64::MAX, ..Default::default() }),
            Fact::Socket(build::old_socket(3)),
        ];
        for fact in facts {
            let mut bytes = vec![1, 2, 3];
            encode_fact(Nanos(42), &fact, &mut bytes);
            assert_eq!(decode(&bytes[3..]).unwrap(), Record::Fact { time: Nanos(42), fact });
        }
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        let good = build::seg(7).at(0, b"GET /");
        let check = |change: fn(&mut record::Segment)| {
            let mut built = good.clone();
            built.segment.header.len = 128 + 5;
            change(&mut built.segment);
            decode(&built.raw()).unwrap_err()
        };
        assert!(matches!(check(|s| s.captured = 6), Malformed::Lengths { .. }));
        assert!(matches!(check(|s| s.captured = u32::MAX), Malformed::Lengths { .. }));
        assert!(matches!(check(|s| s.tail = u32::MAX), Malformed::Lengths { .. }));
        assert!(matches!(check(|s| s.len = 4), Malformed::Lengths { .. }));
        assert!(matches!(check(|s| s.header.len = 15), Malformed::Short { .. }));
        assert!(matches!(check(|s| s.header.len = u32::MAX), Malformed::Short { .. }));
        assert!(matches!(check(|s| s.header.kind = 63), Malformed::Kind(63)));
        assert!(matches!(check(|s| s.offset = u64::MAX - 4), Malformed::Offset { .. }));
        assert!(matches!(check(|s| s.cookie = 0), Malformed::NoCookie(_)));
        assert!(matches!(decode(&[]), Err(Malformed::Short { have: 0, need: 16 })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u16..70, honest: bool) {
            if honest && bytes.len() >= 16 {
                let len = u32::try_from(bytes.len()).unwrap();
                bytes[8..12].copy_from_slice(&len.to_ne_bytes());
                bytes[12..14].copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = decode(&bytes);
        }
    }
}
