//! Cgroups as container runtimes make them, on this machine's real hierarchy.

use std::fs;
use std::path::PathBuf;

/// Enters the cgroup `$1` and becomes what follows.
const ENTER: &str = r#"group=$1; shift; echo $$ >"$group/cgroup.procs" && exec "$@""#;

/// A cgroup and all above it that was made for it. They are removed on drop, if nobody is in them any more.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    made: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes one at this path below the root of version 2.
    #[must_use]
    #[track_caller]
    pub fn new(path: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let root = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let mut here = PathBuf::from(root.and_then(|line| line.split(' ').nth(1)).expect("cgroup2 is mounted"));
        let mut made = Vec::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            here.push(part);
            match fs::create_dir(&here) {
                Ok(()) => made.push(here.clone()),
                // Another test makes it at the same time.
                Err(_) if here.is_dir() => {}
                Err(error) => panic!("{}: {error}", here.display()),
            }
        }
        Self { path: here, made }
    }

    /// What a program is to be started through so that it runs in there.
    #[must_use]
    pub fn enter(&self) -> Vec<String> {
        ["sh", "-c", ENTER, "sh"].iter().map(ToString::to_string).chain([self.path.display().to_string()]).collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            let _ = fs::remove_dir(path);
        }
    }
}
