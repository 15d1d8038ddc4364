//! Executables that were looked into, so that each is read once, however many processes run it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Mutex, PoisonError};

use super::elf::ReadAt;
use super::program::{self, Binary};

/// Executables remembered, about 150 bytes each. When there are more, all are forgotten: a machine that runs so many
/// different ones in a row would gain nothing from a better rule.
const MAX_PROGRAMS: usize = 4096;

/// What is known of executables.
#[derive(Debug, Default)]
pub struct Programs {
    known: Mutex<HashMap<Identity, Option<Binary>>>,
}

/// A file as it is now: it may be written to, or another may take its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Programs {
    /// What an open executable of this file name shows.
    #[must_use]
    pub fn inspect(&self, file: File, name: &str) -> Option<Binary> {
        let status = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let identity = Identity {
            device: status.dev(),
            inode: status.ino(),
            length: status.len(),
            modified: (status.mtime(), status.mtime_nsec()),
        };
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&identity) {
            return known.clone();
        }
        // Not under the lock: reading may take long.
        let found = program::inspect(file, name);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_PROGRAMS {
            known.clear();
        }
        known.insert(identity, found.clone());
        found
    }
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(length).ok()?;
        bytes.resize(length, 0);
        self.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> File {
        File::open("/proc/self/exe").expect("it runs")
    }

    #[test]
    fn an_executable_is_read_once() {
        let programs = Programs::default();
        let first = programs.inspect(own(), "x").expect("an executable");
        assert_eq!(first.language, Some("rust"));
        assert_eq!(programs.inspect(own(), "x"), Some(first));
        assert_eq!(programs.known.lock().expect("no panic").len(), 1);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let programs = Programs::default();
        assert_eq!(programs.inspect(File::open("/dev/null").expect("it is there"), "x"), None);
        assert!(programs.known.lock().expect("no panic").is_empty());
    }
}
