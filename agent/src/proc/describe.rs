//! One process, as `/proc` shows it: name, executable, user, container, and what it says about itself.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat, readlinkat};

use super::cgroup;
use super::environ::{self, Claims};
use super::stat::{self, Stat};
use crate::flow::fact::Process;

/// Bytes read of an environment. Larger ones exist; what we look for is then found only if it is near the beginning.
const ENVIRON_BYTES: u64 = 256 * 1024;
/// Bytes read of `/proc/PID/stat`: 52 numbers and a name.
const STAT_BYTES: u64 = 4096;
/// Bytes read of `/proc/PID/cgroup`: cgroup v1 has a line for each of a dozen controllers, each with a path.
const CGROUP_BYTES: u64 = 64 * 1024;
/// What the kernel appends to the path of an executable that was replaced or removed since.
const DELETED: &[u8] = b" (deleted)";

/// Finds out about processes. A seam: the table of processes is tested without real ones.
pub trait Lookup {
    /// What a process that still exists is. `None` if it is gone, or not visible to us.
    fn look_up(&self, tgid: u32) -> Option<Process>;
}

/// Looks in `/proc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcFs;

impl Lookup for ProcFs {
    fn look_up(&self, tgid: u32) -> Option<Process> {
        describe(tgid)
    }
}

/// Looks in `/proc`, but not at what lies in the memory of the process, which it can lock.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutsideOnly;

impl Lookup for OutsideOnly {
    fn look_up(&self, tgid: u32) -> Option<Process> {
        describe_with(tgid, |_| Claims::default())
    }
}

/// Describes a process that still exists. Its `start_ns` is rounded down to a clock tick.
#[must_use]
pub fn describe(tgid: u32) -> Option<Process> {
    // What we may not read is not known.
    describe_with(tgid, |directory| {
        read(directory, "environ", ENVIRON_BYTES).map(|text| environ::claims(&text)).unwrap_or_default()
    })
}

fn describe_with(tgid: u32, claims: impl FnOnce(&OwnedFd) -> Claims) -> Option<Process> {
    // The open directory stays with this process: when it ends and its number is used again, reads fail, and don't show
    // the other process.
    let directory = open(CWD, &format!("/proc/{tgid}"), OFlags::DIRECTORY).ok()?;
    let Stat { comm, start_ns, .. } = stat::parse(&read(&directory, "stat", STAT_BYTES).ok()?)?;
    let executable = executable(&directory);
    let claims = claims(&directory);
    let groups = read(&directory, "cgroup", CGROUP_BYTES).unwrap_or_default();
    Some(Process {
        tgid,
        start_ns,
        name: executable.as_deref().and_then(file_name).map_or(comm, str::to_owned),
        executable,
        // The directory belongs to the effective user of the process.
        uid: fstat(&directory).ok().map(|status| status.st_uid),
        container_id: cgroup::container_id(&String::from_utf8_lossy(&groups)).map(str::to_owned),
        service_name: claims.service_name,
        resource_attributes: claims.attributes,
        deselected: false,
    })
}

/// Path of the executable as the process sees it, also after it was replaced on disk.
fn executable(directory: &OwnedFd) -> Option<String> {
    let target = readlinkat(directory, "exe", Vec::new()).ok()?;
    Some(executable_path(OsStr::from_bytes(target.as_bytes())))
}

/// The path that `/proc/PID/exe` means.
pub(super) fn executable_path(target: &OsStr) -> String {
    let target = target.as_bytes();
    String::from_utf8_lossy(target.strip_suffix(DELETED).unwrap_or(target)).into_owned()
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> Option<&str> {
    path.rsplit('/').next().filter(|name| !name.is_empty())
}

fn open(directory: impl AsFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(openat(directory, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

fn read(directory: &OwnedFd, file: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::from(open(directory, file, OFlags::empty())?).take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process of another program that lives until it is dropped, and has begun to be that program.
    struct Cat(Child);

    impl Cat {
        fn start(environment: &[(&str, &str)]) -> Self {
            let mut child = Command::new("cat")
                .envs(environment.iter().copied())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("cat can be started");
            // It answers, so it runs.
            use io::Write;
            child.stdin.as_mut().expect("a pipe").write_all(b"!").expect("it listens");
            child.stdout.as_mut().expect("a pipe").read_exact(&mut [0]).expect("it answers");
            Self(child)
        }
    }

    impl Drop for Cat {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_is_described_by_what_it_runs_and_says() {
        let cat = Cat::start(&[
            ("OTEL_SERVICE_NAME", "lion"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=zoo%20east"),
        ]);
        let process = describe(cat.0.id()).expect("it lives");
        let executable = process.executable.expect("it has one");
        assert_eq!(Some(process.name.as_str()), file_name(&executable));
        assert!(executable.starts_with('/'));
        assert_eq!(process.uid, Some(rustix::process::geteuid().as_raw()));
        assert_eq!(process.service_name.as_deref(), Some("lion"));
        assert_eq!(process.resource_attributes, [("deployment.environment.name".to_owned(), "zoo east".to_owned())]);
        assert!(process.start_ns > 0);
    }

    #[test]
    fn an_executable_that_was_removed_keeps_its_path() {
        let directory = std::env::temp_dir().join(format!("wirespan-describe-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let program = directory.join("short-lived");
        std::fs::copy("/bin/sh", &program).expect("a copy of the shell");
        let mut child = Command::new(&program)
            .args(["-c", "echo WAITING; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the copy starts");
        let mut output = child.stdout.take().expect("a pipe");
        let mut seen = [0; "WAITING\n".len()];
        output.read_exact(&mut seen).expect("it says that it waits");
        std::fs::remove_dir_all(&directory).expect("we made it");
        let process = describe(child.id());
        drop(child.stdin.take());
        child.wait().expect("it ends");
        let process = process.expect("it lived");
        assert_eq!(process.executable.as_deref(), program.to_str());
        assert_eq!(process.name, "short-lived");
    }

    #[test]
    fn a_process_that_is_gone_is_not_described() {
        let mut child = Command::new("true").spawn().expect("true can be started");
        child.wait().expect("it ends");
        assert_eq!(describe(child.id()), None);
    }

    #[test]
    fn a_kernel_thread_has_the_name_of_its_task() {
        // Process 2 is the parent of all kernel threads, unless we are in a container.
        if let Some(process) = describe(2).filter(|process| process.executable.is_none()) {
            assert_eq!(process.name, "kthreadd");
        }
    }
}
