//! One process, as `/proc` shows it: who owns it, what it runs, where, and what it says about itself.
//!
//! Each file is read once, up to a bound. What lies in the memory of the process (its environment, its arguments, what it has
//! mapped) it can keep others from reading for as long as it likes, and a file of a file system of its own (FUSE) may never
//! answer: [`super::bounded`] is for that.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat, readlinkat};

use super::arguments::{Arguments, MAX_CMDLINE_BYTES};
use super::cgroup;
use super::environ::{self, Claims};
use super::program;
use super::programs::Programs;
use super::stat::{self, Stat};
use super::users::Users;
use crate::flow::fact::{Process, Program};

/// Bytes read of an environment. Larger ones exist; what we look for is then found only if it is near the beginning.
const ENVIRON_BYTES: u64 = 256 * 1024;
/// Bytes read of `/proc/PID/stat`: 52 numbers and a name.
const STAT_BYTES: u64 = 4096;
/// Bytes read of `/proc/PID/status`: 60 lines, of which that of the groups may be long.
const STATUS_BYTES: u64 = 16 * 1024;
/// Bytes read of `/proc/PID/cgroup`: cgroup v1 has a line for each of a dozen controllers, each with a path.
const CGROUP_BYTES: u64 = 64 * 1024;
/// Bytes read of `/proc/PID/maps`: some 2 500 mappings. Libraries are mapped in the order in which they are loaded, from high
/// addresses down; a runtime's is among the first and the last hundred of most.
const MAPS_BYTES: u64 = 256 * 1024;
/// What the kernel appends to the path of an executable that was replaced or removed since.
const DELETED: &[u8] = b" (deleted)";

/// Finds out about processes. A seam: the table of processes is tested without real ones.
pub trait Lookup {
    /// What a process that still exists is. `None` if it is gone, or not visible to us.
    fn look_up(&self, tgid: u32) -> Option<Process>;
}

/// Looks in `/proc`.
#[derive(Clone, Debug, Default)]
pub struct ProcFs {
    arguments: Arguments,
    users: Arc<Users>,
    programs: Arc<Programs>,
}

/// Looks in `/proc`, but not at what lies in the memory of the process, which it can lock, nor into files.
#[derive(Clone, Debug, Default)]
pub struct OutsideOnly {
    users: Arc<Users>,
}

impl ProcFs {
    /// Reads who the users of this machine are. Says so much of command lines.
    #[must_use]
    pub fn new(arguments: Arguments) -> Self {
        Self { arguments, users: Arc::new(Users::of_this_machine()), programs: Arc::default() }
    }

    /// The same, from outside only.
    #[must_use]
    pub fn outside_only(&self) -> OutsideOnly {
        OutsideOnly { users: Arc::clone(&self.users) }
    }

    /// What is known of the program of a process, but for its arguments.
    fn program(&self, directory: &OwnedFd, name: &str) -> Program {
        let binary = open(directory, "exe", OFlags::NONBLOCK)
            .ok()
            .and_then(|file| self.programs.inspect(File::from(file), name));
        let Some(mut binary) = binary else { return Program::default() };
        // What the executable does not need to be loaded it may have loaded since.
        let may_have_loaded = binary.runtime_version.is_none() && !matches!(binary.language, Some("go" | "rust"));
        if may_have_loaded
            && let Ok(maps) = read(directory, "maps", MAPS_BYTES)
            && let Some(loaded) = program::mapped(&String::from_utf8_lossy(&maps))
        {
            binary = loaded;
        }
        Program {
            arguments: Vec::new(),
            language: binary.language.map(str::to_owned),
            runtime: binary.runtime.map(str::to_owned),
            runtime_version: binary.runtime_version,
            version: binary.version,
        }
    }
}

impl Lookup for ProcFs {
    fn look_up(&self, tgid: u32) -> Option<Process> {
        describe(tgid, &self.users, |directory, process| {
            // What we may not read is not known.
            let Claims { service_name, attributes } =
                read(directory, "environ", ENVIRON_BYTES).map(|text| environ::claims(&text)).unwrap_or_default();
            process.service_name = service_name;
            process.resource_attributes = attributes;
            // A kernel thread has no program. What takes longest comes last: the process may be about to end.
            if process.executable.is_some() {
                let cmdline = read(directory, "cmdline", MAX_CMDLINE_BYTES).unwrap_or_default();
                let arguments = self.arguments.read(&cmdline);
                *process.program = Program { arguments, ..self.program(directory, &process.name) };
            }
        })
    }
}

