//! The rim's table of processes: follows births, changes and ends in the kernel's records, and introduces each process
//! to the core once, before the first record that needs it. [`decide`] is which of them are traced.

mod decide;
mod pids;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use wirespan_common::record::{Task, kind};

pub use self::decide::Decision;
use self::decide::Told;
use self::pids::PidSet;
use crate::config::{Need, Selection};
use crate::flow::Nanos;
use crate::flow::fact::Process;
use crate::proc::describe::{Lookup, file_name};
use crate::proc::scan::Running;
use crate::proc::stat::same_start;
use crate::trace::pods::Pods;

/// Processes kept at once, the ended ones of the last [`EXIT_GRACE_NS`] included: about 1 KiB each. Beyond that, a
/// process is described when it is needed and then forgotten.
pub const MAX_PROCESSES: usize = 65_536;
/// How long an ended process is remembered: its sockets may still have data to send, and records of them come late.
pub const EXIT_GRACE_NS: u64 = 10_000_000_000;
/// Programs looked at right when they are started, in a second. A look costs some 100 us, and a short-lived program is
/// gone when its first connection is reported; a machine that starts more programs than this is not slowed by us.
pub const EARLY_LOOKS_PER_SECOND: u32 = 100;

/// What we know of processes.
pub struct Table<L> {
    lookup: L,
    selection: Selection,
    /// What must be known of a process to decide about it. If that is nothing, nothing is looked up only to decide.
    need: Need,
    pods: Pods,
    /// Whether some pod ever asked not to be traced: then it must be known of each process which pod it is in.
    has_opted_out: bool,
    processes: HashMap<u32, Known>,
    introduced: PidSet,
    /// Ended processes in the order of their ends: when, and which.
    ended: VecDeque<(Nanos, u32, u64)>,
    early: Budget,
    /// Processes to be looked at again: since when they are what they are, and which.
    second_looks: VecDeque<(Nanos, u32)>,
}

impl<L: Lookup> Table<L> {
    /// An empty table.
    pub fn new(lookup: L, selection: Selection) -> Self {
        Self {
            lookup,
            need: selection.need(),
            selection,
            pods: Pods::default(),
            has_opted_out: false,
            processes: HashMap::new(),
            introduced: PidSet::default(),
            ended: VecDeque::new(),
            early: Budget::default(),
            second_looks: VecDeque::new(),
        }
    }

    /// Takes in the processes that were there before the probes; decides about each.
    pub fn begin(&mut self, running: Vec<Running>, decisions: &mut Vec<Decision>) {
        for process in running {
            let known = Known {
                start_ns: process.start_ns,
                parent: process.parent,
                comm: process.comm,
                executable: process.executable,
                ..Known::default()
            };
            self.insert(process.tgid, known);
            self.look_to_decide(process.tgid);
            self.decide(process.tgid, decisions);
        }
    }

    /// How many processes are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether no process is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Takes in a fork, exec or exit record.
    pub fn observe(&mut self, task: &Task, decisions: &mut Vec<Decision>) {
        match task.header.kind {
            kind::FORK => self.born(task, decisions),
            kind::EXEC => self.changed(task, decisions),
            kind::EXIT => self.over(task),
            _ => {}
        }
    }

    /// Gives what is known of a process, the first time that it is asked for since its birth or its last exec.
    ///
    /// The usual answer is `None`, and cheap.
    pub fn introduce(&mut self, tgid: u32) -> Option<Process> {
        if !self.introduced.insert(tgid) {
            return None;
        }
        let mut process = self.describe(tgid)?;
        process.deselected = !self.selection.takes_process(&process.subject(self.pods.place_of(&process)));
        if let Some(known) = self.processes.get_mut(&tgid) {
            known.introduced_deselected = process.deselected;
        }
        Some(process)
    }

