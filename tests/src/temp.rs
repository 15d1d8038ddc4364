//! A directory that goes with the test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

use crate::child::Program;

/// A directory of its own, readable by every user, removed on drop.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one; `label` helps a person to find it.
    #[must_use]
    pub fn new(label: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("wirespan-tests-{}-{number}-{label}", process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it and says where it is.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Copies a program into it, for everybody to run, and says where it is.
    ///
    /// Another process writes the copy: a child that another test starts meanwhile would inherit our descriptor for
    /// writing, and a file that somebody may write cannot be run ("Text file busy").
    #[must_use]
    #[track_caller]
    pub fn program(&self, from: &Path, name: &str) -> PathBuf {
        let path = self.0.join(name);
        let _ = Program::new("install").arg("--mode=755").arg(from).arg(&path).run().well();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left over is in the system's directory for such things; a failing test must not fail twice.
        let _ = fs::remove_dir_all(&self.0);
    }
}
