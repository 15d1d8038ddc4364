//! What the user may set. Pure: files and the environment are read by the rim.
//!
//! - [`setting`]: the table of all settings.
//! - [`yaml`] and [`file`]: the configuration file.
//! - [`layers`]: command line over environment over file over defaults.
//! - [`show`]: what came of it, and the schema of the file.
//! - [`select`]: which processes and ports are traced.

#[cfg(feature = "rim")]
pub mod file;
#[cfg(feature = "rim")]
pub mod layers;
#[cfg(feature = "rim")]
pub mod problem;
pub mod select;
#[cfg(feature = "rim")]
pub mod setting;
#[cfg(feature = "rim")]
pub mod show;
#[cfg(feature = "rim")]
pub mod yaml;

pub use select::{Need, Selection, Selector, Subject};

/// What becomes of TCP connections, besides the requests on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// Nothing.
    Off,
    /// A span each.
    #[default]
    Spans,
    /// Totals per process only.
    Metrics,
}

/// Everything that changes what the core does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What becomes of TCP connections.
    pub connections: Connections,
    /// A connection that lives longer is reported in segments of this many nanoseconds.
    pub segment_ns: u64,
    /// Which processes and ports are traced.
    pub selection: Selection,
    /// Connections kept at once; the oldest idle one goes first. About 2 KiB each.
    pub max_connections: usize,
    /// Link the calls of a process to the requests that it answers. No setting turns that off: what it costs is measured so.
    pub links: bool,
    /// How long a span waits for the request that it belongs to, nanoseconds after its last byte.
    pub link_wait_ns: u64,
    /// Emit the attribute names of before the stable HTTP conventions too (`OTEL_SEMCONV_STABILITY_OPT_IN=http/dup`).
    pub legacy_http_names: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: Connections::Spans,
            segment_ns: 60_000_000_000,
            selection: Selection::default(),
            max_connections: 32_768,
            links: true,
            link_wait_ns: 1_000_000_000,
            legacy_http_names: false,
        }
    }
}
