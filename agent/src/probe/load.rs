//! From the embedded object to loaded programs: what is needed, what is missing, what to do about it.

use std::io;

use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use rustix::thread::CapabilitySet;
use wirespan_common::record::MAX_HEAD_BYTES;
use wirespan_common::settings::Settings as KernelSettings;
use zerocopy::IntoBytes as _;

use super::error::{BTF_PATH, LoadError};
use super::exchange::{self, Sizes};
use super::{btf, fields};
use crate::rights::capability;

const LOCKDOWN_PATH: &str = "/sys/kernel/security/lockdown";

/// What the plane is loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much may wait of each CPU's records: a power of two, a page to a mebibyte, bytes.
    pub buffer_bytes: u32,
    /// Bytes copied of each message of the end that opened the connection; at most [`MAX_HEAD_BYTES`].
    pub request_head_bytes: u32,
    /// Bytes copied of each message of the end that accepted it; at most [`MAX_HEAD_BYTES`].
    pub response_head_bytes: u32,
    /// Whether probes may be put on programs: on the instructions by which Go's `net/http` hands requests over.
    pub uprobes: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let defaults = KernelSettings::DEFAULT;
        Self {
            buffer_bytes: default_buffer_bytes(),
            request_head_bytes: defaults.request_head_bytes,
            response_head_bytes: defaults.response_head_bytes,
            uprobes: true,
        }
    }
}

/// What takes 16 MiB for all CPUs together, twice that for more than 64 of them. A mebibyte is 70 ms of 10 000 requests a
/// second on two CPUs. Large halves of the exchange cost nothing as long as they are emptied in time.
fn default_buffer_bytes() -> u32 {
    match cpus().unwrap_or(1) {
        0..=8 => 1 << 20,
        9..=32 => 256 << 10,
        _ => 128 << 10,
    }
}

/// How many CPUs the kernel may ever bring up.
pub(super) fn cpus() -> io::Result<usize> {
    aya::util::nr_cpus().map_err(|(_, error)| error)
}

/// The object, its maps made, no program loaded yet.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) btf: Btf,
    /// Optional kernel fields that are not there.
    pub(super) missing_fields: Vec<String>,
    /// What they were loaded from.
    pub(super) object: &'static [u8],
}

/// Where the programs keep what they remember of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum States {
    /// With the socket: cheapest, and gone with it.
    WithSocket,
    /// In a hash by socket cookie, for kernels before 5.11.
    ByCookie,
}

/// How records come from the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Through shared memory.
    Exchange,
    /// Through the kernel's ring buffers, for kernels before 5.12.
    Rings,
}

/// Checks what is needed, resolves the kernel's fields and makes the maps.
pub(super) fn load(settings: Settings, transport: Transport, states: States) -> Result<Loaded, LoadError> {
    let object = object(transport).ok_or(LoadError::NoObject)?;
    privileged()?;
    if std::fs::read_to_string(LOCKDOWN_PATH).is_ok_and(|modes| modes.contains("[confidentiality]")) {
        return Err(LoadError::Lockdown);
    }
    let bytes = std::fs::read(BTF_PATH).map_err(|source| LoadError::NoBtf { source })?;
    let parsed = btf::Btf::parse(&bytes).map_err(|source| LoadError::BadBtf { source })?;
    let resolved = fields::resolve(&parsed).map_err(|field| LoadError::NoField { field })?;
    let sizes = Sizes::of(settings.buffer_bytes);
    #[expect(clippy::cast_possible_truncation, reason = "a half is a mebibyte at most")]
    let kernel_settings = KernelSettings {
        own_tgid: std::process::id(),
        request_head_bytes: settings.request_head_bytes.min(MAX_HEAD_BYTES),
        response_head_bytes: settings.response_head_bytes.min(MAX_HEAD_BYTES),
        states_by_cookie: u32::from(states == States::ByCookie),
        half_bytes: sizes.half as u32,
        half_limit_bytes: sizes.limit,
        offsets: resolved.offsets,
        ..KernelSettings::DEFAULT
    };
    drop(parsed);
    drop(bytes);

    let refused = |source: EbpfError| LoadError::Refused { source: Box::new(source) };
    let btf = Btf::from_sys_fs().map_err(|source| refused(source.into()))?;
    let cpus = u32::try_from(cpus().map_err(|source| LoadError::NoBtf { source })?).unwrap_or(u32::MAX);
    let mut loader = EbpfLoader::new();
    match transport {
        Transport::Exchange => {
            for (_, map) in exchange::MAPS {
                // What is not used should be small.
                loader.map_max_entries(map, if map == sizes.map() { cpus } else { 1 });
            }
        }
        Transport::Rings => _ = loader.map_max_entries("RINGS", cpus),
    }
    if states == States::WithSocket {
        // Not used, and an LRU hash takes all its memory at once.
        loader.map_max_entries("STATES_BY_COOKIE", 1);
    }
    let ebpf = loader
        .btf(Some(&btf))
        .override_global("SETTINGS", kernel_settings.as_bytes(), true)
        .load(object)
        .map_err(refused)?;
    Ok(Loaded { ebpf, btf, missing_fields: resolved.missing, object })
}

#[cfg(wirespan_bpf_object)]
fn object(transport: Transport) -> Option<&'static [u8]> {
    Some(match transport {
        Transport::Exchange => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/exchange.bpf.o")),
        Transport::Rings => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ring.bpf.o")),
    })
}

#[cfg(not(wirespan_bpf_object))]
fn object(_: Transport) -> Option<&'static [u8]> {
    None
}

fn privileged() -> Result<(), LoadError> {
    let held = capability::held().unwrap_or(CapabilitySet::empty());
    let missing = capability::missing(held);
    if missing.is_empty() { Ok(()) } else { Err(LoadError::NotPrivileged { missing: missing.join(", ") }) }
}