    /// Forgets processes that ended long enough ago. What was deselected for them may be taken back.
    pub fn tick(&mut self, now: Nanos, decisions: &mut Vec<Decision>) {
        self.look_again(now, decisions);
        while let Some(&(end, tgid, start_ns)) = self.ended.front() {
            if now.0.saturating_sub(end.0) < EXIT_GRACE_NS {
                break;
            }
            self.ended.pop_front();
            // The number may belong to another process by now.
            if self.processes.get(&tgid).is_some_and(|known| known.ended && known.start_ns == start_ns) {
                let known = self.processes.remove(&tgid);
                self.introduced.remove(tgid);
                if known.is_some_and(|known| known.told != Told::Nothing) {
                    decisions.push(Decision { tgid, taken: true });
                }
            }
        }
    }

    fn born(&mut self, task: &Task, decisions: &mut Vec<Decision>) {
        if let Some(known) =
            self.processes.get_mut(&task.tgid).filter(|known| same_start(known.start_ns, task.start_ns))
        {
            // Seen already when we looked around at the start.
            known.start_ns = task.start_ns;
            return;
        }
        // A fork is its parent's twin until it executes another program.
        let parent = self.living_parent(task.parent_tgid, task.start_ns);
        let executable = parent.and_then(|parent| parent.executable.clone());
        // Owner, container and unit, too, if they matter.
        let seen = parent.filter(|_| self.need == Need::Look).and_then(|parent| parent.seen.clone()).map(|mut seen| {
            (seen.tgid, seen.start_ns, seen.parent) = (task.tgid, task.start_ns, Some(task.parent_tgid));
            seen
        });
        self.introduced.remove(task.tgid);
        // What the kernel was told about the number still holds; `decide` corrects it.
        let told = self.processes.get(&task.tgid).map_or(Told::Nothing, |former| former.told);
        let known = Known {
            start_ns: task.start_ns,
            since: Nanos(task.header.time_ns),
            parent: task.parent_tgid,
            comm: text(&task.comm),
            executable,
            seen,
            told,
            ..Known::default()
        };
        self.insert(task.tgid, known);
        self.decide_young(task, decisions);
    }

    fn changed(&mut self, task: &Task, decisions: &mut Vec<Decision>) {
        self.introduced.remove(task.tgid);
        let look = self.need > Need::Nothing || self.early.take(Nanos(task.header.time_ns));
        let seen = if look { self.look_up(task.tgid, task.start_ns) } else { None };
        // One that is about to end already shows less than the record does.
        let seen = seen.filter(|process| process.executable.is_some());
        let former = self.processes.get(&task.tgid);
        let filename = Some(text(&task.filename)).filter(|path| !path.is_empty());
        let known = Known {
            start_ns: task.start_ns,
            since: Nanos(task.header.time_ns),
            parent: former.map_or(0, |former| former.parent),
            comm: text(&task.comm),
            executable: seen.as_ref().and_then(|process| process.executable.clone()).or(filename),
            executed: true,
            seen: seen.map(Box::new),
            told: former.map_or(Told::Nothing, |former| former.told.after_exec()),
            introduced_deselected: former.is_some_and(|former| former.introduced_deselected),
            ..Known::default()
        };
        self.insert(task.tgid, known);
        self.decide_young(task, decisions);
    }

    fn over(&mut self, task: &Task) {
        let Some(known) = self.processes.get_mut(&task.tgid) else {
            // Beyond the bound of the table: at least the next of this number is introduced.
            self.introduced.remove(task.tgid);
            return;
        };
        if same_start(known.start_ns, task.start_ns) && !known.ended {
            known.ended = true;
            self.ended.push_back((Nanos(task.header.time_ns), task.tgid, known.start_ns));
        }
    }

    fn insert(&mut self, tgid: u32, known: Known) {
        if self.processes.len() < MAX_PROCESSES || self.processes.contains_key(&tgid) {
            self.processes.insert(tgid, known);
        }
    }

