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

/// How many records of a kind that name a thread first there are of a process.
#[must_use]
#[track_caller]
pub fn count(file: &Path, kind: u16, pid: u32) -> usize {
    let recording = fs::read(file).expect("a recording");
    let number =
        |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    let mut count = 0;
    let mut rest = recording.get(PREAMBLE..).expect("a recording begins with a preamble");
    // A header: a time of eight bytes, the length, the kind. Of these kinds, the thread and the process follow.
    while let (Some(len), Some(this)) = (number(rest, 8), number(rest, 12)) {
        count += usize::from(this as u16 == kind && number(rest, 20) == Some(pid));
        rest = rest.get(len as usize..).expect("a whole record");
    }
    count
}
