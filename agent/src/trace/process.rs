//! The processes of this machine, as far as records and facts tell, and the resource of each.
//!
//! A process is named by its id and its birth: an id alone is used again. What a record says about a task is only its
//! id, so the table answers for the process that has the id now, or had it last.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;
use wirespan_common::record::Task;

use super::mesh::Mesh;
use super::pods::Pods;
use super::resource::resource;
use super::span::Resource;
use crate::config::{Selection, Subject};
use crate::flow::fact::Process;
use crate::flow::kubernetes::{Cluster, Pod};

/// The process table.
#[derive(Debug, Default)]
pub struct Processes {
    host: String,
    selection: Selection,
    pods: Pods,
    known: HashMap<u32, Entry>,
    /// Dead processes, in the order in which they died: the first to be forgotten.
    dead: VecDeque<(u32, u64)>,
    /// All processes in the order in which they became known: who is forgotten where nobody is dead.
    born: VecDeque<(u32, u64)>,
    nobody: Option<Arc<Resource>>,
    epoch: u64,
    forgotten: u64,
}

/// A process and its resource, which is made when it is first needed.
#[derive(Debug)]
struct Entry {
    process: Process,
    resource: Option<Arc<Resource>>,
}

/// Processes kept, live and dead. An entry costs about 300 bytes, and about 1.5 KiB once it has a resource.
const MAX_PROCESSES: usize = 16_384;
/// Dead processes kept, so that what is still told about them finds them.
const MAX_DEAD: usize = 1024;
/// `USER_HZ` is 100 on every architecture that we support (proc(5), field `starttime`).
const CLOCK_TICK_NS: u64 = 10_000_000;
/// File name of the agent's program.
const AGENT: &str = "wirespan";

impl Processes {
    /// A table that knows nobody.
    #[must_use]
    pub fn new(selection: Selection) -> Self {
        Self { selection, ..Self::default() }
    }

    /// The name of the machine, for the resources made from now on.
    pub fn set_host(&mut self, name: &str) {
        name.clone_into(&mut self.host);
        self.nobody = None;
        self.known.values_mut().for_each(|entry| entry.resource = None);
    }

    /// Something new is known of the cluster.
    pub fn set_cluster(&mut self, cluster: &Cluster) {
        self.pods.set_cluster(cluster);
        self.nobody = None;
        self.known.values_mut().for_each(|entry| entry.resource = None);
    }

    /// A pod is there, or has changed.
    pub fn learn_pod(&mut self, pod: &Pod) {
        self.pods.learn(pod);
        let is_its = |uid: &Option<String>| uid.as_ref() == Some(&pod.uid) || (uid.is_some() && *uid == pod.static_uid);
        let its = self.known.values_mut().filter(|entry| is_its(&entry.process.place.pod_uid));
        its.for_each(|entry| entry.resource = None);
    }

    /// A pod is gone, for long. What was said of its processes stays.
    pub fn forget_pod(&mut self, uid: &str) {
        self.pods.forget(uid);
    }

    /// What is known of Kubernetes.
    #[must_use]
    pub const fn pods(&self) -> &Pods {
        &self.pods
    }

    /// The pod of a process.
    #[must_use]
    pub fn pod_of(&self, tgid: u32) -> Option<&Arc<Pod>> {
        self.pods.of(&self.known.get(&tgid)?.process)
    }

    /// Whether a process is a proxy of a mesh.
    #[must_use]
    pub fn mesh_of(&self, tgid: u32) -> Option<Mesh> {
        let process = &self.known.get(&tgid)?.process;
        let pod = self.pods.of(process)?;
        Mesh::of(process, pod, pod.container(process.container_id.as_deref()))
    }

    /// `service.name` of a process that is in no container: what is in one is somebody's whom Kubernetes knows.
    #[must_use]
    pub fn service_of(&self, tgid: u32) -> Option<String> {
        let process = &self.known.get(&tgid)?.process;
        let is_contained = process.container_id.is_some() || process.place.pod_uid.is_some();
        Some(process.service()).filter(|name| !is_contained && !name.is_empty()).map(str::to_owned)
    }

    /// The birth of a process, by which it is the same later on.
    #[must_use]
    pub fn birth(&self, tgid: u32) -> Option<u64> {
        self.known.get(&tgid).map(|entry| entry.process.start_ns)
    }

    /// Something else is traced from now on. What is known of processes was decided by what was traced before; user space
    /// tells anew of those for which that makes a difference.
    pub fn select(&mut self, selection: Selection) {
        self.selection = selection;
        self.epoch += 1;
    }

    /// User space looked at a process.
    pub fn learn(&mut self, mut process: Process) {
        if self.is_stale(process.tgid, process.start_ns) {
            // The id has passed on to a younger process while user space looked.
            return;
        }
        match self.known.get_mut(&process.tgid) {
            Some(entry) if is_same_birth(entry.process.start_ns, process.start_ns) => {
                process.start_ns = entry.process.start_ns;
                if entry.process != process {
                    self.epoch += u64::from(entry.process.deselected != process.deselected);
                    *entry = Entry { process, resource: None };
                }
            }
            Some(_) => {
                self.epoch += 1;
                self.insert(process);
            }
            None => {
                self.epoch += u64::from(process.deselected);
                self.insert(process);
            }
        }
    }

