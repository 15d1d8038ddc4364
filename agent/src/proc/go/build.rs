//! What the Go linker writes into each program about the version that made it (`debug/buildinfo` of Go describes the form).

use super::elf::{Elf, u64_at};

/// What it begins with.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// It lies at the beginning of the data, at a multiple of this.
const ALIGN: usize = 16;
/// So much of the data is searched where no section tells.
const SEARCH_BYTES: u64 = 1 << 20;
/// Longer versions are none.
const VERSION_BYTES: usize = 128;
/// Bytes before the version where it stands right there.
const HEADER_BYTES: usize = 32;
/// Flag: the version stands right there (1.18 and later), not behind pointers.
const INLINE: u8 = 2;

/// The version that made the program, such as `go1.26.1`. `None` if Go did not.
pub(super) fn version(elf: &Elf<'_>) -> Option<String> {
    let info = info(elf)?;
    let text = if info.get(15)? & INLINE != 0 {
        let (len, begin) = varint(info.get(HEADER_BYTES..)?)?;
        info.get(HEADER_BYTES + begin..)?.get(..len.min(VERSION_BYTES))?.to_vec()
    } else {
        // A pointer to a pointer and a length.
        let string = elf.loaded(u64_at(&info, 16)?, 16)?;
        elf.loaded(u64_at(&string, 0)?, u64_at(&string, 8)?.min(VERSION_BYTES as u64))?
    };
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The minor of `go1.MINOR.PATCH`, `go1.MINORrc1` and `devel go1.MINOR-...`.
pub(super) fn minor(version: &str) -> Option<u32> {
    let rest = version.split_ascii_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// The beginning of what the linker wrote.
fn info(elf: &Elf<'_>) -> Option<Vec<u8>> {
    let room = (HEADER_BYTES + VERSION_BYTES + 10) as u64;
    if let Some(section) = elf.section(&[b".go.buildinfo"]) {
        let mut bytes = vec![0; room as usize];
        let read = elf.some_bytes_at(section.offset, &mut bytes);
        bytes.truncate(read);
        return bytes.starts_with(MAGIC).then_some(bytes);
    }
    let data = elf.segments().iter().find(|segment| segment.is_writable)?;
    let mut bytes = vec![0; usize::try_from(data.bytes.min(SEARCH_BYTES)).ok()?];
    let read = elf.some_bytes_at(data.offset, &mut bytes);
    bytes.truncate(read);
    let at = memchr::memmem::find_iter(&bytes, MAGIC).find(|at| at.is_multiple_of(ALIGN))?;
    Some(bytes.split_off(at))
}

/// A number of variable length, and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (number, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * number);
        if byte & 0x80 == 0 {
            return Some((value, number + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_version_has_a_minor() {
        for (version, expect) in [
            ("go1.26.8", Some(26)),
            ("go1.17", Some(17)),
            ("go1.21rc2", Some(21)),
            ("devel go1.27-2f1e9d4 Tue Jan 1 2026", Some(27)),
            ("go1.22.3 X:boringcrypto", Some(22)),
            ("go2", None),
            ("", None),
            ("go1.99999999999", None),
        ] {
            assert_eq!(minor(version), expect, "{version}");
        }
    }

    #[test]
    fn a_number_of_variable_length_ends_within_its_bytes() {
        assert_eq!(varint(&[8, 1]), Some((8, 1)));
        assert_eq!(varint(&[0x88, 1]), Some((136, 2)));
        assert_eq!(varint(&[0x80; 9]), None);
        assert_eq!(varint(&[]), None);
    }
}
