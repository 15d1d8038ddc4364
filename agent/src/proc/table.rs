//! The rim's table of processes: follows births, changes and ends in the kernel's records, and introduces each process
//! to the core once, before the first record that needs it.

use std::collections::{HashMap, VecDeque};

use wirespan_common::record::{Task, kind};

use super::describe::{Lookup, file_name};
use super::scan::Running;
use super::stat::same_start;
use crate::config::{Need, Selection, Subject};
use crate::flow::Nanos;
use crate::flow::fact::Process;
use crate::flow::kubernetes::{Cluster, Pod};
use crate::trace::pods::Pods;

/// Processes kept at once, the ended ones of the last [`EXIT_GRACE_NS`] included: about 1 KiB each. Beyond that, a
/// process is described when it is needed and then forgotten.
pub const MAX_PROCESSES: usize = 65_536;
/// How long an ended process is remembered: its sockets may still have data to send, and records of them come late.
pub const EXIT_GRACE_NS: u64 = 10_000_000_000;
/// Programs looked at right when they are started, in a second. A look costs some 100 us, and a short-lived program is
/// gone when its first connection is reported; a machine that starts more programs than this is not slowed by us.
pub const EARLY_LOOKS_PER_SECOND: u32 = 100;

/// A process is looked at again this long after it was born or began to run a program. Programs give up rights, and service
/// managers move them, meanwhile, which matters where the selection asks for owner, container or unit; and most children run
/// another program at once: were their parent's decision told to the kernel for them, the new program's first connection
/// might be passed over.
const SECOND_LOOK_NS: u64 = 500_000_000;
/// Second looks at each tick where they go to `/proc`, about 0.1 ms each; and processes that may wait for one. What would wait
/// beyond that is decided by the first look.
const SECOND_LOOKS_PER_TICK: usize = 64;
const MAX_SECOND_LOOKS: usize = 4_096;

