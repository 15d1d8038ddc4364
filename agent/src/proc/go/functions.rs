//! Go's own table of functions (`pclntab`; `runtime/symtab.go` of Go describes the form): where functions of a name begin.

use super::elf::{Elf, u32_at, u64_at};

/// Where the table is; the second name is that of programs that can be loaded to any address, of older versions.
const SECTIONS: &[&[u8]] = &[b".gopclntab", b".data.rel.ro.gopclntab"];
/// What the table begins with: Go 1.16, 1.18 and 1.20 changed its form.
const MAGIC_1_16: u32 = 0xffff_fffa;
const MAGIC_1_18: u32 = 0xffff_fff0;
const MAGIC_1_20: u32 = 0xffff_fff1;
/// Bytes of the longest header.
const HEADER_BYTES: u64 = 72;
/// Names searched, bytes. The largest programs have some 20 MiB of them.
const MAX_NAMES_BYTES: u64 = 64 << 20;
/// Functions looked at. The largest programs have some 400 000.
const MAX_FUNCTIONS: u64 = 2 << 20;
/// Read at a time, bytes.
const WINDOW_BYTES: u64 = 256 << 10;
/// Windows read of one file: 128 MiB. Functions are described in the order of their addresses, so that each window of an
/// honest file is read once.
const MAX_WINDOWS: u32 = 512;
/// Bytes of each writable part of the program searched for what the runtime knows of it, where no section tells.
const SEARCH_BYTES: u64 = 16 << 20;
/// `moduledata.text`, bytes from its beginning, since 1.16.
const TEXT_AT: u64 = 176;

/// The addresses at which functions of these names begin; `None` if one is not there.
pub(super) fn find<const N: usize>(elf: &Elf<'_>, names: [&[u8]; N]) -> Option<[u64; N]> {
    let table = Table::read(elf)?;
    let mut window = Window::new(elf);
    let mut wanted = [0; N];
    for (wanted, name) in wanted.iter_mut().zip(names) {
        *wanted = table.name(&mut window, name)?;
    }
    table.entries(&mut window, wanted)
}

/// The parts of the table, as offsets into the file.
struct Table {
    is_1_16: bool,
    functions: u64,
    names_at: u64,
    names_bytes: u64,
    functions_at: u64,
    text: u64,
}

impl Table {
    fn read(elf: &Elf<'_>) -> Option<Self> {
        let section = elf.section(SECTIONS)?;
        let header = elf.bytes_at(section.offset, HEADER_BYTES)?;
        let magic = u32_at(&header, 0)?;
        let is_1_16 = magic == MAGIC_1_16;
        // Instructions of one byte, words of eight.
        if !(is_1_16 || magic == MAGIC_1_18 || magic == MAGIC_1_20) || header[4..8] != [0, 0, 1, 8] {
            return None;
        }
        let word = |number: usize| u64_at(&header, 8 + 8 * number);
        let part = |number| word(number).and_then(|at| section.offset.checked_add(at));
        // Newer forms know where the code begins; that is the third word.
        let shift = usize::from(!is_1_16);
        let names_at = part(2 + shift)?;
        let text = match word(2)? {
            _ if is_1_16 => 0,
            // Since 1.26 only the runtime's own description of the program tells.
            0 => text(elf, section.address)?,
            text => text,
        };
        Some(Self {
            is_1_16,
            functions: word(0)?.min(MAX_FUNCTIONS),
            names_at,
            // The next part begins where the names end.
            names_bytes: part(3 + shift)?.checked_sub(names_at)?.min(MAX_NAMES_BYTES),
            functions_at: part(6 + shift)?,
            text,
        })
    }

    /// Where a name is among the names.
    fn name(&self, window: &mut Window<'_, '_>, name: &[u8]) -> Option<u64> {
        let mut whole = Vec::with_capacity(name.len() + 2);
        whole.push(0);
        whole.extend_from_slice(name);
        whole.push(0);
        let finder = memchr::memmem::Finder::new(&whole);
        let mut at = 0;
        while at < self.names_bytes {
            let bytes = window.all(self.names_at.checked_add(at)?)?;
            let within = usize::try_from(self.names_bytes - at).ok()?;
            if let Some(found) = finder.find(&bytes[..bytes.len().min(within)]) {
                return Some(at + found as u64 + 1);
            }
            // A name may lie across the border of two windows.
            at = at.checked_add((bytes.len() as u64).checked_sub(whole.len() as u64).filter(|step| *step > 0)?)?;
        }
        None
    }

