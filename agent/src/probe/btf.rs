//! Reads the kernel's type information (BTF), as far as offsets of structure fields need it.
//!
//! Format: Documentation/bpf/btf.rst of the kernel. Checked reads only: a damaged file gives an error, no panic.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
/// How deep anonymous members are followed; real structures need 3.
const MAX_DEPTH: u32 = 8;

/// Why type information could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's type information is damaged at byte {at}: {what}")]
pub struct Damaged {
    at: usize,
    what: &'static str,
}

/// An index of type information.
#[derive(Debug)]
pub struct Btf<'a> {
    strings: &'a [u8],
    /// The bytes of each type, by type id; id 0 is `void`.
    types: Vec<&'a [u8]>,
    structs: HashMap<&'a [u8], u32>,
}

impl<'a> Btf<'a> {
    /// Indexes the bytes of `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// If the bytes are not BTF, or end too early.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Damaged> {
        let damaged = |at, what| Damaged { at, what };
        if u16_at(bytes, 0) != Some(MAGIC) {
            return Err(damaged(0, "no BTF magic number"));
        }
        let header = |at| u32_at(bytes, at).map(|n| n as usize).ok_or_else(|| damaged(at, "the header is cut off"));
        let (header_bytes, types_at, types_bytes) = (header(4)?, header(8)?, header(12)?);
        let (strings_at, strings_bytes) = (header(16)?, header(20)?);
        let section = |at: usize, len: usize| {
            let start = header_bytes.checked_add(at)?;
            bytes.get(start..start.checked_add(len)?)
        };
        let types = section(types_at, types_bytes).ok_or_else(|| damaged(8, "the types are cut off"))?;
        let strings = section(strings_at, strings_bytes).ok_or_else(|| damaged(16, "the strings are cut off"))?;

        let mut btf = Self { strings, types: vec![&[]], structs: HashMap::new() };
        let mut rest = types;
        while !rest.is_empty() {
            let len = type_bytes(rest).ok_or_else(|| damaged(bytes.len() - rest.len(), "unknown kind of type"))?;
            let (one, after) =
                rest.split_at_checked(len).ok_or_else(|| damaged(bytes.len() - rest.len(), "a type is cut off"))?;
            if kind(one) == KIND_STRUCT
                && let Some(name) = u32_at(one, 0).and_then(|at| btf.string(at))
                && !name.is_empty()
            {
                // The first of a name is the kernel's own; modules have their type information elsewhere.
                btf.structs.entry(name).or_insert(btf.types.len() as u32);
            }
            btf.types.push(one);
            rest = after;
        }
        Ok(btf)
    }

    /// Offset in bytes of a field; `field` may lead through named members: `ns.inum`. `None` if there is no such field,
    /// or it does not begin at a byte.
    #[must_use]
    pub fn offset(&self, structure: &str, field: &str) -> Option<u32> {
        let mut id = *self.structs.get(structure.as_bytes())?;
        let mut bits = 0u32;
        for name in field.split('.') {
            let (at, of) = self.member(id, name.as_bytes(), MAX_DEPTH)?;
            bits = bits.checked_add(at)?;
            id = of;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Offset in bits and type of a member, also within anonymous members.
    fn member(&self, id: u32, name: &[u8], depth: u32) -> Option<(u32, u32)> {
        let one = *self.types.get(id as usize)?;
        if depth == 0 || !matches!(kind(one), KIND_STRUCT | KIND_UNION) {
            return None;
        }
        let info = u32_at(one, 4)?;
        let has_bitfields = info >> 31 == 1;
        for member in one.get(12..)?.chunks_exact(12) {
            let (name_at, of, place) = (u32_at(member, 0)?, u32_at(member, 4)?, u32_at(member, 8)?);
            let bits = if has_bitfields { place & 0x00ff_ffff } else { place };
            let this = self.string(name_at)?;
            if this == name {
                return Some((bits, of));
            }
            if this.is_empty()
                && let Some((inner, found)) = self.member(of, name, depth - 1)
            {
                return Some((bits.checked_add(inner)?, found));
            }
        }
        None
    }

    fn string(&self, at: u32) -> Option<&'a [u8]> {
        let rest = self.strings.get(at as usize..)?;
        rest.split(|&byte| byte == 0).next()
    }
}

fn kind(one: &[u8]) -> u32 {
    u32_at(one, 4).map_or(0, |info| info >> 24 & 0x1f)
}

/// How many bytes the first type takes. `None` for a kind that is not known.
fn type_bytes(rest: &[u8]) -> Option<usize> {
    let info = u32_at(rest, 4)?;
    let members = (info & 0xffff) as usize;
    let extra = match info >> 24 & 0x1f {
        // Pointers, forward declarations, typedefs, modifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => 0,
        // Integers, variables, declaration tags.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structures, unions, data sections, 64-bit enumerations.
        4 | 5 | 15 | 19 => members * 12,
        // Enumerations, function prototypes.
        6 | 13 => members * 8,
        _ => return None,
    };
    Some(12 + extra)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int a; struct { int b; struct inner c; }; }`, `struct inner { int pad; int inum; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0inner\0a\0b\0c\0pad\0inum\0";
        let name = |text: &str| {
            let needle = format!("\0{text}\0");
            strings.windows(needle.len()).position(|w| w == needle.as_bytes()).expect("a name") as u32 + 1
        };
        let mut types: Vec<u32> = Vec::new();
        let structure = |types: &mut Vec<u32>, name_at: u32, members: &[(u32, u32, u32)]| {
            types.extend([name_at, KIND_STRUCT << 24 | members.len() as u32, 16]);
            for &(member, of, bits) in members {
                types.extend([member, of, bits]);
            }
        };
        types.extend([name("int"), 1 << 24, 4, 32]);
        structure(&mut types, name("inner"), &[(name("pad"), 1, 0), (name("inum"), 1, 32)]);
        structure(&mut types, 0, &[(name("b"), 1, 0), (name("c"), 2, 32)]);
        structure(&mut types, name("outer"), &[(name("a"), 1, 0), (0, 3, 32)]);
        let type_bytes = types.len() as u32 * 4;
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [24, 0, type_bytes, type_bytes, strings.len() as u32] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn fields_are_found_through_anonymous_and_named_members() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).expect("BTF");
        assert_eq!(btf.offset("outer", "a"), Some(0));
        assert_eq!(btf.offset("outer", "b"), Some(4));
        assert_eq!(btf.offset("outer", "c.inum"), Some(12));
        assert_eq!(btf.offset("outer", "nothing"), None);
        assert_eq!(btf.offset("nothing", "a"), None);
    }

    #[test]
    fn damaged_bytes_are_an_error_that_says_where() {
        let bytes = sample();
        assert_eq!(Btf::parse(b"ELF").expect_err("no BTF").at, 0);
        for len in 0..bytes.len() {
            assert!(Btf::parse(&bytes[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn the_running_kernel_has_the_fields_that_every_kernel_has() {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("a kernel with BTF");
        let btf = Btf::parse(&bytes).expect("BTF");
        assert_eq!(btf.offset("sock_common", "skc_daddr"), Some(0));
        assert!(btf.offset("tcp_sock", "copied_seq").is_some_and(|at| at > 0));
        assert!(btf.offset("net", "ns.inum").is_some());
    }
}