    /// A process was born: until it becomes another program it is what its parent is.
    pub fn forked(&mut self, task: &Task) {
        let known = self.known.get(&task.tgid).map(|entry| entry.process.start_ns);
        // User space may have looked before the record was read: it knows more.
        let is_known = known.is_some_and(|start_ns| is_same_birth(start_ns, task.start_ns));
        if is_known || self.is_stale(task.tgid, task.start_ns) {
            return;
        }
        let mut process = self.known.get(&task.parent_tgid).map_or_else(
            || Process { name: name_of(&task.comm), ..Process::default() },
            |parent| parent.process.clone(),
        );
        process.tgid = task.tgid;
        process.start_ns = task.start_ns;
        process.parent = (task.parent_tgid != 0).then_some(task.parent_tgid);
        // It may have been born into another namespace, as its first.
        (process.inner_pid, process.pid_namespace) = (None, None);
        if !self.selection.is_everything() {
            process.deselected = !self.selection.takes_process(&process.subject(self.pods.place_of(&process)));
        }
        self.epoch += u64::from(process.deselected);
        self.insert(process);
    }

    /// A process became another program. Container and environment stay what they were, as `execve` mostly leaves
    /// them; user space corrects that if it is in time.
    pub fn executed(&mut self, task: &Task) {
        if self.is_stale(task.tgid, task.start_ns) {
            return;
        }
        let path = text_of(&task.filename);
        let name =
            path.rsplit('/').next().filter(|name| !name.is_empty()).map_or_else(|| name_of(&task.comm), str::to_owned);
        let executable = (!path.is_empty()).then(|| path.into_owned());
        self.epoch += 1;
        let before = self.known.get(&task.tgid).filter(|entry| is_same_birth(entry.process.start_ns, task.start_ns));
        let before = before.map_or_else(
            || Process { tgid: task.tgid, start_ns: task.start_ns, ..Process::default() },
            |entry| entry.process.clone(),
        );
        let mut process = Process { name, executable, program: Box::default(), ..before };
        process.deselected = !self.selection.takes_process(&process.subject(self.pods.place_of(&process)));
        self.insert(process);
    }

    /// A process ended. It is kept for a while: what it did last may still be on its way.
    pub fn exited(&mut self, task: &Task) {
        let known = self.known.get(&task.tgid).map(|entry| entry.process.start_ns);
        let Some(start_ns) = known.filter(|&start_ns| is_same_birth(start_ns, task.start_ns)) else { return };
        self.dead.push_back((task.tgid, start_ns));
        while self.dead.len() > MAX_DEAD {
            self.forget_oldest_dead();
        }
    }

    /// The resource of a process; that of nobody in particular where the id is not known.
    pub fn resource(&mut self, tgid: u32) -> Arc<Resource> {
        let (host, pods) = (&self.host, &self.pods);
        match self.known.get_mut(&tgid) {
            Some(entry) => {
                let process = &entry.process;
                Arc::clone(entry.resource.get_or_insert_with(|| Arc::new(resource(host, Some(process), pods))))
            }
            None => Arc::clone(self.nobody.get_or_insert_with(|| Arc::new(resource(host, None, pods)))),
        }
    }

    /// Whether it is an agent, of whatever version, as far as its program's file name tells.
    #[must_use]
    pub fn is_agent(&self, tgid: u32) -> bool {
        self.known.get(&tgid).is_some_and(|entry| {
            let path = entry.process.executable.as_deref().unwrap_or(&entry.process.name);
            path.rsplit('/').next() == Some(AGENT)
        })
    }

    /// Whether the user asked not to see the process.
    #[must_use]
    pub fn is_deselected(&self, tgid: u32) -> bool {
        self.known.get(&tgid).is_some_and(|entry| entry.process.deselected)
    }

    /// Whether spans of the process are wanted. Of one that is not known, that depends on whether everything is.
    #[must_use]
    pub fn is_wanted(&self, tgid: u32) -> bool {
        match self.known.get(&tgid) {
            Some(entry) => !entry.process.deselected,
            None => self.selection.takes_process(&Subject { tgid, ..Subject::default() }),
        }
    }

    /// Changes whenever an answer of [`Self::is_deselected`] may have changed.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many processes were forgotten for want of room while they lived, since the last call.
    pub fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    /// Whether what is told is about a process that had this id before the one that we know.
    fn is_stale(&self, tgid: u32, start_ns: u64) -> bool {
        let known = self.known.get(&tgid).map(|entry| entry.process.start_ns);
        known.is_some_and(|known| known > start_ns && !is_same_birth(known, start_ns))
    }

    fn insert(&mut self, process: Process) {
        let key = (process.tgid, process.start_ns);
        let before = self.known.insert(key.0, Entry { process, resource: None });
        if before.is_none_or(|entry| entry.process.start_ns != key.1) {
            self.born.push_back(key);
        }
        while self.known.len() > MAX_PROCESSES || self.born.len() > 2 * MAX_PROCESSES {
            if self.dead.is_empty() {
                self.forget_oldest();
            } else {
                self.forget_oldest_dead();
            }
        }
    }

    fn forget_oldest_dead(&mut self) {
        if let Some(key) = self.dead.pop_front() {
            self.forget(key);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(key) = self.born.pop_front() {
            self.forgotten += u64::from(self.forget(key));
        }
    }

    fn forget(&mut self, (tgid, start_ns): (u32, u64)) -> bool {
        let is_it = self.known.get(&tgid).is_some_and(|entry| entry.process.start_ns == start_ns);
        is_it && self.known.remove(&tgid).is_some()
    }
}

/// Whether two times are the birth of one process: `/proc` rounds it down to a clock tick, the kernel programs do not.
/// No id is used again that soon.
fn is_same_birth(one_ns: u64, other_ns: u64) -> bool {
    one_ns.abs_diff(other_ns) < CLOCK_TICK_NS
}

fn name_of(comm: &[u8]) -> String {
    text_of(comm).into_owned()
}

/// The text in a NUL-padded field.
fn text_of(field: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(field.split(|&byte| byte == 0).next().unwrap_or_default())
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
