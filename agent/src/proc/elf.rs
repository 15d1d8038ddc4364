//! The few parts of an executable that tell how it was made. Pure, and bounded: whoever wrote the file may have meant harm.
//!
//! Layouts: `elf.h` (ELF-64, System V ABI, chapter 4). Only 64-bit little-endian files are read, as on all machines that the
//! agent is built for; of any other, nothing is known.

use std::ops::Range;

/// Sections looked at. Executables have 30 to 40.
const MAX_SECTIONS: usize = 128;
/// Bytes of the names of sections.
const MAX_NAMES: u64 = 16 * 1024;
/// Bytes read of one part. Node's table of exported names is the largest that matters: 6 MiB.
const MAX_PART: u64 = 8 * 1024 * 1024;
/// Bytes read of one file in all, so that a file of many large parts takes milliseconds.
const MAX_TOTAL: u64 = 24 * 1024 * 1024;
/// Libraries that an executable names.
const MAX_NEEDED: usize = 64;

const HEADER_BYTES: usize = 64;
const SECTION_BYTES: usize = 64;
const DYNAMIC_BYTES: usize = 16;
const SYMBOL_BYTES: usize = 24;
/// `DT_NEEDED`: a library that is loaded with the executable.
const NEEDED: u64 = 1;
/// `SHT_NOBITS`: a section that takes no room in the file.
const NOBITS: u32 = 8;

/// A file that can be read at any place.
pub trait ReadAt {
    /// The bytes of this range, if the file has them all.
    fn read_at(&self, offset: u64, length: usize) -> Option<Vec<u8>>;
}

/// An executable.
#[derive(Debug)]
pub struct Elf<F> {
    file: F,
    sections: Vec<Section>,
    /// Bytes that may still be read.
    left: u64,
}

#[derive(Clone, Debug)]
struct Section {
    name: String,
    address: u64,
    offset: u64,
    size: u64,
}

impl<F: ReadAt> Elf<F> {
    /// Reads the table of sections. `None` if it is no executable that can be read here.
    pub fn open(file: F) -> Option<Self> {
        let header = file.read_at(0, HEADER_BYTES)?;
        // Magic, 64 bits, least significant byte first.
        if header.get(..6)? != b"\x7fELF\x02\x01" {
            return None;
        }
        let (table, size) = (u64_at(&header, 0x28)?, usize::from(u16_at(&header, 0x3a)?));
        let (number, names) = (usize::from(u16_at(&header, 0x3c)?), usize::from(u16_at(&header, 0x3e)?));
        if size != SECTION_BYTES || number > MAX_SECTIONS {
            return None;
        }
        let table = file.read_at(table, number * SECTION_BYTES)?;
        let rows: Vec<&[u8]> = table.chunks_exact(SECTION_BYTES).collect();
        let row = rows.get(names)?;
        let (offset, length) = (u64_at(row, 0x18)?, u64_at(row, 0x20)?.min(MAX_NAMES));
        let names = file.read_at(offset, usize::try_from(length).ok()?)?;
        let sections = rows.iter().filter_map(|row| Section::read(row, &names)).collect();
        Some(Self { file, sections, left: MAX_TOTAL })
    }

    /// Whether there is a section of this name.
    pub fn has(&self, name: &str) -> bool {
        self.sections.iter().any(|section| section.name == name)
    }

    /// A section, or as much of its beginning as may be read.
    pub fn section(&mut self, name: &str) -> Option<Vec<u8>> {
        let section = self.sections.iter().find(|section| section.name == name)?.clone();
        self.read(section.offset, section.size)
    }

    /// Names of the libraries that are loaded with it.
    pub fn needed(&mut self) -> Vec<String> {
        let (Some(dynamic), Some(strings)) = (self.section(".dynamic"), self.section(".dynstr")) else {
            return Vec::new();
        };
        let entries = dynamic.chunks_exact(DYNAMIC_BYTES);
        let offsets = entries.filter(|entry| u64_at(entry, 0) == Some(NEEDED)).filter_map(|entry| u64_at(entry, 8));
        offsets.take(MAX_NEEDED).filter_map(|offset| text_at(&strings, usize::try_from(offset).ok()?)).collect()
    }