    fn describe(&mut self, tgid: u32) -> Option<Process> {
        let Some(known) = self.processes.get(&tgid) else {
            // Its birth was lost, or the table is full.
            return self.lookup.look_up(tgid);
        };
        let found = self.look_up(tgid, known.start_ns);
        // One that is about to end has given up its memory, and with it its executable and its environment. Kernel
        // threads never had them.
        if let Some(found) = found.filter(|found| found.executable.is_some() || known.executable.is_none()) {
            return Some(match &known.seen {
                Some(seen) => completed(found, seen),
                None => found,
            });
        }
        if let Some(seen) = &known.seen {
            return Some(Process::clone(seen));
        }
        // It is gone. What its parent is, it was too, as far as an exec does not change that.
        let parent = self
            .living_parent(known.parent, known.start_ns)
            .and_then(|parent| self.look_up(known.parent, parent.start_ns))
            .unwrap_or_default();
        let name = known.executable.as_deref().and_then(file_name).unwrap_or(&known.comm);
        let process = Process {
            tgid,
            start_ns: known.start_ns,
            name: name.to_owned(),
            executable: known.executable.clone().filter(|path| path.starts_with('/')),
            parent: Some(known.parent).filter(|&parent| parent != 0),
            container_id: parent.container_id,
            place: parent.place,
            ..Process::default()
        };
        if known.executed {
            return Some(process);
        }
        Some(Process {
            executable: process.executable.or(parent.executable),
            uid: parent.uid,
            user: parent.user,
            program: parent.program,
            service_name: parent.service_name,
            resource_attributes: parent.resource_attributes,
            ..process
        })
    }

    /// What `/proc` says of the process that was born at that time, which may be known more exactly than `/proc` does.
    fn look_up(&self, tgid: u32, start_ns: u64) -> Option<Process> {
        let found = self.lookup.look_up(tgid).filter(|found| same_start(found.start_ns, start_ns))?;
        Some(Process { start_ns, ..found })
    }

    /// The process of that number, if it was born before its child.
    fn living_parent(&self, tgid: u32, child_start_ns: u64) -> Option<&Known> {
        self.processes.get(&tgid).filter(|parent| parent.start_ns <= child_start_ns)
    }
}

/// A process, as the table keeps it.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Exact if a record told it, else rounded down to a clock tick.
    start_ns: u64,
    /// When it was born or began to run its program, if a record told it.
    since: Nanos,
    parent: u32,
    comm: String,
    /// From `/proc`, else what was given to `execve` (which may be a relative path, or a script).
    executable: Option<String>,
    /// Whether it has executed a program since its birth.
    executed: bool,
    /// What an early look at it showed.
    seen: Option<Box<Process>>,
    told: Told,
    /// What the core was told when the process was introduced.
    introduced_deselected: bool,
    ended: bool,
}

/// So many in a second of the records' time.
#[derive(Debug, Default)]
struct Budget {
    second: u64,
    used: u32,
}

impl Budget {
    fn take(&mut self, now: Nanos) -> bool {
        let second = now.0 / 1_000_000_000;
        if second != self.second {
            *self = Self { second, used: 0 };
        }
        self.used += u32::from(self.used <= EARLY_LOOKS_PER_SECOND);
        self.used <= EARLY_LOOKS_PER_SECOND
    }
}

/// A process that was looked at twice: what it gave up in between, as one that ends does, is taken from the first look.
fn completed(mut found: Process, seen: &Process) -> Process {
    if found.executable == seen.executable && found.program.arguments.is_empty() {
        let arguments = seen.program.arguments.clone();
        if found.program.is_unknown() {
            found.program.clone_from(&seen.program);
        } else {
            found.program.arguments = arguments;
        }
        if found.service_name.is_none() && found.resource_attributes.is_empty() {
            found.service_name.clone_from(&seen.service_name);
            found.resource_attributes.clone_from(&seen.resource_attributes);
        }
    }
    found
}

/// The text before the first NUL.
fn text(padded: &[u8]) -> String {
    let end = padded.iter().position(|&byte| byte == 0).unwrap_or(padded.len());
    String::from_utf8_lossy(&padded[..end]).into_owned()
}
