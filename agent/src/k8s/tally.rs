//! What talking to the API server costs: requests, bytes, restarts, what is kept.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Pods of this node, or of an address.
    Pods,
    /// Namespaces.
    Namespaces,
    /// This node.
    Nodes,
    /// Services of an address.
    Services,
    /// Owners of pods.
    ReplicaSets,
    /// Owners of pods.
    Jobs,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It was answered.
    Ok,
    /// It may not be asked.
    Denied,
    /// There is no such thing.
    NotFound,
    /// The past is gone: a list is needed.
    Gone,
    /// The server has too much to do.
    Throttled,
    /// No answer, none in time, or one that failed.
    Failed,
    /// An answer that makes no sense, or is too long.
    Malformed,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Pods, Self::Namespaces, Self::Nodes, Self::Services, Self::ReplicaSets, Self::Jobs];

    /// As the API names it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::Services => "services",
            Self::ReplicaSets => "replicasets",
            Self::Jobs => "jobs",
        }
    }
}

impl Ending {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Ok, Self::Denied, Self::NotFound, Self::Gone, Self::Throttled, Self::Failed, Self::Malformed];

    /// As it is shown.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
        }
    }
}

const KINDS: usize = Kind::ALL.len();
const ENDINGS: usize = Ending::ALL.len();

/// Counters, shared by reference.
#[derive(Debug, Default)]
pub struct Tally {
    requests: [[AtomicU64; ENDINGS]; KINDS],
    bytes: [AtomicU64; KINDS],
    watches: [AtomicU64; KINDS],
    dropped_asks: AtomicU64,
    pods: AtomicU64,
    owners: AtomicU64,
}

impl Tally {
    pub(super) fn ended(&self, kind: Kind, ending: Ending) {
        self.requests[kind as usize][ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, kind: Kind, bytes: usize) {
        self.bytes[kind as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn watch_began(&self, kind: Kind) {
        self.watches[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped_asks(&self) {
        self.dropped_asks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn keeps(&self, pods: usize, owners: usize) {
        self.pods.store(pods as u64, Ordering::Relaxed);
        self.owners.store(owners as u64, Ordering::Relaxed);
    }

    /// Requests that ended so.
    #[must_use]
    pub fn requests(&self, kind: Kind, ending: Ending) -> u64 {
        self.requests[kind as usize][ending as usize].load(Ordering::Relaxed)
    }

    /// Bytes read of answers.
    #[must_use]
    pub fn bytes(&self, kind: Kind) -> u64 {
        self.bytes[kind as usize].load(Ordering::Relaxed)
    }

    /// Watches begun.
    #[must_use]
    pub fn watches(&self, kind: Kind) -> u64 {
        self.watches[kind as usize].load(Ordering::Relaxed)
    }

    /// Addresses that were not looked up, because too many waited.
    #[must_use]
    pub fn asks_dropped(&self) -> u64 {
        self.dropped_asks.load(Ordering::Relaxed)
    }

    /// Pods kept, those that are gone for a while included.
    #[must_use]
    pub fn pods(&self) -> u64 {
        self.pods.load(Ordering::Relaxed)
    }

    /// Owners kept.
    #[must_use]
    pub fn owners(&self) -> u64 {
        self.owners.load(Ordering::Relaxed)
    }
}
