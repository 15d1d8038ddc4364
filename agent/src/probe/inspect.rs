//! Looks at the executables of processes, finds the Go programs among them, and puts probes on those with an HTTP client.
//!
//! On a thread of its own: a file may lie on a file system that answers late or never, and to put a probe on a program takes
//! the kernel some milliseconds. A thread that does not come back is left behind.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use wirespan_common::link::Goroutines;

use super::uprobe::{self, Probes};
use crate::proc::go::{self, HttpClient, Program, Unread};

/// Looks that wait. A look takes 0.1 ms, or 10 ms the first time for a program of Go's. What is more than this is looked at
/// when the process is met again.
const MAX_WAITING: usize = 1024;
/// Files of which it is remembered what they are, about 200 bytes each. Beyond that all are forgotten.
const MAX_FILES: usize = 1024;
/// Files with probes on them at once. Each takes two descriptors.
const MAX_PROBED: usize = 128;
/// A thread that has not answered for so long is left behind.
const STUCK: Duration = Duration::from_secs(10);
/// Threads, those left behind included.
const MAX_THREADS: usize = 4;

/// Pause between two looks for answers.
const SETTLE_PAUSE: Duration = Duration::from_millis(1);

const THREAD: &str = "inspect";

/// Looks at processes, and keeps the probes that are put on their programs.
pub(super) struct Inspector {
    shared: Arc<Shared>,
    worker: Option<Worker>,
    /// Looks that are not answered yet: their numbers.
    waiting: HashMap<u32, u64>,
    asked: u64,
    /// When the first of them was asked for, or the last answer came.
    since: Instant,
    /// The probes on the programs of living processes.
    probed: HashMap<u32, Arc<Links>>,
    unread: u64,
    /// Nobody is looked at any more.
    is_over: bool,
}

/// What threads have in common.
struct Shared {
    /// `None` where no probe is to be put on anything.
    probes: Option<Probes>,
    attached: Mutex<HashMap<FileId, Weak<Links>>>,
}

/// The probes on a program. They are gone with it.
struct Links {
    _call: OwnedFd,
    _writer: OwnedFd,
}

/// Names what a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// A thread, as seen from outside.
struct Worker {
    orders: SyncSender<Order>,
    answers: Receiver<Answer>,
}

enum Order {
    /// Look at this process.
    Look { tgid: u32, number: u64 },
    /// To close the last descriptor of a probe may take long, too.
    Close(#[expect(dead_code, reason = "is dropped there")] Arc<Links>),
}

struct Answer {
    tgid: u32,
    number: u64,
    program: Result<Program, Unread>,
    links: Option<Arc<Links>>,
}

impl Inspector {
    pub(super) fn new(probes: Option<Probes>) -> Self {
        Self {
            shared: Arc::new(Shared { probes, attached: Mutex::default() }),
            worker: None,
            waiting: HashMap::new(),
            asked: 0,
            since: Instant::now(),
            probed: HashMap::new(),
            unread: 0,
            is_over: false,
        }
    }

    /// Looks at a process, some time.
    pub(super) fn meet(&mut self, tgid: u32) {
        if self.is_over || self.waiting.contains_key(&tgid) {
            return;
        }
        if self.worker.is_none() {
            // One is held by us.
            if Arc::strong_count(&self.shared) > MAX_THREADS {
                return;
            }
            match Worker::start(&self.shared) {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => {
                    tracing::warn!(
                        "no thread can be had to look at programs: {error}; is ulimit -u or pids.max reached?"
                    );
                    return;
                }
            }
        }
        let Some(worker) = &self.worker else { return };
        let number = self.asked.wrapping_add(1);
        if worker.orders.try_send(Order::Look { tgid, number }).is_ok() {
            if self.waiting.is_empty() {
                self.since = Instant::now();
            }
            self.asked = number;
            self.waiting.insert(tgid, number);
        }
    }

    /// A process has ended, or runs another program from now on.
    pub(super) fn part(&mut self, tgid: u32) {
        self.waiting.remove(&tgid);
        if let (Some(links), Some(worker)) = (self.probed.remove(&tgid), &self.worker) {
            // If nobody takes it, it is dropped here.
            let _dropped = worker.orders.try_send(Order::Close(links));
        }
    }

