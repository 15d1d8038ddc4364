//! The instruction of a function's beginning that a probe is put on.
//!
//! A probe on an instruction that the kernel can carry out itself costs 0.6 us instead of 20. A Go function begins with a look
//! at how much stack is left, a jump if that is too little, and (since 1.21) a push of the frame pointer. The push is best: the
//! arguments are still in their registers there, and it is run once even if the stack must grow. Before 1.21 the jump is taken;
//! it is run twice where the stack grows.

use super::elf::Elf;

/// Bytes looked at; the longest beginning takes 26.
const BYTES: u64 = 32;
/// `push %rbp`
const PUSH: u8 = 0x55;

/// Where in the file to put a probe on the function that begins at this address. `None` if it begins unlike all we know.
pub(super) fn place(elf: &Elf<'_>, address: u64) -> Option<u64> {
    let code = elf.loaded(address, BYTES)?;
    elf.offset_of(address)?.checked_add(instruction(&code)? as u64)
}

/// Bytes from the function's beginning.
fn instruction(code: &[u8]) -> Option<usize> {
    let check = match code {
        // cmp 0x10(%r14), %rsp
        [0x49, 0x3b, 0x66, 0x10, ..] => 4,
        // lea -N(%rsp), %r12; cmp 0x10(%r14), %r12, with N of a byte or of four.
        [0x4c, 0x8d, 0x64, 0x24, _, 0x4d, 0x3b, 0x66, 0x10, ..] => 9,
        [0x4c, 0x8d, 0xa4, 0x24, _, _, _, _, 0x4d, 0x3b, 0x66, 0x10, ..] => 12,
        _ => return None,
    };
    let behind = match code.get(check..)? {
        // jbe, near or far.
        [0x76, _, ..] => check + 2,
        [0x0f, 0x86, ..] => check + 6,
        _ => return None,
    };
    Some(if code.get(behind) == Some(&PUSH) { behind } else { check })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_is_taken_where_there_is_one_else_the_jump() {
        let small = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x55, 0x48, 0x89, 0xe5];
        assert_eq!(instruction(&small), Some(6));
        let large = [0x4c, 0x8d, 0x64, 0x24, 0xf8, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 2, 3, 4, 0x55, 0x48];
        assert_eq!(instruction(&large), Some(15));
        let larger = [0x4c, 0x8d, 0xa4, 0x24, 8, 1, 0xff, 0xff, 0x4d, 0x3b, 0x66, 0x10, 0x0f, 0x86, 1, 2, 3, 4, 0x55];
        assert_eq!(instruction(&larger), Some(18));
        let older = [0x4c, 0x8d, 0x64, 0x24, 0xf8, 0x4d, 0x3b, 0x66, 0x10, 0x76, 0x30, 0x48, 0x81, 0xec];
        assert_eq!(instruction(&older), Some(9));
    }

    #[test]
    fn what_begins_otherwise_is_left_alone() {
        for code in [&[0x90; 32][..], &[0x55, 0x48, 0x89, 0xe5], &[0x49, 0x3b, 0x66, 0x10, 0x75, 0], &[]] {
            assert_eq!(instruction(code), None);
        }
    }
}