/// A process of which it was decided (anew) whether it is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The process.
    pub tgid: u32,
    /// Whether it is traced.
    pub taken: bool,
}

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

    /// Something else is traced from now on. Decides about each process that is known; those of which the decision is
    /// another are introduced again.
    ///
    /// Takes about 0.1 ms for each process if more must be known of it than its executable.
    pub fn select(&mut self, selection: Selection, decisions: &mut Vec<Decision>) {
        self.need = if self.has_opted_out { Need::Look } else { selection.need() };
        self.selection = selection;
        self.decide_all(decisions);
    }

    /// Something new is known of the cluster. Services may be named otherwise from now on.
    pub fn learn_cluster(&mut self, cluster: &Cluster, decisions: &mut Vec<Decision>) {
        self.pods.set_cluster(cluster);
        self.decide_living(|_| true, decisions);
    }

    /// A pod is there, or has changed. Decides about each of its processes.
    ///
    /// When the first pod asks not to be traced, each process is looked at, which takes about 0.1 ms.
    pub fn learn_pod(&mut self, pod: &Pod, decisions: &mut Vec<Decision>) {
        self.pods.learn(pod);
        if pod.opted_out && !self.has_opted_out {
            self.has_opted_out = true;
            if self.need < Need::Look {
                self.need = Need::Look;
                self.decide_all(decisions);
                return;
            }
        }
        let is_its = |process: &Process| {
            let uid = process.place.pod_uid.as_ref();
            uid.is_some() && (uid == Some(&pod.uid) || uid == pod.static_uid.as_ref())
        };
        self.decide_living(is_its, decisions);
    }

    /// A pod is gone, for long.
    pub fn forget_pod(&mut self, uid: &str) {
        self.pods.forget(uid);
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
        let most = if self.need == Need::Look { SECOND_LOOKS_PER_TICK } else { MAX_SECOND_LOOKS };
        for _ in 0..most {
            let due = self.second_looks.pop_front_if(|(since, _)| now.0.saturating_sub(since.0) >= SECOND_LOOK_NS);
            let Some((since, tgid)) = due else { break };
            if self.processes.get(&tgid).is_some_and(|known| known.since == since && !known.ended) {
                self.look_to_decide(tgid);
                self.decide(tgid, decisions);
            }
        }
        while let Some(&(end, tgid, start_ns)) = self.ended.front() {
            if now.0.saturating_sub(end.0) < EXIT_GRACE_NS {
                break;
            }
            self.ended.pop_front();
            // The number may belong to another process by now.
            if self.processes.get(&tgid).is_some_and(|known| known.ended && known.start_ns == start_ns) {
                let known = self.processes.remove(&tgid);
                self.introduced.remove(tgid);
                if known.is_some_and(|known| known.deselected) {
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
        let deselected = self.processes.get(&task.tgid).is_some_and(|former| former.deselected);
        let known = Known {
            start_ns: task.start_ns,
            since: Nanos(task.header.time_ns),
            parent: task.parent_tgid,
            comm: text(&task.comm),
            executable,
            seen,
            // What the kernel was told about the number still holds; `decide` corrects it.
            deselected,
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
            deselected: former.is_some_and(|former| former.deselected),
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

    /// Looks at each living process if that is needed, and decides about it.
    fn decide_all(&mut self, decisions: &mut Vec<Decision>) {
        let ids: Vec<u32> = self.processes.iter().filter(|(_, known)| !known.ended).map(|(&tgid, _)| tgid).collect();
        for tgid in ids {
            self.look_to_decide(tgid);
            self.decide(tgid, decisions);
        }
    }

    /// Decides anew about some living processes, by what is known of them.
    fn decide_living(&mut self, is_meant: impl Fn(&Process) -> bool, decisions: &mut Vec<Decision>) {
        if self.need < Need::Look {
            return;
        }
        let living = self.processes.iter().filter(|(_, known)| !known.ended);
        let meant = living.filter(|(_, known)| known.seen.as_deref().is_some_and(&is_meant));
        let ids: Vec<u32> = meant.map(|(&tgid, _)| tgid).collect();
        ids.into_iter().for_each(|tgid| self.decide(tgid, decisions));
    }

    /// Looks at a process if that is needed to decide about it.
    fn look_to_decide(&mut self, tgid: u32) {
        if self.need < Need::Look {
            return;
        }
        let Some(start_ns) = self.processes.get(&tgid).map(|known| known.start_ns) else { return };
        let seen = self.look_up(tgid, start_ns);
        if let (Some(known), Some(seen)) = (self.processes.get_mut(&tgid), seen) {
            known.seen = Some(Box::new(seen));
        }
    }

    /// Decides about a process that was just born or runs another program: at once if it is traced, else by a second look.
    /// Until then its records come, and the core drops them.
    fn decide_young(&mut self, task: &Task, decisions: &mut Vec<Decision>) {
        let Some(is_taken) = self.processes.get(&task.tgid).map(|known| self.takes(task.tgid, known)) else { return };
        if let Some(known) = self.processes.get_mut(&task.tgid).filter(|_| task.header.kind == kind::EXEC && !is_taken)
        {
            // The kernel programs select a process when it runs another program.
            known.deselected = false;
        }
        let can_wait = self.second_looks.len() < MAX_SECOND_LOOKS;
        if can_wait && (self.need == Need::Look || !is_taken) {
            self.second_looks.push_back((Nanos(task.header.time_ns), task.tgid));
        }
        if is_taken || !can_wait {
            self.decide(task.tgid, decisions);
        }
    }

    /// Whether the process is traced, by what is known of it now; says so if that is news to the kernel programs, and
    /// introduces it again if it is news to the core.
    fn decide(&mut self, tgid: u32, decisions: &mut Vec<Decision>) {
        let Some(is_taken) = self.processes.get(&tgid).map(|known| self.takes(tgid, known)) else { return };
        let Some(known) = self.processes.get_mut(&tgid) else { return };
        let is_other_than_introduced = known.introduced_deselected == is_taken;
        // The core may have had its sockets deselected one by one.
        if known.deselected == is_taken || (is_taken && is_other_than_introduced) {
            known.deselected = !is_taken;
            decisions.push(Decision { tgid, taken: is_taken });
        }
        if is_other_than_introduced {
            self.introduced.remove(tgid);
        }
    }

    fn takes(&self, tgid: u32, known: &Known) -> bool {
        let executable = known.executable.as_deref();
        let seen = known.seen.as_deref().map(|seen| {
            let place = self.pods.place_of(seen);
            Subject { executable, ..seen.subject(place) }
        });
        self.selection.takes_process(&seen.unwrap_or(Subject { tgid, executable, ..Subject::default() }))
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
    /// What the kernel was told.
    deselected: bool,
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

/// A set of process ids: one bit each, so that the question asked for every record costs next to nothing.
struct PidSet {
    words: Vec<u64>,
}

/// No process id is larger: `PID_MAX_LIMIT` on 64-bit machines (include/linux/threads.h). A set takes 512 KiB, of which
/// only the pages touched are real.
const PID_LIMIT: u32 = 4 * 1024 * 1024;

impl Default for PidSet {
    fn default() -> Self {
        Self { words: vec![0; (PID_LIMIT / u64::BITS) as usize] }
    }
}

impl PidSet {
    /// Whether the id is new here. 0 names no process and never is.
    fn insert(&mut self, id: u32) -> bool {
        match self.words.get_mut((id / u64::BITS) as usize) {
            Some(word) if id != 0 => {
                let bit = 1 << (id % u64::BITS);
                let new = *word & bit == 0;
                *word |= bit;
                new
            }
            _ => false,
        }
    }

    fn remove(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut((id / u64::BITS) as usize) {
            *word &= !(1 << (id % u64::BITS));
        }
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

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