impl Lookup for OutsideOnly {
    fn look_up(&self, tgid: u32) -> Option<Process> {
        describe(tgid, &self.users, |_, _| {})
    }
}

/// Describes a process that still exists. Its `start_ns` is rounded down to a clock tick.
fn describe(tgid: u32, users: &Users, look_inside: impl FnOnce(&OwnedFd, &mut Process)) -> Option<Process> {
    // The open directory stays with this process: when it ends and its number is used again, reads fail, and don't show
    // the other process.
    let directory = open(CWD, &format!("/proc/{tgid}"), OFlags::DIRECTORY).ok()?;
    let Stat { comm, start_ns, parent } = stat::parse(&read(&directory, "stat", STAT_BYTES).ok()?)?;
    let executable = executable(&directory);
    let groups = read(&directory, "cgroup", CGROUP_BYTES).unwrap_or_default();
    let cgroup::Found { container_id, place } = cgroup::read(&String::from_utf8_lossy(&groups));
    // The directory belongs to the effective user of the process.
    let uid = fstat(&directory).ok().map(|status| status.st_uid);
    let is_contained = container_id.is_some() || place.pod_uid.is_some();
    let inner_pid = read(&directory, "status", STATUS_BYTES).ok().and_then(|text| stat::inner_pid(&text));
    let mut process = Process {
        tgid,
        start_ns,
        name: executable.as_deref().and_then(file_name).map_or(comm, str::to_owned),
        executable,
        uid,
        user: uid.filter(|_| !is_contained).and_then(|uid| users.name(uid)).map(str::to_owned),
        parent: Some(parent).filter(|&parent| parent != 0),
        inner_pid,
        pid_namespace: inner_pid.and_then(|_| pid_namespace(&directory)),
        container_id,
        place: Box::new(place),
        ..Process::default()
    };
    look_inside(&directory, &mut process);
    Some(process)
}

/// The number of its pid namespace.
fn pid_namespace(directory: &OwnedFd) -> Option<u64> {
    let target = readlinkat(directory, "ns/pid", Vec::new()).ok()?;
    // `pid:[4026531836]`
    target.to_str().ok()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
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
    File::from(open(directory, file, OFlags::empty())?).take(limit).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn describe(tgid: u32) -> Option<Process> {
        ProcFs::new(Arguments::Redacted).look_up(tgid)
    }

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
        assert_eq!(process.parent, Some(std::process::id()));
        assert_eq!(process.program.arguments.len(), 1);
        assert_eq!(process.inner_pid, None);
    }

    #[test]
    fn what_lies_in_its_memory_is_left_alone_from_outside() {
        let cat = Cat::start(&[("OTEL_SERVICE_NAME", "lion")]);
        let lookup = ProcFs::new(Arguments::All);
        let outside = lookup.outside_only().look_up(cat.0.id()).expect("it lives");
        let inside = lookup.look_up(cat.0.id()).expect("it lives");
        assert!(outside.service_name.is_none() && outside.program.is_unknown());
        assert_eq!((outside.executable, outside.uid), (inside.executable, inside.uid));
        assert_eq!(inside.service_name.as_deref(), Some("lion"));
    }

    #[test]
    fn an_environment_without_an_end_is_read_up_to_a_bound() {
        // 2 MiB without a NUL byte, as one variable can't be: many that are as long as the kernel allows.
        let long = "x".repeat(120 * 1024);
        let names: Vec<String> = (0..8).map(|number| format!("A{number}")).collect();
        let mut environment: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), long.as_str())).collect();
        environment.push(("OTEL_SERVICE_NAME", "far away"));
        let cat = Cat::start(&environment);
        let process = describe(cat.0.id()).expect("it lives");
        assert!(matches!(process.service_name.as_deref(), None | Some("far away")));
        assert!(process.resource_attributes.is_empty());
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
