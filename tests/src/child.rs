//! Child processes: output line by line, an end that can be waited for, and none left behind.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::PATIENCE;
use crate::watch::Watch;

/// Called with each line of standard output, without its end.
pub type OnLine = Box<dyn FnMut(&str) + Send>;

/// A program to run as a child.
pub struct Program {
    command: Command,
    name: String,
    on_line: Option<OnLine>,
    stop: Signal,
}

/// A running child. Dropping it ends it.
pub struct Child {
    name: String,
    pid: u32,
    pidfd: OwnedFd,
    stop: Signal,
    status: Arc<Watch<Option<ExitStatus>>>,
    out: Arc<Watch<Lines>>,
    err: Arc<Watch<Lines>>,
}

/// What a child wrote.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Complete lines, without their ends.
    pub lines: Vec<String>,
    /// The child has closed it.
    pub closed: bool,
}

/// How a child ended and what it said.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Program {
    /// A program by its path or name. Variables of the test's own environment that configure an exporter or a server
    /// are not handed on.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::under(&[], program)
    }

    /// The same, started through other programs that execute what follows them (`nsenter`, `setpriv`).
    pub fn under(wrappers: &[&str], program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        // The kernel ends the child with the test process, however that ends. SIGTERM, so that masters end workers.
        let mut words: Vec<&OsStr> = wrappers.iter().map(OsStr::new).collect();
        words.extend(["setpriv", "--pdeathsig", "TERM", "--"].map(OsStr::new));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OTEL_")) {
            command.env_remove(name);
        }
        Self { command, name: program.to_string_lossy().into_owned(), on_line: None, stop: Signal::TERM }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Hands standard output over line by line instead of keeping it.
    #[must_use]
    pub fn on_line(mut self, on_line: OnLine) -> Self {
        self.on_line = Some(on_line);
        self
    }

    /// The signal that asks it to end in order.
    #[must_use]
    pub fn stopped_by(mut self, signal: Signal) -> Self {
        self.stop = signal;
        self
    }

    /// Starts it.
    #[must_use]
    #[track_caller]
    pub fn start(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(self.command).unwrap_or_else(|error| panic!("starting {}: {error}", self.name));
        let pid = child.id();
        let raw = Pid::from_raw(pid.cast_signed()).expect("a child's pid is positive");
        let pidfd = pidfd_open(raw, PidfdFlags::empty()).unwrap_or_else(|error| panic!("pidfd of {pid}: {error}"));
        let out = Arc::new(Watch::new(Lines::default()));
        let err = Arc::new(Watch::new(Lines::default()));
        read_lines(child.stdout.take().expect("it is piped"), Arc::clone(&out), self.on_line);
        read_lines(child.stderr.take().expect("it is piped"), Arc::clone(&err), None);
        let status = Arc::new(Watch::new(None));
        let reaped = Arc::clone(&status);
        thread::spawn(move || {
            let ended = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(0xff00));
            reaped.update(|status| *status = Some(ended));
        });
        Child { name: self.name, pid, pidfd, stop: self.stop, status, out, err }
    }

    /// Runs it to its end.
    #[must_use]
    #[track_caller]
    pub fn run(self) -> Ended {
        self.run_within(PATIENCE)
    }

    /// Runs it to its end, which must come in this time.
    #[must_use]
    #[track_caller]
    pub fn run_within(self, patience: Duration) -> Ended {
        let child = self.start();
        child.wait_within(patience)
    }
}

