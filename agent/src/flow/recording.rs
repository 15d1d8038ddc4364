//! Recordings: the raw records in a file, in the order in which the core got them.
//!
//! A file is a header (8 bytes of `WIRESPAN`; then in the byte order of the machine that wrote it a `u32` byte order
//! mark and a `u32` version) and records one after the other, each as long as its own header says.

use std::io::{self, Read, Write};

use wirespan_common::record::Header;
use zerocopy::FromBytes;

/// Starts every recording.
const MAGIC: [u8; 8] = *b"WIRESPAN";
/// Reads as this number only in the byte order in which it was written.
const BYTE_ORDER_MARK: u32 = 0x0A0B_0C0D;
/// Changes whenever a record's layout or meaning does.
const VERSION: u32 = 1;
const PREAMBLE_BYTES: usize = 16;
/// A record longer than this is a sign that the place of its header is wrong. The kernel's are below 80 KiB; the
/// facts about a process with very many resource attributes may be longer.
const MAX_RECORD_BYTES: u32 = 1 << 20;

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W: Write> {
    file: W,
}

/// Reads a recording.
#[derive(Debug)]
pub struct Reader<R: Read> {
    file: R,
    /// Where in the file the next record begins, bytes.
    offset: u64,
    record: Vec<u8>,
    over: bool,
}

/// Why a recording can't be read (on). The records before stand.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It does not begin like a recording.
    #[error("not a recording: make one with `wirespan record FILE`")]
    NotARecording,
    /// Its numbers are the other way round.
    #[error("recorded on a machine of the other byte order: replay it on one of that kind")]
    ByteOrder,
    /// Its records may look different.
    #[error(
        "recording of version {found}, and this program reads version {VERSION}: replay it with the program that wrote it"
    )]
    Version {
        /// Version of the recording.
        found: u32,
    },
    /// It ends within a record.
    #[error("recording cut off: the record at byte {offset} is not complete; what is before it was read")]
    Truncated {
        /// Where the cut record begins in the file, bytes.
        offset: u64,
    },
    /// A record can't be so short or so long.
    #[error("recording damaged: a record of {len} bytes at byte {offset}; what is before it was read")]
    Length {
        /// Where the record begins in the file, bytes.
        offset: u64,
        /// Its length by its own header, bytes.
        len: u32,
    },
    /// The file could not be read.
    #[error("recording unreadable at byte {offset}: {source}")]
    Io {
        /// Where the record begins in the file, bytes.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
}

impl<W: Write> Writer<W> {
    /// Starts a recording.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn new(mut file: W) -> io::Result<Self> {
        file.write_all(&preamble(BYTE_ORDER_MARK, VERSION))?;
        Ok(Self { file })
    }

    /// Appends a record. What follows the length that its header says (the rest of a ring buffer's slot) is left out.
    ///
    /// # Errors
    ///
    /// When the file can't be written, or the bytes are shorter than their header says.
    pub fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let whole = Header::read_from_prefix(record)
            .ok()
            .filter(|(header, _)| (size_of::<Header>() as u32..=MAX_RECORD_BYTES).contains(&header.len))
            .and_then(|(header, _)| record.get(..header.len as usize))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "record of a length that can't be recorded"))?;
        self.file.write_all(whole)
    }

    /// Hands on what the writer below still buffers.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<R: Read> Reader<R> {
    /// Begins to read a recording.
    ///
    /// # Errors
    ///
    /// When the file is not a recording that this program can read.
    pub fn new(mut file: R) -> Result<Self, Unreadable> {
        let mut start = [0; PREAMBLE_BYTES];
        let have = fill(&mut file, &mut start).map_err(|source| Unreadable::Io { offset: 0, source })?;
        let (magic, rest) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Unreadable::NotARecording);
        }
        if have < PREAMBLE_BYTES {
            return Err(Unreadable::Truncated { offset: 0 });
        }
        match <[u32; 2]>::read_from_bytes(rest) {
            Ok([BYTE_ORDER_MARK, VERSION]) => {}
            Ok([BYTE_ORDER_MARK, found]) => return Err(Unreadable::Version { found }),
            Ok([mark, _]) if mark == BYTE_ORDER_MARK.swap_bytes() => return Err(Unreadable::ByteOrder),
            _ => return Err(Unreadable::NotARecording),
        }
        Ok(Self { file, offset: PREAMBLE_BYTES as u64, record: Vec::new(), over: false })
    }

    /// The next record; `None` at the end. Nothing follows an error.
    ///
    /// # Errors
    ///
    /// When the recording is cut off or damaged here. What was read before stands.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, Unreadable> {
        if self.over {
            return Ok(None);
        }
        // Taken back only when a whole record was read.
        self.over = true;
        let offset = self.offset;
        let io = |source| Unreadable::Io { offset, source };
        self.record.resize(size_of::<Header>(), 0);
        match fill(&mut self.file, &mut self.record).map_err(io)? {
            0 => return Ok(None),
            have if have < size_of::<Header>() => return Err(Unreadable::Truncated { offset }),
            _ => {}
        }
        let Ok(Header { len, .. }) = Header::read_from_bytes(&self.record) else {
            return Err(Unreadable::Truncated { offset });
        };
        if !(size_of::<Header>() as u32..=MAX_RECORD_BYTES).contains(&len) {
            return Err(Unreadable::Length { offset, len });
        }
        self.record.resize(len as usize, 0);
        let body = &mut self.record[size_of::<Header>()..];
        if fill(&mut self.file, body).map_err(io)? < body.len() {
            return Err(Unreadable::Truncated { offset });
        }
        self.offset += u64::from(len);
        self.over = false;
        Ok(Some(&self.record))
    }
}