    /// Go programs that were found since the last call.
    pub(super) fn found(&mut self, mut tell: impl FnMut(u32, Goroutines)) {
        let Some(worker) = &self.worker else { return };
        for answer in worker.answers.try_iter() {
            self.since = Instant::now();
            if self.waiting.get(&answer.tgid) != Some(&answer.number) {
                continue;
            }
            self.waiting.remove(&answer.tgid);
            if let Some(links) = answer.links {
                self.probed.insert(answer.tgid, links);
            }
            match answer.program {
                Ok(program) => tell(answer.tgid, program.goroutines),
                Err(Unread::NotGo) => {}
                Err(why) => {
                    self.unread = self.unread.saturating_add(1);
                    tracing::debug!("the goroutines of process {} are not read: {why}", answer.tgid);
                }
            }
        }
        if !self.waiting.is_empty() && self.since.elapsed() > STUCK {
            tracing::warn!("a program could not be looked at within {} s: is its file system alive?", STUCK.as_secs());
            self.waiting.clear();
            self.worker = None;
        }
    }

    /// Waits until every process that was met was looked at, at most so long.
    pub(super) fn settle(&mut self, at_most: Duration, mut tell: impl FnMut(u32, Goroutines)) {
        let end = Instant::now() + at_most;
        while !self.waiting.is_empty() && Instant::now() < end {
            self.found(&mut tell);
            thread::sleep(SETTLE_PAUSE);
        }
    }

    /// Processes of Go programs whose goroutines can't be read.
    pub(super) fn unread(&self) -> u64 {
        self.unread
    }

    /// Takes every probe off, for good.
    pub(super) fn detach(&mut self) {
        self.is_over = true;
        self.waiting.clear();
        self.worker = None;
        self.probed.clear();
    }
}

impl Worker {
    fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let (orders, todo) = sync_channel(MAX_WAITING);
        // Never more answers than questions: nobody waits.
        let (replies, answers) = sync_channel(MAX_WAITING + 1);
        let shared = Arc::clone(shared);
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || {
            let mut known = HashMap::new();
            for order in todo {
                let Order::Look { tgid, number } = order else { continue };
                let (program, links) = shared.look(tgid, &mut known);
                if replies.send(Answer { tgid, number, program, links }).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { orders, answers })
    }
}

impl Shared {
    fn look(
        &self,
        tgid: u32,
        known: &mut HashMap<FileId, Result<Program, Unread>>,
    ) -> (Result<Program, Unread>, Option<Arc<Links>>) {
        // The kernel's own way to the file that runs: no name is followed. It may be gone, or not for us to see.
        let Some((file, id)) = File::open(format!("/proc/{tgid}/exe")).ok().and_then(identify) else {
            return (Err(Unread::NotGo), None);
        };
        if known.len() >= MAX_FILES {
            known.clear();
        }
        let program = known.entry(id).or_insert_with(|| go::examine(&file)).clone();
        let links = match &program {
            Ok(Program { goroutines, http: Some(http), .. }) => self.links(&file, id, *goroutines, *http),
            _ => None,
        };
        (program, links)
    }

    /// The probes on a file, put there if there are none.
    fn links(&self, file: &File, id: FileId, goroutines: Goroutines, http: HttpClient) -> Option<Arc<Links>> {
        let probes = self.probes.as_ref()?;
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(links) = attached.get(&id).and_then(Weak::upgrade) {
            return Some(links);
        }
        attached.retain(|_, links| links.strong_count() > 0);
        if attached.len() >= MAX_PROBED {
            return None;
        }
        let put = |program: &OwnedFd, at| uprobe::attach(program.as_fd(), file.as_fd(), at, goroutines.to_bits());
        // Who writes is to be known when the first call is made.
        let links = put(&probes.writer, http.writer_at)
            .and_then(|writer| Ok(Links { _writer: writer, _call: put(&probes.call, http.call_at)? }))
            .map_err(|error| tracing::debug!("no probe can be put on a Go program: {error}"))
            .ok()?;
        let links = Arc::new(links);
        attached.insert(id, Arc::downgrade(&links));
        Some(links)
    }
}

fn identify(file: File) -> Option<(File, FileId)> {
    let status = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let id = FileId {
        device: status.dev(),
        inode: status.ino(),
        bytes: status.size(),
        changed: (status.ctime(), status.ctime_nsec()),
    };
    Some((file, id))
}
