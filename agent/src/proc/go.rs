//! Go programs: which version made one, where its goroutines keep their ids, and where its `net/http` hands requests to
//! its connections. All of it is read from the executable file, stripped or not, with bounds: a file may lie.
//!
//! - [`elf`]: the parts of the file, read as far as they are needed.
//! - [`build`]: what the Go linker wrote about itself.
//! - [`functions`]: Go's own table of functions, which no stripping removes, since the runtime needs it.
//! - [`prologue`]: the instruction of a function's beginning to put a probe on.

mod build;
mod elf;
mod functions;
mod prologue;

use std::fs::File;

use wirespan_common::link::Goroutines;

use elf::Elf;

/// A Go program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its version is 1 dot this.
    pub minor: u32,
    /// Where its goroutines are found.
    pub goroutines: Goroutines,
    /// Where `net/http` hands requests over. `None` if the program has no such client, or it has another form.
    pub http: Option<HttpClient>,
}

/// Places in the file, bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HttpClient {
    /// Within the first instructions of `net/http.(*persistConn).roundTrip`.
    pub call_at: u64,
    /// The same of `net/http.(*persistConn).writeLoop`.
    pub writer_at: u64,
}

/// Why the goroutines of a program are not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// Nothing that Go made.
    #[error("it is no Go program")]
    NotGo,
    /// For another machine than the one this agent was built for, or one of which it is not known where goroutines are.
    #[error("the goroutine that a thread runs can be read on x86-64 only")]
    Machine,
    /// Older or newer than the versions that are known.
    #[error("its version, `{0}`, is not one of Go 1.17 to 1.26")]
    Version(String),
    /// The program has storage of its own for each thread, and Go's place among it is not known.
    #[error("its threads keep more than the goroutine in their own storage")]
    ThreadStorage,
    /// The file can't be read, or contradicts itself.
    #[error("its file can't be understood")]
    Damaged,
}

/// `g.goid` and `g.parentGoid` of each version, bytes from the beginning of `runtime.g`; as the debug information of programs
/// made by the first and the last release of each says. The latter came with 1.21.
const OFFSETS: &[(std::ops::RangeInclusive<u32>, u16, u16)] =
    &[(17..=20, 152, 0), (21..=22, 152, 272), (23..=24, 160, 280), (25..=25, 152, 272), (26..=26, 152, 280)];

/// A program without other thread storage keeps the goroutine right below the thread's base.
const G_BELOW: u16 = 8;

/// What is to be known of a program.
///
/// # Errors
/// If its goroutines can't be read; that it is no Go program is the usual answer, and quick.
pub fn examine(file: &File) -> Result<Program, Unread> {
    let elf = Elf::read(file).ok_or(Unread::NotGo)?;
    let version = build::version(&elf).ok_or(Unread::NotGo)?;
    if !elf.is_x86_64() || !cfg!(target_arch = "x86_64") {
        return Err(Unread::Machine);
    }
    let minor = build::minor(&version);
    let known = minor.and_then(|minor| OFFSETS.iter().find(|(minors, ..)| minors.contains(&minor)).zip(Some(minor)));
    let Some(((_, goid_at, parent_goid_at), minor)) = known else { return Err(Unread::Version(version)) };
    if elf.thread_storage_bytes().is_some_and(|bytes| bytes != u64::from(G_BELOW)) {
        return Err(Unread::ThreadStorage);
    }
    let goroutines = Goroutines { g_below: G_BELOW, goid_at: *goid_at, parent_goid_at: *parent_goid_at, pad: 0 };
    Ok(Program { minor, goroutines, http: http_client(&elf) })
}

fn http_client(elf: &Elf<'_>) -> Option<HttpClient> {
    let [call, writer] =
        functions::find(elf, [b"net/http.(*persistConn).roundTrip", b"net/http.(*persistConn).writeLoop"])?;
    Some(HttpClient { call_at: prologue::place(elf, call)?, writer_at: prologue::place(elf, writer)? })
}

#[cfg(test)]
mod tests;
