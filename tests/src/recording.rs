//! What a recording holds.

use std::fs;
use std::path::Path;

/// A thread woke another of its process.
pub const WAKE: u16 = 9;
/// A goroutine hands a call to a client connection.
pub const GO_CALL: u16 = 10;
/// A goroutine begins to write for one.
pub const GO_WRITER: u16 = 11;

/// Where the first record begins, bytes.
const PREAMBLE: usize = 16;

/// What a record of payload says of it.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Where in the stream its payload begins.
    pub offset: u64,
    /// How many of its first bytes were copied.
    pub captured: u32,
    /// Bytes before it are missing, and waited for.
    pub is_ahead: bool,
}

/// How many records of a kind that name a thread first there are of a process.
#[must_use]
#[track_caller]
pub fn count(file: &Path, kind: u16, pid: u32) -> usize {
    // The thread and the process follow the header.
    records(file).iter().filter(|record| record.kind == kind && word(&record.bytes, 20) == pid).count()
}

/// All records of payload.
#[must_use]
#[track_caller]
pub fn segments(file: &Path) -> Vec<Segment> {
    const KIND: u16 = 1;
    const AHEAD: u32 = 1 << 3;
    let read = |Record { bytes, .. }: &Record| Segment {
        offset: u64::from(word(bytes, 24)) | u64::from(word(bytes, 28)) << 32,
        captured: word(bytes, 100),
        is_ahead: word(bytes, 108) & AHEAD != 0,
    };
    records(file).iter().filter(|record| record.kind == KIND).map(read).collect()
}

struct Record {
    kind: u16,
    bytes: Vec<u8>,
}

#[track_caller]
fn records(file: &Path) -> Vec<Record> {
    let recording = fs::read(file).expect("a recording");
    let mut rest = recording.get(PREAMBLE..).expect("a recording begins with a preamble");
    let mut records = Vec::new();
    // A header: a time of eight bytes, the length, the kind.
    while !rest.is_empty() {
        let (record, after) = rest.split_at_checked(word(rest, 8) as usize).expect("a whole record");
        records.push(Record { kind: word(record, 12) as u16, bytes: record.to_vec() });
        rest = after;
    }
    records
}

/// Four bytes as a number of this machine.
#[track_caller]
fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    word.expect("a whole record")
}
