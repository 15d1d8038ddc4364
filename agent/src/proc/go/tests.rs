//! A small file that looks like a Go program, and what becomes of it when bytes of it are others.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

/// Where the file is loaded to.
const BASE: u64 = 0x40_0000;
const TEXT: usize = 0x100;
const INFO: usize = 0x200;
const TABLE: usize = 0x300;
const MODULE: usize = 0x700;
const NAMES: usize = 0x800;
const SECTIONS: usize = 0x900;
const END: usize = SECTIONS + 6 * 64;

/// `cmp 0x10(%r14), %rsp; jbe; push %rbp`
const BEGINNING: [u8; 7] = [0x49, 0x3b, 0x66, 0x10, 0x76, 0x20, 0x55];
/// Functions begin so far apart.
const APART: usize = 0x20;
const FUNCTIONS: [&str; 3] = ["main.main", "net/http.(*persistConn).writeLoop", "net/http.(*persistConn).roundTrip"];

/// The bytes of a program of this version.
fn program(version: &str) -> Vec<u8> {
    let mut file = vec![0; END];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01");
    put(18, &62_u16.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(40, &(SECTIONS as u64).to_le_bytes());
    put(56, &1_u16.to_le_bytes());
    put(60, &6_u16.to_le_bytes());
    put(62, &1_u16.to_le_bytes());
    // One segment, with everything.
    put(64, &1_u32.to_le_bytes());
    put(64 + 16, &BASE.to_le_bytes());
    put(64 + 32, &(END as u64).to_le_bytes());

    put(INFO, b"\xff Go buildinf:\x08\x02");
    put(INFO + 32, &[u8::try_from(version.len()).expect("a short version")]);
    put(INFO + 33, version.as_bytes());

    // The table of functions: header, names, functions, each with a description.
    let names: String = FUNCTIONS.iter().map(|name| format!("\0{name}")).collect::<String>() + "\0";
    let functions = 0x200_usize;
    put(TABLE, &[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]);
    let words = [FUNCTIONS.len(), 0, 0, 72, 72 + names.len(), 72 + names.len(), 72 + names.len(), functions];
    for (number, word) in words.into_iter().enumerate() {
        put(TABLE + 8 + 8 * number, &(word as u64).to_le_bytes());
    }
    put(TABLE + 72, names.as_bytes());
    let number = |number: usize| u32::try_from(number).expect("a small number").to_le_bytes();
    for (index, name) in FUNCTIONS.iter().enumerate() {
        let described = 0x80 + 0x10 * index;
        put(TEXT + APART * index, &BEGINNING);
        put(TABLE + functions + 8 * index, &number(APART * index));
        put(TABLE + functions + 8 * index + 4, &number(described));
        put(TABLE + functions + described, &number(APART * index));
        put(TABLE + functions + described + 4, &number(names.find(name).expect("it is there")));
    }
    put(MODULE, &(BASE + TABLE as u64).to_le_bytes());
    put(MODULE + 176, &(BASE + TEXT as u64).to_le_bytes());

    let sections: [(&str, usize, usize); 4] = [
        (".shstrtab", NAMES, 0x80),
        (".go.buildinfo", INFO, 0x100),
        (".gopclntab", TABLE, 0x400),
        (".go.module", MODULE, 0x100),
    ];
    let mut name_at = 1;
    for (index, (name, at, bytes)) in sections.into_iter().enumerate() {
        let header = SECTIONS + 64 * (index + 1);
        put(NAMES + name_at, name.as_bytes());
        put(header, &number(name_at));
        put(header + 4, &number(1));
        put(header + 16, &(BASE + at as u64).to_le_bytes());
        put(header + 24, &(at as u64).to_le_bytes());
        put(header + 32, &(bytes as u64).to_le_bytes());
        name_at += name.len() + 1;
    }
    file
}

fn examined(bytes: &[u8]) -> Result<Program, Unread> {
    let mut file = File::from(rustix::fs::memfd_create("go", rustix::fs::MemfdFlags::empty()).expect("a file"));
    file.write_all(bytes).expect("written");
    examine(&file)
}

#[test]
fn a_program_is_known_by_what_the_linker_wrote() {
    let found = examined(&program("go1.26.1")).expect("a Go program");
    let push = |index: usize| (TEXT + APART * index + 6) as u64;
    assert_eq!(found.minor, 26);
    assert_eq!((found.goroutines.goid_at, found.goroutines.parent_goid_at), (152, 280));
    assert_eq!(found.http, Some(HttpClient { call_at: push(2), writer_at: push(1) }));
}

#[test]
fn each_version_has_offsets_of_its_own_and_others_have_none() {
    let offsets = |version: &str| {
        examined(&program(version)).map(|found| (found.goroutines.goid_at, found.goroutines.parent_goid_at))
    };
    assert_eq!(offsets("go1.17.13"), Ok((152, 0)));
    assert_eq!(offsets("go1.22.1"), Ok((152, 272)));
    assert_eq!(offsets("go1.23rc1"), Ok((160, 280)));
    assert_eq!(offsets("go1.25.3"), Ok((152, 272)));
    for version in ["go1.16.15", "go1.27", "devel"] {
        assert_eq!(offsets(version), Err(Unread::Version(version.to_owned())));
    }
}

#[test]
fn a_program_without_the_client_has_no_places() {
    let mut bytes = program("go1.26.1");
    let at = memchr::memmem::find(&bytes, b"writeLoop").expect("it is there");
    bytes[at] = b'W';
    assert_eq!(examined(&bytes).expect("a Go program").http, None);
}

#[test]
fn what_is_no_program_of_gos_is_none() {
    let own = File::open("/proc/self/exe").expect("it runs");
    assert_eq!(examine(&own), Err(Unread::NotGo));
    assert_eq!(examined(b""), Err(Unread::NotGo));
    assert_eq!(examined(&program("go1.26.1")[..80]), Err(Unread::NotGo));
}

proptest! {
    #[test]
    fn a_file_that_lies_is_read_within_bounds(lies in proptest::collection::vec((0..END, any::<u8>()), 1..12), cut in 0..END) {
        let mut bytes = program("go1.26.1");
        for (at, byte) in lies {
            bytes[at] = byte;
        }
        let _ = examined(&bytes);
        bytes.truncate(cut);
        let _ = examined(&bytes);
    }
}