    /// The beginnings of the functions that have these names.
    fn entries<const N: usize>(&self, window: &mut Window<'_, '_>, names: [u64; N]) -> Option<[u64; N]> {
        let mut found = [None; N];
        let entry_bytes = if self.is_1_16 { 16 } else { 8 };
        // Entries and what they point to lie apart: two windows.
        let mut descriptions = Window { left: window.left, ..Window::new(window.elf) };
        for number in 0..self.functions {
            let entry = window.some(self.functions_at.checked_add(number * entry_bytes)?, entry_bytes)?;
            let (begins, described) = if self.is_1_16 {
                (u64_at(entry, 0)?, u64_at(entry, 8)?)
            } else {
                (self.text.checked_add(u64::from(u32_at(entry, 0)?))?, u64::from(u32_at(entry, 4)?))
            };
            let name_at = self.functions_at.checked_add(described)?.checked_add(entry_bytes / 2)?;
            let name = u64::from(u32_at(descriptions.some(name_at, 4)?, 0)?);
            for (found, wanted) in found.iter_mut().zip(names) {
                if name == wanted {
                    *found = Some(begins);
                }
            }
            if found.iter().all(Option::is_some) {
                break;
            }
        }
        let mut all = [0; N];
        for (one, found) in all.iter_mut().zip(found) {
            *one = found?;
        }
        Some(all)
    }
}

/// Where the code begins, as the runtime's description of the program says, whose first word is the table's address.
fn text(elf: &Elf<'_>, table: u64) -> Option<u64> {
    if let Some(section) = elf.section(&[b".go.module"]) {
        let description = elf.bytes_at(section.offset, TEXT_AT + 8)?;
        return (u64_at(&description, 0)? == table).then(|| u64_at(&description, TEXT_AT as usize))?;
    }
    let mut window = vec![0; usize::try_from(SEARCH_BYTES).ok()?];
    for segment in elf.segments().iter().filter(|segment| segment.is_writable) {
        let len = usize::try_from(segment.bytes.min(SEARCH_BYTES)).ok()?;
        let read = elf.some_bytes_at(segment.offset, &mut window[..len]);
        for at in memchr::memmem::find_iter(&window[..read], &table.to_le_bytes()) {
            // The names of functions come first in the table, behind its header.
            let follows = u64_at(&window[..read], at + 8).and_then(|names| names.checked_sub(table));
            if at.is_multiple_of(8) && follows.is_some_and(|header| (1..=HEADER_BYTES).contains(&header)) {
                return u64_at(&window[..read], at + TEXT_AT as usize);
            }
        }
    }
    None
}

/// A piece of the file, moved along as it is read.
struct Window<'e, 'f> {
    elf: &'e Elf<'f>,
    at: u64,
    bytes: Vec<u8>,
    /// May be moved so often.
    left: u32,
}

impl<'e, 'f> Window<'e, 'f> {
    fn new(elf: &'e Elf<'f>) -> Self {
        Self { elf, at: 0, bytes: Vec::new(), left: MAX_WINDOWS }
    }

    /// So many bytes from there on.
    fn some(&mut self, at: u64, bytes: u64) -> Option<&[u8]> {
        let within = at.checked_sub(self.at).filter(|begin| begin.saturating_add(bytes) <= self.bytes.len() as u64);
        let begin = match within {
            Some(begin) => usize::try_from(begin).ok()?,
            None => {
                self.all(at)?;
                0
            }
        };
        self.bytes.get(begin..begin.checked_add(usize::try_from(bytes).ok()?)?)
    }

    /// What there is from there on, as much as a window shows.
    fn all(&mut self, at: u64) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        self.bytes.resize(usize::try_from(WINDOW_BYTES).ok()?, 0);
        let read = self.elf.some_bytes_at(at, &mut self.bytes);
        self.bytes.truncate(read);
        self.at = at;
        (read > 0).then_some(self.bytes.as_slice())
    }
}