fn preamble(mark: u32, version: u32) -> [u8; PREAMBLE_BYTES] {
    let mut start = [0; PREAMBLE_BYTES];
    start[..8].copy_from_slice(&MAGIC);
    start[8..12].copy_from_slice(&mark.to_ne_bytes());
    start[12..].copy_from_slice(&version.to_ne_bytes());
    start
}

/// Reads until the buffer is full or the file ends. Gives back how much it read.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match file.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::build::{self, Building};
    use super::*;

    fn recorded(records: &[Vec<u8>]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file).unwrap();
        for record in records {
            writer.write(record).unwrap();
        }
        writer.flush().unwrap();
        file
    }

    /// All records, and what ended the reading if it was not the end.
    fn read(file: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
        let mut records = Vec::new();
        let mut reader = match Reader::new(file) {
            Ok(reader) => reader,
            Err(error) => return (records, Some(error.to_string())),
        };
        loop {
            match reader.next_record() {
                Ok(Some(record)) => records.push(record.to_vec()),
                Ok(None) => return (records, None),
                Err(error) => {
                    assert!(matches!(reader.next_record(), Ok(None)), "nothing follows an error");
                    return (records, Some(error.to_string()));
                }
            }
        }
    }

    fn some_records() -> Vec<Vec<u8>> {
        vec![build::seg(1).at(0, b"GET / HTTP/1.1\r\n\r\n").bytes(), build::close(1).bytes(), build::tick(5)]
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&recorded(&some_records())), (some_records(), None));
        assert_eq!(read(&recorded(&[])), (vec![], None));
    }

    #[test]
    fn a_slot_is_recorded_without_its_padding() {
        let mut padded = build::close(1).bytes();
        padded.extend_from_slice(&[0; 8]);
        assert_eq!(read(&recorded(&[padded])).0, [build::close(1).bytes()]);
        assert!(Writer::new(Vec::new()).unwrap().write(&build::close(1).bytes()[..100]).is_err());
    }

    #[test]
    fn a_cut_file_names_the_place_and_what_is_before_it_stands() {
        let file = recorded(&some_records());
        let second = 16 + some_records()[0].len();
        for cut in [second + 1, second + 16, second + 100] {
            let (records, error) = read(&file[..cut]);
            assert_eq!(records, some_records()[..1]);
            assert_eq!(
                error.unwrap(),
                format!("recording cut off: the record at byte {second} is not complete; what is before it was read")
            );
        }
    }

    #[test]
    fn what_is_not_a_recording_of_ours_is_refused_by_name() {
        let file = recorded(&some_records());
        let with = |mark: u32, version: u32| read(&preamble(mark, version)).1.unwrap();
        assert!(with(BYTE_ORDER_MARK, 7).contains("version 7"));
        assert!(with(BYTE_ORDER_MARK.swap_bytes(), VERSION).contains("byte order"));
        assert!(with(1, VERSION).contains("not a recording"));
        assert!(read(b"#!/bin/sh").1.unwrap().contains("not a recording"));
        assert!(read(b"").1.unwrap().contains("not a recording"));
        assert!(read(&file[..12]).1.unwrap().contains("at byte 0"));
        let mut damaged = file;
        damaged[16 + 8..16 + 12].copy_from_slice(&3u32.to_ne_bytes());
        assert!(read(&damaged).1.unwrap().contains("a record of 3 bytes at byte 16"));
    }

    proptest! {
        #[test]
        fn arbitrary_files_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut file = preamble(BYTE_ORDER_MARK, VERSION).to_vec();
            file.extend_from_slice(&bytes);
            read(&file);
            read(&bytes);
        }
    }
}
