//! What is known of the cluster: its pods with their owners and namespaces, and what was told of them.
//!
//! A pod is told when its namespace and its owner are known, or can't be known in time: till then its spans wait. One that is
//! gone is kept for a while, because what it did last is still on its way.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::api::Failure;
use super::follow::{Change, Object};
use super::keeper::Outbox;
use super::lookup::{self, Found, Lookups};
use super::namespaces::Namespaces;
use super::objects::{Metadata, Partial, PodObject};
use super::owners::{Answer, Owners, Query};
use super::pods::{self, TRACE_KEY};
use crate::flow::fact::Fact;
use crate::flow::kubernetes::{Address, Cluster, Party, Pod};

/// Pods kept, those that are gone for a while included. A node has 110, as a rule.
const MAX_PODS: usize = 2048;
/// How long a pod is kept after its end.
const GRACE: Duration = Duration::from_secs(60);
/// How long a pod waits for who made it, and, at the start, for what its namespace says.
const PATIENCE: Duration = Duration::from_millis(500);
/// What could not be found out is asked for again so often.
const SWEEP: Duration = Duration::from_secs(60);

/// What is known.
pub(super) struct Known {
    pub(super) cluster: Cluster,
    pods: HashMap<String, Kept>,
    namespaces: Namespaces,
    pub(super) owners: Owners,
    /// What lists under way have named.
    listed: Option<HashSet<String>>,
    began: Instant,
    /// How long spans wait where there is something to wait for, nanoseconds.
    wait_ns: u64,
    /// When it was looked through last.
    swept: Instant,
}

struct Kept {
    pod: Pod,
    /// As it was told last.
    told: Option<Pod>,
    since: Instant,
    gone: Option<Instant>,
    /// Something may have changed since it was told.
    is_due: bool,
}

impl Object for PodObject {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Kept {
    fn new(now: Instant) -> Self {
        Self { pod: Pod::default(), told: None, since: now, gone: None, is_due: true }
    }
}

impl Known {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self {
            wait_ns: cluster.wait_ns,
            cluster,
            pods: HashMap::new(),
            namespaces: Namespaces::default(),
            owners: Owners::default(),
            listed: None,
            began: Instant::now(),
            swept: Instant::now(),
        }
    }

