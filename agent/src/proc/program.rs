//! What a program is written in and what runs it: from its executable, and from the files that it has mapped. Pure.
//!
//! Not from names alone: `python` may be anything, and an interpreter may be called after a product. What counts is, in this
//! order:
//!
//! | | sign | version from |
//! |---|---|---|
//! | Go | section `.go.buildinfo` or `.note.go.buildid` | the former |
//! | Java, Node, Python, Ruby, PHP, .NET | the library of the runtime among those that the executable needs or has mapped | the library's name, for Java and .NET its directory's |
//! | Node, Python, PHP | a function that only the runtime exports, where it is built in | text, variable or file name of the executable |
//! | Rust, C++, C | the compiler's signature in `.comment`; Rust's own paths; the C++ library | |
//!
//! All of it is what the process shows of itself: it decides about nothing but what is said of it.

use super::elf::{Elf, ReadAt};

/// What an executable shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binary {
    /// The language.
    pub language: Option<&'static str>,
    /// What runs it.
    pub runtime: Option<&'static str>,
    /// The version of that.
    pub runtime_version: Option<String>,
    /// The program's own version, if it is built in.
    pub version: Option<String>,
}

/// Longest version kept, bytes.
const MAX_VERSION: usize = 64;
/// What Go's linker puts before its build information (`debug/buildinfo` of Go).
const GO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// The header before the texts.
const GO_HEADER: usize = 32;
/// Set where the texts follow the header (Go 1.18 and later).
const GO_INLINE: u8 = 2;
/// The module information stands between marks of so many bytes.
const GO_MARK: usize = 16;

/// A runtime and the beginning of its library's name.
struct Library {
    prefix: &'static str,
    language: &'static str,
    runtime: &'static str,
}

const LIBRARIES: &[Library] = &[
    Library { prefix: "libjvm.so", language: "java", runtime: "java" },
    // Needed by the launcher, which loads the machine itself later.
    Library { prefix: "libjli.so", language: "java", runtime: "java" },
    Library { prefix: "libcoreclr.so", language: "dotnet", runtime: ".NET" },
    Library { prefix: "libhostfxr.so", language: "dotnet", runtime: ".NET" },
    Library { prefix: "libnode.so", language: "nodejs", runtime: "nodejs" },
    Library { prefix: "libpython", language: "python", runtime: "cpython" },
    Library { prefix: "libruby", language: "ruby", runtime: "ruby" },
    Library { prefix: "libphp", language: "php", runtime: "php" },
];

/// Functions that only a runtime exports.
const EXPORTS: &[(&[u8], &str, &str)] = &[
    (b"\0napi_create_function\0", "nodejs", "nodejs"),
    (b"\0Py_BytesMain\0", "python", "cpython"),
    (b"\0php_module_startup\0", "php", "php"),
    (b"\0ruby_run_node\0", "ruby", "ruby"),
];

/// Versions of Node by those of its binary interface (`NODE_MODULE_VERSION`), which are in the name of its library.
const NODES: &[(&str, &str)] = &[
    ("72", "12"),
    ("83", "14"),
    ("93", "16"),
    ("108", "18"),
    ("115", "20"),
    ("127", "22"),
    ("131", "23"),
    ("137", "24"),
];

/// Reads an executable of this file name.
pub fn inspect(file: impl ReadAt, name: &str) -> Option<Binary> {
    let mut elf = Elf::open(file)?;
    if elf.has(".go.buildinfo") || elf.has(".note.go.buildid") {
        return Some(go(elf.section(".go.buildinfo").as_deref().unwrap_or_default()));
    }
    let needed = elf.needed();
    if let Some(binary) = needed.iter().find_map(|library| of_library(library)) {
        return Some(binary);
    }
    if let Some(strings) = elf.section(".dynstr")
        && let Some((_, language, runtime)) =
            EXPORTS.iter().find(|(export, ..)| memchr::memmem::find(&strings, export).is_some())
    {
        let runtime_version = built_in(&mut elf, runtime, name);
        return Some(Binary { language: Some(language), runtime: Some(runtime), runtime_version, version: None });
    }
    let comment = elf.section(".comment").unwrap_or_default();
    let has = |text: &[u8], what: &[u8]| memchr::memmem::find(text, what).is_some();
    let is_rust = has(&comment, b"rustc version ") || elf.section(".rodata").is_some_and(|data| has(&data, b"/rustc/"));
    let language = if is_rust {
        Some("rust")
    } else if needed.iter().any(|library| library.starts_with("libstdc++.so") || library.starts_with("libc++.so")) {
        Some("cpp")
    } else if has(&comment, b"GCC:") || has(&comment, b"clang version ") {
        Some("c")
    } else {
        None
    };
    Some(Binary { language, ..Binary::default() })
}

/// What the names of mapped files (the text of `/proc/PID/maps`) tell.
#[must_use]
pub fn mapped(maps: &str) -> Option<Binary> {
    let paths = || maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    let found = paths().filter_map(|path| of_library(path).map(|binary| (binary, path)));
    // The launcher's library says less than the machine itself.
    let (mut binary, path) =
        found.max_by_key(|(binary, path)| (binary.runtime_version.is_some(), path.contains("libjvm")))?;
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    binary.runtime_version = binary.runtime_version.or_else(|| match binary.language {
        Some("java") => directory.split('/').rev().find_map(version_of_java),
        Some("dotnet") => directory.rsplit('/').next().and_then(version),
        _ => None,
    });
    Some(binary)
}

