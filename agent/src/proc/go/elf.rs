//! An executable file, read piece by piece: its segments and sections, and bytes by address.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Headers looked at, of each kind: Go programs have some ten segments and thirty sections.
const MAX_HEADERS: u16 = 256;
/// Bytes read of the names of sections.
const NAMES_BYTES: u64 = 64 << 10;

const X86_64: u16 = 62;
const LOAD: u32 = 1;
const THREAD_STORAGE: u32 = 7;
/// `SHT_NOBITS`: a section without bytes in the file.
const NO_BITS: u32 = 8;

/// The parts of a file. Numbers in it are little-endian, 64 bits wide; other files are none.
pub(super) struct Elf<'a> {
    file: &'a File,
    machine: u16,
    segments: Vec<Segment>,
    sections: Vec<Section>,
    thread_storage: Option<u64>,
}

/// What is loaded.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub(super) address: u64,
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) is_writable: bool,
}

/// A named part.
pub(super) struct Section {
    name: Vec<u8>,
    pub(super) address: u64,
    pub(super) offset: u64,
}

impl<'a> Elf<'a> {
    /// Reads the headers. `None` if this is no such file.
    pub(super) fn read(file: &'a File) -> Option<Self> {
        let mut header = [0; 64];
        file.read_exact_at(&mut header, 0).ok()?;
        // 64 bits, little-endian.
        if header[..6] != *b"\x7fELF\x02\x01" {
            return None;
        }
        let mut elf = Self {
            file,
            machine: u16_at(&header, 18)?,
            segments: Vec::new(),
            sections: Vec::new(),
            thread_storage: None,
        };
        elf.read_segments(u64_at(&header, 32)?, u16_at(&header, 56)?)?;
        // A file without sections can be run all the same.
        let _without = elf.read_sections(u64_at(&header, 40)?, u16_at(&header, 60)?, u16_at(&header, 62)?);
        Some(elf)
    }

    fn read_segments(&mut self, at: u64, count: u16) -> Option<()> {
        for number in 0..count.min(MAX_HEADERS) {
            let mut header = [0; 56];
            self.file.read_exact_at(&mut header, at.checked_add(u64::from(number) * 56)?).ok()?;
            match u32_at(&header, 0)? {
                LOAD => self.segments.push(Segment {
                    is_writable: u32_at(&header, 4)? & 2 != 0,
                    offset: u64_at(&header, 8)?,
                    address: u64_at(&header, 16)?,
                    bytes: u64_at(&header, 32)?,
                }),
                THREAD_STORAGE => {
                    let (bytes, align) = (u64_at(&header, 40)?, u64_at(&header, 48)?.max(1));
                    self.thread_storage = Some(bytes.checked_next_multiple_of(align)?);
                }
                _ => {}
            }
        }
        Some(())
    }

    fn read_sections(&mut self, at: u64, count: u16, names: u16) -> Option<()> {
        let header = |number: u16| {
            let mut header = [0; 64];
            self.file.read_exact_at(&mut header, at.checked_add(u64::from(number) * 64)?).ok()?;
            Some(header)
        };
        let of_names = header(names)?;
        let texts = self.bytes_at(u64_at(&of_names, 24)?, u64_at(&of_names, 32)?.min(NAMES_BYTES))?;
        let mut sections = Vec::new();
        for number in 0..count.min(MAX_HEADERS) {
            let header = header(number)?;
            let name = texts.get(u32_at(&header, 0)? as usize..)?;
            let end = memchr::memchr(0, name)?;
            if u32_at(&header, 4)? != NO_BITS {
                sections.push(Section {
                    name: name[..end].to_vec(),
                    address: u64_at(&header, 16)?,
                    offset: u64_at(&header, 24)?,
                });
            }
        }
        self.sections = sections;
        Some(())
    }

    pub(super) fn is_x86_64(&self) -> bool {
        self.machine == X86_64
    }

    /// How much each thread has of its own, as the file says.
    pub(super) fn thread_storage_bytes(&self) -> Option<u64> {
        self.thread_storage
    }

    /// The first section of one of these names.
    pub(super) fn section(&self, names: &[&[u8]]) -> Option<&Section> {
        self.sections.iter().find(|section| names.contains(&section.name.as_slice()))
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Bytes of the file, all or none. The caller bounds their number.
    pub(super) fn bytes_at(&self, offset: u64, bytes: u64) -> Option<Vec<u8>> {
        let mut read = vec![0; usize::try_from(bytes).ok()?];
        self.file.read_exact_at(&mut read, offset).ok()?;
        Some(read)
    }

    /// As many bytes of the file as there are, at most so many.
    pub(super) fn some_bytes_at(&self, offset: u64, into: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty())
            && let Ok(read @ 1..) = self.file.read_at(rest, offset.saturating_add(filled as u64))
        {
            filled += read;
        }
        filled
    }

    /// Where in the file lies what is loaded to an address.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        let segment = self
            .segments
            .iter()
            .find(|segment| address.checked_sub(segment.address).is_some_and(|within| within < segment.bytes))?;
        segment.offset.checked_add(address - segment.address)
    }

    /// Bytes that are loaded to an address.
    pub(super) fn loaded(&self, address: u64, bytes: u64) -> Option<Vec<u8>> {
        self.bytes_at(self.offset_of(address)?, bytes)
    }
}

/// A number at a place; `None` behind the end.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// See [`u16_at`].
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// See [`u16_at`].
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
