//! Probes in programs: attached to an instruction of a file, in whatever process runs it.
//!
//! By links of the kernel's own kind for many probes (6.6). They need no capability once the program is loaded, and are
//! gone with their descriptor. The older kind, by performance events, needs CAP_PERFMON or more for as long as the agent
//! runs, and is slow to detach: it is not used.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use aya::Ebpf;
use aya::maps::Map;
use aya_obj::Object;

use super::verdict::{Standing, Verdict};
use crate::system;

/// What the kernel says to a probe in a directory if it knows such links: that this is no file. One that does not
/// know them says that the request makes no sense.
const NO_FILE: i32 = libc::EBADF;

const PROBE: &str = "Go HTTP clients";
const WITHOUT: &str = "calls that Go programs make with net/http are joined to requests by their order only";

/// The programs of the probes, loaded.
pub(super) struct Probes {
    pub(super) call: OwnedFd,
    pub(super) writer: OwnedFd,
}

/// Loads the programs of probes, and says what became of them. `None` if no probe is to be put on anything.
pub(super) fn prepare(wanted: bool, object: &[u8], ebpf: &Ebpf) -> (Option<Probes>, Verdict) {
    let verdict = |standing, reason| Verdict { probe: PROBE, standing, reason };
    if !wanted {
        return (None, verdict(Standing::Degraded, format!("switched off (--no-uprobes): {WITHOUT}")));
    }
    if !cfg!(target_arch = "x86_64") {
        return (None, verdict(Standing::Unsupported, format!("on x86-64 only; {WITHOUT}")));
    }
    let probes = load(object, ebpf, "go_call").and_then(|call| {
        try_links(call.as_fd())?;
        Ok(Probes { call, writer: load(object, ebpf, "go_writer")? })
    });
    match probes {
        Ok(probes) => (Some(probes), verdict(Standing::Active, "uprobe_multi on Go programs with net/http".to_owned())),
        Err(error) => {
            let reason = format!("uprobe_multi: {error}; Linux 6.6 has such probes; {WITHOUT}");
            (None, verdict(Standing::Unsupported, reason))
        }
    }
}

/// Loads a program of this object whose maps are made already, to be attached by links.
///
/// The loader that does this for all others knows no such links.
fn load(object: &[u8], ebpf: &Ebpf, name: &str) -> io::Result<OwnedFd> {
    let mut object = Object::parse(object).map_err(io::Error::other)?;
    let program = object.programs.remove(name).ok_or(io::ErrorKind::NotFound)?;
    let own = program.function_key();
    let text_sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.programs.clear();
    // The others call for maps that are of no interest here.
    object.functions.retain(|key, _| *key == own);
    let made: Vec<(String, RawFd)> =
        ebpf.maps().filter_map(|(name, map)| Some((name.to_owned(), descriptor(map)?.as_raw_fd()))).collect();
    let maps = std::mem::take(&mut object.maps);
    let known = made.iter().filter_map(|(name, fd)| Some((name.as_str(), *fd, maps.get(name)?)));
    object.relocate_maps(known, &text_sections).map_err(io::Error::other)?;
    let function = object.functions.get(&own).ok_or(io::ErrorKind::NotFound)?;
    system::load_probe(name, &function.instructions, &program.license)
}

/// Attaches a program to an instruction, which lies at this place in the file. The program can ask for the cookie.
pub(super) fn attach(program: BorrowedFd<'_>, file: BorrowedFd<'_>, at: u64, cookie: u64) -> io::Result<OwnedFd> {
    // What is open is meant, whatever has become of its name.
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    system::attach_probe(program, &path, at, cookie)
}

/// Fails if the running kernel has no such links, or does not let us have them.
fn try_links(program: BorrowedFd<'_>) -> io::Result<()> {
    match system::attach_probe(program, c"/", 0, 0) {
        Err(error) if error.raw_os_error() == Some(NO_FILE) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Of the maps that these programs use.
fn descriptor(map: &Map) -> Option<BorrowedFd<'_>> {
    match map {
        Map::Array(map) | Map::PerCpuArray(map) | Map::HashMap(map) | Map::RingBuf(map) => Some(map.fd().as_fd()),
        _ => None,
    }
}
