//! What the kernel programs are told of processes, so that they tell what joins the requests of each.

use std::collections::HashMap;

use aya::maps::{Array, HashMap as BpfHashMap, MapData, MapError};
use wirespan_common::link::{Goroutines, Linked, evidence};

use super::error::chain;

/// All that the kernel programs are told of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Which thread makes and wakes which.
    threads: bool,
    /// Where its goroutines are, if this is a Go program.
    goroutines: Option<Goroutines>,
}

impl Told {
    /// As the kernel programs read it.
    fn to_kernel(self) -> Linked {
        let flag = |wanted, flag| if wanted { flag } else { 0 };
        Linked {
            flags: flag(self.goroutines.is_some(), evidence::ROUTINES) | flag(self.threads, evidence::THREADS),
            go: self.goroutines.unwrap_or_default(),
        }
    }
}

/// The map of processes, and the counter by which sockets learn that it changed.
pub(super) struct Links {
    linked: BpfHashMap<MapData, u32, Bytes>,
    newest: Array<MapData, u32>,
    changes: u32,
    /// What is told of each process.
    told: HashMap<u32, Told>,
}

/// [`Linked`] as a value of a map.
type Bytes = [u8; size_of::<Linked>()];

impl Links {
    pub(super) fn new(linked: BpfHashMap<MapData, u32, Bytes>, newest: Array<MapData, u32>) -> Self {
        Self { linked, newest, changes: 0, told: HashMap::new() }
    }

    /// Whether it is to be told which thread of a process makes and wakes which.
    pub(super) fn watch_threads(&mut self, tgid: u32, is_wanted: bool) {
        let told = Told { threads: is_wanted, ..self.told(tgid) };
        self.tell(tgid, told);
    }

    /// Where the goroutines of a process are.
    pub(super) fn find(&mut self, tgid: u32, goroutines: Goroutines) {
        let told = Told { goroutines: Some(goroutines), ..self.told(tgid) };
        self.tell(tgid, told);
    }

    /// The process has ended, or is another program.
    pub(super) fn forget(&mut self, tgid: u32) {
        self.tell(tgid, Told::default());
    }

    /// Whether a process is left of which wake-ups are wanted.
    pub(super) fn wants_wakes(&self) -> bool {
        self.told.values().any(|told| told.threads)
    }

    fn told(&self, tgid: u32) -> Told {
        self.told.get(&tgid).copied().unwrap_or_default()
    }

    fn tell(&mut self, tgid: u32, told: Told) {
        if self.told(tgid) == told {
            return;
        }
        if let Err(error) = self.write(tgid, told) {
            tracing::debug!("process {tgid}: what joins its requests is not told: {}", chain(&error));
            return;
        }
        if told == Told::default() {
            self.told.remove(&tgid);
        } else {
            self.told.insert(tgid, told);
        }
    }

    fn write(&mut self, tgid: u32, told: Told) -> Result<(), MapError> {
        if told == Told::default() {
            self.linked.remove(&tgid)?;
        } else {
            let value: Bytes = zerocopy::transmute!(told.to_kernel());
            self.linked.insert(tgid, value, 0)?;
        }
        // After the change itself: who sees the number finds the change.
        self.changes = self.changes.wrapping_add(1);
        self.newest.set(0, self.changes, 0)
    }
}
