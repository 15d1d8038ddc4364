//! The agent as a child process: start, wait for spans, read its ledger, stop.

use std::env;
use std::ffi::OsStr;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::TracesData;
use rustix::process::Signal;

use crate::PATIENCE;
use crate::child::{Child, Ended, Program};
use crate::ledger::Ledger;
use crate::raw::Wire;
use crate::span::{Kind, Layer, Span};
use crate::watch::Watch;

/// How long the agent may take until it says `ready:`.
const START: Duration = Duration::from_secs(30);
/// How many of the last spans a failure shows.
const SHOWN: usize = 8;

/// A running agent that prints its spans as JSON. Dropping it ends it.
pub struct Agent {
    child: Child,
    inbox: Arc<Watch<Inbox>>,
    seen: Mutex<Seen>,
}

/// How to start an agent.
pub struct Launch {
    program: Program,
}

/// Lines of the agent that nobody has read yet. They are read when somebody waits for a span, and not while they come: a
/// test that is busy with them would take the processor from the agent in a burst.
#[derive(Default)]
struct Inbox {
    lines: Vec<String>,
    /// Lines that ever came.
    came: usize,
}

/// What the agent printed.
#[derive(Default)]
struct Seen {
    spans: Vec<Arc<Span>>,
    bad: Vec<String>,
}

impl Seen {
    fn read(&mut self, lines: Vec<String>) {
        for line in lines {
            match read_line(&line) {
                Ok(spans) => self.spans.extend(spans.into_iter().map(Arc::new)),
                Err(why) => self.bad.push(format!("{why}: {line}")),
            }
        }
    }
}

/// An agent that has ended in order.
pub struct Stopped {
    /// How it ended, and its standard error.
    pub ended: Ended,
    /// All its spans.
    pub spans: Vec<Arc<Span>>,
    /// Its last ledger.
    pub ledger: Ledger,
}

/// The two spans of one request whose both ends are on this machine.
pub struct Pair {
    /// The asking end.
    pub client: Arc<Span>,
    /// The answering end.
    pub server: Arc<Span>,
}

/// The agent's binary: `WIRESPAN_BIN`, else the release build of this workspace.
#[must_use]
#[track_caller]
pub fn binary() -> PathBuf {
    let path = env::var_os("WIRESPAN_BIN").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/wirespan")),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "there is no agent at {}: run `cargo xtask build`, or set WIRESPAN_BIN to its path",
        path.display()
    );
    path
}

/// Fails unless the tests run as root.
#[track_caller]
pub fn need_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "the end-to-end tests load kernel programs: run them as root (`sudo cargo xtask test`)"
    );
}

impl Launch {
    /// `wirespan run --format json`.
    #[must_use]
    #[track_caller]
    pub fn new() -> Self {
        Self::of(Program::new(binary()))
    }

    /// The same, started through other programs that execute what follows them.
    #[must_use]
    #[track_caller]
    pub fn under(wrappers: &[&str]) -> Self {
        Self::of(Program::under(wrappers, binary()))
    }

    #[track_caller]
    fn of(program: Program) -> Self {
        need_root();
        let program = program.args(["run", "--format", "json"]).stopped_by(Signal::INT);
        // On a busy machine requests would be left out that a test waits for. Its flag says otherwise where that is tested.
        Self { program: program.env("WIRESPAN_CAPTURE_SHED_ABOVE_PERCENT", "100") }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.program = self.program.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.program = self.program.env(name, value);
        self
    }

    /// What asks it to end in order; SIGINT without this.
    #[must_use]
    pub fn stopped_by(mut self, signal: Signal) -> Self {
        self.program = self.program.stopped_by(signal);
        self
    }

    /// Starts it and waits until it is ready.
    #[must_use]
    #[track_caller]
    pub fn start(self) -> Agent {
        let inbox = Arc::new(Watch::new(Inbox::default()));
        let sink = Arc::clone(&inbox);
        let take = move |line: &str| {
            sink.update(|inbox| {
                inbox.lines.push(line.to_owned());
                inbox.came += 1;
            });
        };
        let child = self.program.on_line(Box::new(take)).start();
        let ready = child.err().wait(START, |err| {
            let ready = err.lines.iter().any(|line| line.starts_with("ready:"));
            (ready || err.closed).then_some(ready)
        });
        assert!(
            ready == Some(true),
            "the agent was not ready within {START:?}; its standard error:\n{}",
            child.stderr()
        );
        Agent { child, inbox, seen: Mutex::default() }
    }
}

impl Default for Launch {
    #[track_caller]
    fn default() -> Self {
        Self::new()
    }
}

impl Agent {
    /// Starts an agent that traces everything.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        Launch::new().start()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// The child process.
    #[must_use]
    pub fn child(&self) -> &Child {
        &self.child
    }