    /// The bytes of an exported variable.
    pub fn variable(&mut self, name: &str, length: usize) -> Option<Vec<u8>> {
        let strings = self.section(".dynstr")?;
        let mut wanted = vec![0];
        wanted.extend(name.as_bytes());
        wanted.push(0);
        let at = u32::try_from(memchr::memmem::find(&strings, &wanted)? + 1).ok()?;
        let symbols = self.section(".dynsym")?;
        let symbol = symbols.chunks_exact(SYMBOL_BYTES).find(|symbol| u32_at(symbol, 0) == Some(at))?;
        let address = u64_at(symbol, 8)?;
        let section = self.sections.iter().find(|section| section.addresses().contains(&address))?.clone();
        let offset = section.offset.checked_add(address - section.address)?;
        self.read(offset, length as u64).filter(|bytes| bytes.len() == length)
    }

    fn read(&mut self, offset: u64, length: u64) -> Option<Vec<u8>> {
        let length = length.min(MAX_PART).min(self.left);
        self.left -= length;
        self.file.read_at(offset, usize::try_from(length).ok()?)
    }
}

impl Section {
    fn read(row: &[u8], names: &[u8]) -> Option<Self> {
        if u32_at(row, 4)? == NOBITS {
            return None;
        }
        let name = text_at(names, u32_at(row, 0)? as usize)?;
        Some(Self { name, address: u64_at(row, 0x10)?, offset: u64_at(row, 0x18)?, size: u64_at(row, 0x20)? })
    }

    fn addresses(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.size)
    }
}

/// The text at this place, up to its NUL.
fn text_at(bytes: &[u8], at: usize) -> Option<String> {
    let text = bytes.get(at..)?;
    let end = memchr::memchr(0, text)?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

impl ReadAt for &[u8] {
    fn read_at(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let begin = usize::try_from(offset).ok()?;
        self.get(begin..begin.checked_add(length)?).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_executable_can_be_read() {
        let bytes = std::fs::read("/proc/self/exe").expect("it runs");
        let mut elf = Elf::open(&bytes[..]).expect("it is one");
        assert!(elf.has(".text") && !elf.has(".nothing"));
        assert!(elf.needed().iter().any(|name| name.starts_with("libc.so")), "{:?}", elf.needed());
        let comment = elf.section(".comment").expect("compilers sign their work");
        assert!(memchr::memmem::find(&comment, b"rustc version ").is_some());
    }

    #[test]
    fn what_is_no_executable_is_nothing() {
        for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 4096]] {
            assert!(Elf::open(bytes).is_none());
        }
    }

    #[test]
    fn sizes_are_not_believed() {
        let mut bytes = std::fs::read("/proc/self/exe").expect("it runs");
        let table = u64_at(&bytes, 0x28).expect("a header") as usize;
        // Every section claims to be as large as can be.
        let number = usize::from(u16_at(&bytes, 0x3c).expect("a header"));
        for row in 0..number {
            let at = table + row * SECTION_BYTES + 0x20;
            bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        }
        let mut elf = Elf::open(&bytes[..]).expect("the names are still there");
        for name in [".text", ".comment", ".rodata", ".dynstr"] {
            assert!(elf.section(name).is_none_or(|section| section.len() as u64 <= MAX_PART));
        }
        assert!(elf.variable("Py_Version", 8).is_none());
    }

    proptest::proptest! {
        #[test]
        fn damage_never_panics(places in proptest::collection::vec((0usize..8192, proptest::num::u8::ANY), 1..40)) {
            let mut bytes = std::fs::read("/bin/true").expect("it is there");
            // Headers of the file stand first, those of the sections last.
            let len = bytes.len();
            for (place, byte) in places {
                let at = if place % 2 == 0 { (place / 2) % HEADER_BYTES } else { len - 1 - place.min(len - 1) };
                bytes[at] = byte;
            }
            if let Some(mut elf) = Elf::open(&bytes[..]) {
                elf.needed();
                elf.section(".comment");
                elf.variable("Py_Version", 8);
            }
        }
    }
}