    /// How many pods are kept.
    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Addresses of pods of this node.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let own = self.pods.values().filter(|kept| !kept.pod.host_network);
        own.flat_map(|kept| kept.pod.addresses.iter().copied())
    }

    pub(super) fn take_pod(&mut self, change: Change<PodObject>, outbox: &mut Outbox) {
        let now = Instant::now();
        match change {
            Change::Begin => self.listed = Some(HashSet::new()),
            Change::Put(object) => {
                let Some(pod) = pods::pod(object) else { return };
                if let Some(listed) = &mut self.listed {
                    listed.insert(pod.uid.clone());
                }
                if self.pods.len() >= MAX_PODS && !self.pods.contains_key(&pod.uid) {
                    self.forget_one();
                }
                let uid = pod.uid.clone();
                let kept = self.pods.entry(uid).or_insert_with(|| Kept::new(now));
                (kept.pod, kept.gone, kept.is_due) = (pod, None, true);
            }
            Change::Gone(object) => {
                if let Some(kept) = self.pods.get_mut(&object.metadata.uid) {
                    kept.gone.get_or_insert(now);
                } else if let Some(pod) = pods::pod(object) {
                    // It came and went while nobody watched.
                    let uid = pod.uid.clone();
                    self.pods.insert(uid, Kept { pod, gone: Some(now), ..Kept::new(now) });
                }
            }
            Change::Complete => {
                let listed = self.listed.take().unwrap_or_default();
                let gone = self.pods.iter_mut().filter(|(uid, _)| !listed.contains(*uid));
                gone.for_each(|(_, kept)| {
                    kept.gone.get_or_insert(now);
                });
                self.set_wait(self.wait_ns, outbox);
            }
            Change::Unavailable { is_denied } => {
                self.listed = None;
                if is_denied {
                    // What can't become known is not waited for.
                    self.set_wait(0, outbox);
                }
            }
            Change::Again => self.set_wait(self.wait_ns, outbox),
        }
    }

    fn set_wait(&mut self, wait_ns: u64, outbox: &mut Outbox) {
        if self.cluster.wait_ns != wait_ns {
            self.cluster.wait_ns = wait_ns;
            outbox.put(Fact::Cluster(self.cluster.clone()));
        }
    }

    /// The one that has been gone longest, else any.
    fn forget_one(&mut self) {
        let first = self.pods.iter().min_by_key(|(_, kept)| (kept.gone.is_none(), kept.gone, kept.since));
        if let Some(uid) = first.map(|(uid, _)| uid.clone()) {
            self.pods.remove(&uid);
        }
    }

    pub(super) fn take_namespace(&mut self, change: Change<Partial>, outbox: &mut Outbox) {
        let news = self.namespaces.take(change);
        if !news.changed.is_empty() {
            let its = self.pods.values_mut().filter(|kept| news.changed.contains(&kept.pod.namespace));
            its.for_each(|kept| kept.is_due = true);
        }
        if news.has_uid {
            self.cluster.uid = self.namespaces.cluster_uid().map(str::to_owned);
            outbox.put(Fact::Cluster(self.cluster.clone()));
        }
    }

    pub(super) fn take_owner(&mut self, query: &Query, answer: Result<Answer, Failure>) {
        // What failed is not asked for again at once.
        if answer.is_ok() {
            let is_its = |pod: &Pod| pod.owners.first().and_then(|owner| owner.uid.as_ref()) == Some(&query.uid);
            self.pods.values_mut().filter(|kept| is_its(&kept.pod)).for_each(|kept| kept.is_due = true);
        }
        self.owners.answered(query, answer);
    }

    /// Tells what has changed and needs nothing more.
    pub(super) fn tell(&mut self, outbox: &mut Outbox) {
        let now = Instant::now();
        let may_wait_for_namespaces = !self.namespaces.is_settled() && now.duration_since(self.began) < PATIENCE;
        if may_wait_for_namespaces {
            return;
        }
        if now.duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.pods.values_mut().for_each(|kept| kept.is_due = true);
        }
        let mut over = Vec::new();
        for (uid, kept) in &mut self.pods {
            if kept.gone.is_some_and(|gone| now.duration_since(gone) >= GRACE) {
                over.push(uid.clone());
                continue;
            }
            if !kept.is_due {
                continue;
            }
            let above = self.owners.above(&kept.pod, true);
            if above.is_open && kept.told.is_none() && now.duration_since(kept.since) < PATIENCE {
                continue;
            }
            kept.is_due = false;
            let opted_out = opted_out(&kept.pod, &self.namespaces);
            let is_news = kept.told.as_ref().is_none_or(|told| {
                told.opted_out != opted_out || told.owners.get(1) != above.owner.as_ref() || !is_same(told, &kept.pod)
            });
            if is_news {
                let mut pod = kept.pod.clone();
                pod.owners.truncate(1);
                pod.owners.extend(above.owner);
                pod.opted_out = opted_out;
                kept.told = Some(pod.clone());
                outbox.put(Fact::Pod(Box::new(pod)));
            }
        }
        for uid in over {
            self.pods.remove(&uid);
            outbox.put(Fact::PodGone { uid });
        }
    }

    pub(super) fn describe(
        &mut self,
        address: IpAddr,
        found: Result<Found, Failure>,
        lookups: &mut Lookups,
    ) -> Option<Fact> {
        let valid = lookups.answered(address, &found)?;
        let mut party = found.ok().and_then(lookup::party);
        if let Some(Party::Pod(pod)) = &mut party {
            pod.owners.extend(self.owners.above(pod, false).owner);
            // Which of several containers has its end of the connection can't be seen from here.
            if pod.containers.len() > 1 {
                pod.containers.clear();
            }
        }
        let valid_ns = u64::try_from(valid.as_nanos()).unwrap_or(u64::MAX);
        Some(Fact::Address(Box::new(Address { address, party, valid_ns })))
    }
}

/// Whether two are the same but for what is added to what is told.
fn is_same(told: &Pod, pod: &Pod) -> bool {
    let Pod { owners, opted_out: _, .. } = told;
    owners.first() == pod.owners.first()
        && Pod { owners: Vec::new(), opted_out: false, ..told.clone() }
            == Pod { owners: Vec::new(), opted_out: false, ..pod.clone() }
}

/// Whether a pod asks not to be traced: by itself, else by its namespace.
fn opted_out(pod: &Pod, namespaces: &Namespaces) -> bool {
    let own = pods::says_traced(pod.annotation(TRACE_KEY), pod.label(TRACE_KEY));
    own.or_else(|| namespaces.says_traced(&pod.namespace)) == Some(false)
}