    /// The spans printed so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Arc<Span>> {
        self.look(|seen| seen.spans.clone())
    }

    /// Waits until `look` finds among the spans what it looks for.
    #[track_caller]
    pub fn wait<R>(&self, what: &str, look: impl FnMut(&[Arc<Span>]) -> Option<R>) -> R {
        self.wait_within(PATIENCE, what, look)
    }

    /// Waits, for so long, until `look` finds among the spans what it looks for.
    #[track_caller]
    pub fn wait_within<R>(&self, patience: Duration, what: &str, look: impl FnMut(&[Arc<Span>]) -> Option<R>) -> R {
        if let Some(found) = self.seen_within(patience, look) {
            return found;
        }
        // Its ledger tells whether something was lost; the test fails with or without it.
        let said = self.child.err().read(|err| err.lines.len());
        self.child.signal(Signal::USR1);
        self.child.err().wait(Duration::from_secs(2), |err| (err.lines.len() > said + 1).then_some(()));
        let (number, last, bad) = self.look(|seen| {
            let last = seen.spans.iter().rev().take(SHOWN).rev().map(|span| format!("{span}\n")).collect::<String>();
            (seen.spans.len(), last, seen.bad.join("\n"))
        });
        panic!(
            "not seen within {patience:?}: {what}\nThe last of {number} spans:\n{last}\nLines that are no spans:\n{bad}\n\
             Standard error:\n{}",
            self.child.stderr()
        );
    }

    /// Waits for the one span that `is_it` knows.
    #[track_caller]
    pub fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Arc<Span> {
        self.wait(what, |spans| spans.iter().find(|span| is_it(span)).cloned())
    }

    /// All spans so far that `is_it` knows.
    #[must_use]
    pub fn matching(&self, is_it: impl Fn(&Span) -> bool) -> Vec<Arc<Span>> {
        self.look(|seen| seen.spans.iter().filter(|span| is_it(span)).cloned().collect())
    }

    /// What `look` finds among the spans within so long; `None` if that is nothing, as where spans may be lost.
    #[must_use]
    pub fn seen_within<R>(&self, patience: Duration, mut look: impl FnMut(&[Arc<Span>]) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + patience;
        loop {
            let came = self.inbox.read(|inbox| inbox.came);
            if let Some(found) = self.look(|seen| look(&seen.spans)) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.inbox.wait(left, |inbox| (inbox.came > came).then_some(()))?;
        }
    }

    /// Waits for the request span of this kind on a server port with this path.
    #[track_caller]
    pub fn request(&self, kind: Kind, port: u16, path: &str) -> Arc<Span> {
        self.span(&format!("{kind:?} span of {path} on port {port}"), |span| {
            span.layer == Layer::L7 && span.kind == kind && span.is_on(port) && span.path() == path
        })
    }

    /// The request spans of this kind on a server port so far, in the order in which they began.
    #[must_use]
    pub fn requests(&self, kind: Kind, port: u16) -> Vec<Arc<Span>> {
        let mut spans = self.matching(|span| span.layer == Layer::L7 && span.kind == kind && span.is_on(port));
        spans.sort_by_key(|span| span.start_ns);
        spans
    }

    /// Waits for both spans of the request on a server port with this path.
    #[track_caller]
    pub fn pair(&self, port: u16, path: &str) -> Pair {
        Pair { client: self.request(Kind::Client, port, path), server: self.request(Kind::Server, port, path) }
    }

    /// Waits for the span of the (only) connection on a server port, at the end that asks (`Client`) or answers.
    #[track_caller]
    pub fn connection(&self, end: Kind, port: u16) -> Arc<Span> {
        self.span(&format!("{end:?} connection span on port {port}"), |span| {
            span.is_connection(end) && span.is_on(port)
        })
    }

    /// Returns when everything that happened before is shown: makes an exchange on a connection of its own and waits
    /// for all its spans. Records are worked on in the order of their times, and a span is held back for its other end
    /// no longer than a connection's span is.
    #[track_caller]
    pub fn fence(&self) {
        let mut wire = Wire::open();
        wire.ask(b"GET /fence HTTP/1.1\r\nHost: fence\r\n\r\n");
        wire.answer(b"HTTP/1.1 204 No Content\r\n\r\n");
        let port = wire.port;
        wire.close();
        self.pair(port, "/fence");
        self.connection(Kind::Client, port);
        self.connection(Kind::Server, port);
    }

    /// Looks at what it has printed so far.
    fn look<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.read(self.inbox.update(|inbox| mem::take(&mut inbox.lines)));
        look(&seen)
    }

    /// Its ledger now.
    #[must_use]
    #[track_caller]
    pub fn ledger(&self) -> Ledger {
        let printed = |lines: &[String]| lines.iter().filter(|line| line.starts_with(Ledger::BEGINS)).count();
        let before = self.child.err().read(|err| printed(&err.lines));
        // The second one begins when the first one is complete.
        for wanted in [before + 1, before + 2] {
            self.child.signal(Signal::USR1);
            let came = self.child.err().wait(PATIENCE, |err| (printed(&err.lines) >= wanted).then_some(()));
            assert!(came.is_some(), "no ledger on SIGUSR1; standard error:\n{}", self.child.stderr());
        }
        read_ledgers(&self.child.stderr()).swap_remove(before)
    }

    /// Ends it in order; it must end well.
    #[must_use]
    #[track_caller]
    pub fn stop(self) -> Stopped {
        let stopped = self.stop_whatever_it_says();
        let _ = stopped.ended.clone().well();
        stopped
    }

    /// Ends it in order.
    #[must_use]
    #[track_caller]
    pub fn stop_whatever_it_says(self) -> Stopped {
        let ended = self.child.stop();
        let (spans, bad) = self.look(|seen| (seen.spans.clone(), seen.bad.clone()));
        assert!(bad.is_empty(), "standard output is for spans alone: {bad:?}");
        let ledger =
            read_ledgers(&ended.stderr).pop().unwrap_or_else(|| panic!("no ledger at exit:\n{}", ended.stderr));
        Stopped { ended, spans, ledger }
    }
}

/// Reads the spans of one line of `--format json`.
pub fn read_line(line: &str) -> Result<Vec<Span>, String> {
    let data: TracesData = serde_json::from_str(line).map_err(|error| error.to_string())?;
    Span::all(data.resource_spans)
}

#[track_caller]
fn read_ledgers(stderr: &str) -> Vec<Ledger> {
    Ledger::read(stderr.lines()).unwrap_or_else(|why| panic!("{why}\nin\n{stderr}"))
}