/// The runtime that a library belongs to, by its file name.
fn of_library(path: &str) -> Option<Binary> {
    let path = path.trim_end().trim_end_matches(" (deleted)");
    let name = path.rsplit('/').next()?;
    let library = LIBRARIES.iter().find(|library| {
        let rest = name.strip_prefix(library.prefix);
        rest.is_some_and(|rest| library.prefix.ends_with(".so") || (rest.contains(".so") && is_version_like(rest)))
    })?;
    let rest = &name[library.prefix.len()..];
    let runtime_version = match library.language {
        "python" | "ruby" | "php" => {
            version(rest.trim_start_matches('-')).or_else(|| version(rest.split_once(".so.")?.1))
        }
        "nodejs" => {
            NODES.iter().find(|(abi, _)| rest.strip_prefix('.') == Some(abi)).map(|(_, version)| (*version).to_owned())
        }
        _ => None,
    };
    Some(Binary { language: Some(library.language), runtime: Some(library.runtime), runtime_version, version: None })
}

/// `3.11.so.1.0`, `-3.1.so.3.1`, `.so`; not `ical.so` of some other library.
fn is_version_like(rest: &str) -> bool {
    rest.split(".so")
        .next()
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'm')))
}

/// The version of a runtime that is the executable itself.
fn built_in<F: ReadAt>(elf: &mut Elf<F>, runtime: &str, name: &str) -> Option<String> {
    match runtime {
        // `Py_Version`, since 3.11: a byte each for major, minor and micro, one for the level.
        "cpython" => {
            let number = elf.variable("Py_Version", 8).and_then(|bytes| bytes.try_into().ok().map(u64::from_le_bytes));
            let text =
                number.map(|number| format!("{}.{}.{}", number >> 24 & 0xff, number >> 16 & 0xff, number >> 8 & 0xff));
            text.or_else(|| version(name.trim_start_matches("python")))
        }
        // Where to get its source is built into Node.
        "nodejs" => {
            let data = elf.section(".rodata")?;
            let before = b"nodejs.org/download/release/v";
            let at = memchr::memmem::find(&data, before)? + before.len();
            version(&String::from_utf8_lossy(data.get(at..)?.get(..MAX_VERSION)?))
        }
        "php" => version(name.trim_start_matches(|letter: char| !letter.is_ascii_digit())),
        _ => None,
    }
}

/// Go's build information: a header, then two texts, each after its length: the version of Go, and the modules.
fn go(section: &[u8]) -> Binary {
    let mut binary = Binary { language: Some("go"), runtime: Some("go"), ..Binary::default() };
    let is_inline = section.starts_with(GO_MAGIC) && section.get(15).is_some_and(|flags| flags & GO_INLINE != 0);
    let Some((go, rest)) = section.get(GO_HEADER..).filter(|_| is_inline).and_then(go_text) else { return binary };
    let go = String::from_utf8_lossy(go);
    binary.runtime_version =
        go.strip_prefix("go").and_then(|text| text.split_ascii_whitespace().next()).and_then(bounded);
    let modules = go_text(rest).and_then(|(text, _)| text.get(GO_MARK..text.len().checked_sub(GO_MARK)?));
    let modules = String::from_utf8_lossy(modules.unwrap_or_default());
    // `mod`, path, version, sum; `(devel)` where it was not built as a release.
    let own = modules.lines().find_map(|line| line.strip_prefix("mod\t")?.split('\t').nth(1));
    binary.version = own.filter(|version| !version.is_empty() && !version.starts_with('(')).and_then(bounded);
    binary
}

/// A text after its length, which is a varint.
fn go_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0usize;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(length);
        }
    }
    None
}

/// The version that a text begins with: `3.11.so.1.0` is 3.11.
fn version(text: &str) -> Option<String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let version = text[..end].trim_matches('.');
    (!version.is_empty()).then(|| version.to_owned()).filter(|version| version.len() <= MAX_VERSION)
}

/// The version in the name of a directory of Java: `java-17-openjdk-amd64`, `jdk-21.0.2+13`, `jre1.8.0_392`, `zulu17`.
fn version_of_java(directory: &str) -> Option<String> {
    let is_javas = ["java", "jdk", "jre", "zulu", "temurin", "corretto"].iter().any(|name| directory.contains(name));
    let numbers = directory.split('-').filter_map(|token| {
        let token =
            ["java", "openjdk", "jdk", "jre", "zulu"].iter().find_map(|name| token.strip_prefix(name)).unwrap_or(token);
        let is_part = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '_' | '+');
        let number = token.split(|letter| !is_part(letter)).next()?.trim_end_matches(['.', '_', '+']);
        number.starts_with(|first: char| first.is_ascii_digit()).then_some(number)
    });
    // The longest says most; of two, the first.
    let longest = numbers.filter(|_| is_javas).reduce(|one, other| if other.len() > one.len() { other } else { one });
    longest.and_then(bounded)
}

fn bounded(text: &str) -> Option<String> {
    (text.len() <= MAX_VERSION).then(|| text.to_owned())
}

#[cfg(test)]
#[path = "program_tests.rs"]
mod tests;
