//! Which processes are traced: decided when they are born, run a program, are looked at again, and when the selection or what is
//! known of their pods changes. The kernel programs are told, and the core when the process is introduced.

use wirespan_common::record::Task;

use super::{Known, Table};
use crate::config::{Need, Selection, Subject};
use crate::flow::Nanos;
use crate::flow::fact::Process;
use crate::flow::kubernetes::{Cluster, Pod};
use crate::proc::describe::Lookup;

/// A process is looked at again this long after it was born or began to run a program. Programs give up rights, and service
/// managers move them, meanwhile, which matters where the selection asks for owner, container or unit; and most children run
/// another program at once: were their parent's decision told to the kernel for them, the new program's first connection
/// might be passed over.
pub(super) const SECOND_LOOK_NS: u64 = 500_000_000;
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

/// What the kernel programs were told of a process, and what of that may still hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Told {
    #[default]
    Nothing,
    Deselected,
    /// They select a process that runs another program. They may have been told just after that.
    MayBeDeselected,
}

impl Told {
    /// What is left of it when the process runs another program.
    pub(super) const fn after_exec(self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Deselected | Self::MayBeDeselected => Self::MayBeDeselected,
        }
    }
}

impl<L: Lookup> Table<L> {
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

    /// Looks again at those that are due.
    pub(super) fn look_again(&mut self, now: Nanos, decisions: &mut Vec<Decision>) {
        let most = if self.need == Need::Look { SECOND_LOOKS_PER_TICK } else { MAX_SECOND_LOOKS };
        for _ in 0..most {
            let due = self.second_looks.pop_front_if(|(since, _)| now.0.saturating_sub(since.0) >= SECOND_LOOK_NS);
            let Some((since, tgid)) = due else { break };
            if self.processes.get(&tgid).is_some_and(|known| known.since == since && !known.ended) {
                self.look_to_decide(tgid);
                self.decide(tgid, decisions);
            }
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
    pub(super) fn look_to_decide(&mut self, tgid: u32) {
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
    pub(super) fn decide_young(&mut self, task: &Task, decisions: &mut Vec<Decision>) {
        let Some(is_taken) = self.processes.get(&task.tgid).map(|known| self.takes(task.tgid, known)) else { return };
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
    pub(super) fn decide(&mut self, tgid: u32, decisions: &mut Vec<Decision>) {
        let Some(is_taken) = self.processes.get(&tgid).map(|known| self.takes(tgid, known)) else { return };
        let Some(known) = self.processes.get_mut(&tgid) else { return };
        let is_other_than_introduced = known.introduced_deselected == is_taken;
        let is_news = if is_taken {
            // The core may have had its sockets deselected one by one.
            known.told != Told::Nothing || is_other_than_introduced
        } else {
            known.told != Told::Deselected
        };
        if is_news {
            known.told = if is_taken { Told::Nothing } else { Told::Deselected };
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
}