impl Child {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.err.read(|err| err.lines.join("\n"))
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.out.read(|out| out.lines.join("\n"))
    }

    /// Waits until a line of standard error contains `text`.
    #[track_caller]
    pub fn wait_err(&self, text: &str) -> String {
        self.wait_line(&self.err, text)
    }

    /// Waits until a line of standard output contains `text`.
    #[track_caller]
    pub fn wait_out(&self, text: &str) -> String {
        self.wait_line(&self.out, text)
    }

    /// The watched standard error.
    #[must_use]
    pub fn err(&self) -> &Watch<Lines> {
        &self.err
    }

    /// The watched standard output.
    #[must_use]
    pub fn out(&self) -> &Watch<Lines> {
        &self.out
    }

    /// Sends a signal. A child that is gone already is no error.
    pub fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.status.read(Option::is_none)
    }

    /// Waits until it has ended by itself.
    #[must_use]
    #[track_caller]
    pub fn wait(&self) -> Ended {
        self.wait_within(PATIENCE)
    }

    /// Waits until it has ended by itself, for so long.
    #[must_use]
    #[track_caller]
    pub fn wait_within(&self, patience: Duration) -> Ended {
        let Some(status) = self.status.wait(patience, |status| *status) else {
            panic!("{} still runs after {patience:?}; standard error:\n{}", self.name, self.stderr());
        };
        // The pipes may be open longer than the process: a grandchild may hold them.
        self.out.wait(patience, |out| out.closed.then_some(()));
        self.err.wait(patience, |err| err.closed.then_some(()));
        let text =
            |lines: &Watch<Lines>| lines.read(|lines| lines.lines.iter().map(|line| format!("{line}\n")).collect());
        Ended { status, stdout: text(&self.out), stderr: text(&self.err) }
    }

    /// Asks it to end and waits until it has.
    #[must_use]
    #[track_caller]
    pub fn stop(&self) -> Ended {
        self.signal(self.stop);
        self.wait()
    }

    #[track_caller]
    fn wait_line(&self, output: &Watch<Lines>, text: &str) -> String {
        let found = output.wait(PATIENCE, |output| {
            let line = output.lines.iter().find(|line| line.contains(text)).cloned();
            if line.is_some() || output.closed { Some(line) } else { None }
        });
        let Some(Some(line)) = found else {
            panic!("{} never said `{text}`; it said:\n{}\n{}", self.name, self.stdout(), self.stderr());
        };
        line
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.status.wait(PATIENCE, |status| *status);
    }
}

impl Ended {
    /// Its exit code; `None` if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails unless it ended well.
    #[must_use]
    #[track_caller]
    pub fn well(self) -> Self {
        assert!(self.status.success(), "it ended with {}:\n{}{}", self.status, self.stdout, self.stderr);
        self
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A moment to end in order (a master must end its workers), then by force.
        const GRACE: Duration = Duration::from_secs(3);
        self.signal(self.stop);
        if self.status.wait(GRACE, |status| *status).is_none() {
            self.kill();
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.pid)
    }
}

/// A command to start, and where to say how that went.
type Order = (Command, mpsc::Sender<std::io::Result<std::process::Child>>);

/// Starts every child from one thread that lives as long as the process: the parent-death signal is sent when the
/// thread ends that started the child, and test threads end early.
fn spawn(command: Command) -> std::io::Result<std::process::Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, todo) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in todo {
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawner lives as long as the process");
    answer.recv().expect("the spawner answers each order")
}

/// Reads lines until the end, in a thread of its own.
fn read_lines(from: impl Read + Send + 'static, into: Arc<Watch<Lines>>, mut on_line: Option<OnLine>) {
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
            let line = String::from_utf8_lossy(bytes.strip_suffix(b"\n").unwrap_or(&bytes)).into_owned();
            bytes.clear();
            match &mut on_line {
                Some(on_line) => on_line(&line),
                None => into.update(|lines| lines.lines.push(line)),
            }
        }
        into.update(|lines| lines.closed = true);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_heard_and_its_end_is_seen() {
        let ended = Program::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).run();
        assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (Some(3), "out\n", "err\n"));
    }

    #[test]
    fn a_child_goes_with_its_handle() {
        let child = Program::new("sleep").arg("600").start();
        let status = Arc::clone(&child.status);
        drop(child);
        assert_eq!(status.read(|status| status.and_then(|status| status.signal())), Some(15));
    }
}
