//! Keeps what is known of the cluster, and tells the agent's loop what is new.
//!
//! A pod is told when its namespace and its owner are known, or can't be known in time: till then its spans wait. One that is
//! gone is kept for a while, because what it did last is still on its way.

use std::collections::{HashMap, HashSet, VecDeque};
use std::env;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::api::{Api, Depth, Failure, segment, target};
use super::backoff::{Backoff, spread};
use super::connect;
use super::follow::{Change, Followed, Object, follow};
use super::lookup::{self, Found, Lookups, MAX_UNDER_WAY};
use super::namespaces::Namespaces;
use super::objects::{Metadata, Partial, PodObject};
use super::owners::{self, Answer, Owners, Query};
use super::pods::{self, TRACE_KEY};
use super::tally::{Kind, Tally};
use super::{Config, MAX_NEWS};
use crate::flow::fact::Fact;
use crate::flow::kubernetes::{Address, Cluster, Party, Pod};

/// Pods kept, those that are gone for a while included. A node has 110, as a rule.
const MAX_PODS: usize = 2048;
/// How long a pod is kept after its end.
const GRACE: Duration = Duration::from_secs(60);
/// How long a pod waits for who made it, and, at the start, for what its namespace says.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked whether something has waited long enough.
const TICK: Duration = Duration::from_millis(100);
/// Questions about owners under way at once,
const OWNERS_UNDER_WAY: usize = 2;
/// and between two of them.
const OWNERS_PAUSE: Duration = Duration::from_millis(50);
/// What could not be found out is asked for again so often.
const SWEEP: Duration = Duration::from_secs(60);
/// Changes of a kind that wait.
const CHANGES: usize = 16;
/// Without a connection, it is looked for one so often: files may come.
const RECONNECT: Duration = Duration::from_secs(30);

/// The thread's work.
pub(super) struct Keeper {
    config: Config,
    asks: Receiver<IpAddr>,
    tally: Arc<Tally>,
    outbox: Outbox,
}

/// Facts on their way to the agent's loop.
struct Outbox {
    news: SyncSender<Fact>,
    waiting: VecDeque<Fact>,
    is_closed: bool,
}

/// What is known.
struct Known {
    cluster: Cluster,
    pods: HashMap<String, Kept>,
    namespaces: Namespaces,
    owners: Owners,
    /// What lists under way have named.
    listed: Option<HashSet<String>>,
    began: Instant,
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

/// What a task of ours came to.
enum Done {
    Owner(Query, Result<Answer, Failure>),
    Peer(IpAddr, Result<Found, Failure>),
    Node(String),
    Paused,
}

impl Object for PodObject {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Keeper {
    pub(super) fn new(config: Config, news: SyncSender<Fact>, asks: Receiver<IpAddr>, tally: Arc<Tally>) -> Self {
        Self { config, asks, tally, outbox: Outbox { news, waiting: VecDeque::new(), is_closed: false } }
    }

    /// Works until nobody wants to know any more.
    pub(super) async fn run(mut self) {
        // From now on spans wait for what is about to be found out.
        self.outbox.put(Fact::Cluster(self.config.cluster()));
        let mut complaint = None;
        let client = loop {
            self.outbox.flush();
            match connect::connect(&self.config).await {
                Ok(client) => break client,
                Err(error) => {
                    let text = error.to_string();
                    if complaint.as_ref() != Some(&text) {
                        tracing::warn!("kubernetes: {text}");
                        complaint = Some(text);
                    }
                }
            }
            if self.outbox.is_closed {
                return;
            }
            sleep(spread(RECONNECT)).await;
        };
        let api = Api::new(client, Arc::clone(&self.tally));
        self.keep(api).await;
    }

    /// The same, with a connection.
    pub(super) async fn keep(mut self, api: Api) {
        let (pods, mut pod_changes) = channel(CHANGES);
        let (namespaces, mut namespace_changes) = channel(CHANGES);
        let _following = Following::start(&api, &self.config.node, pods, namespaces);
        let mut known = Known::new(self.config.cluster());
        let mut lookups = Lookups::new(service_of_the_api(), Instant::now());
        let (mut owners_at_work, mut lookups_at_work) = (0, 0);
        let mut work = JoinSet::new();
        work.spawn(node(api.clone(), self.config.node.clone()));
        let mut tick = interval(TICK);
        loop {
            while owners_at_work < OWNERS_UNDER_WAY
                && let Some(query) = known.owners.next()
            {
                owners_at_work += 1;
                let api = api.clone();
                work.spawn(async move {
                    let answer = owners::ask(&api, &query).await;
                    sleep(OWNERS_PAUSE).await;
                    Done::Owner(query, answer)
                });
            }
            while lookups_at_work < MAX_UNDER_WAY
                && let Some(address) = lookups.next(Instant::now())
            {
                lookups_at_work += 1;
                let api = api.clone();
                let services_first = lookups.may_be_a_service(address, known.addresses());
                work.spawn(async move { Done::Peer(address, lookup::look_up(&api, address, services_first).await) });
            }
            self.outbox.flush();
            if self.outbox.is_closed {
                return;
            }
            let has_room = self.outbox.waiting.len() < MAX_NEWS;
            tokio::select! {
                Some(change) = pod_changes.recv(), if has_room => known.take_pod(change),
                Some(change) = namespace_changes.recv(), if has_room => known.take_namespace(change, &mut self.outbox),
                Some(address) = self.asks.recv() => {
                    if !lookups.add(address) {
                        self.tally.dropped_asks();
                    }
                }
                Some(Ok(done)) = work.join_next() => match done {
                    Done::Owner(query, answer) => {
                        owners_at_work -= 1;
                        known.take_owner(&query, answer);
                    }
                    Done::Peer(address, found) => {
                        lookups_at_work -= 1;
                        if let Some(fact) = known.describe(address, found, &mut lookups) {
                            self.outbox.put(fact);
                        }
                    }
                    Done::Node(uid) => {
                        known.cluster.node_uid = Some(uid);
                        self.outbox.put(Fact::Cluster(known.cluster.clone()));
                    }
                    Done::Paused => {}
                },
                _ = tick.tick() => {}
            }
            known.tell(&mut self.outbox);
            self.tally.keeps(known.pods.len(), known.owners.len());
        }
    }
}

impl Outbox {
    fn put(&mut self, fact: Fact) {
        self.waiting.push_back(fact);
    }

    fn flush(&mut self) {
        while let Some(fact) = self.waiting.pop_front() {
            match self.news.try_send(fact) {
                Ok(()) => {}
                Err(TrySendError::Full(fact)) => {
                    self.waiting.push_front(fact);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
    }
}

/// The two watches; they end with it.
struct Following(#[expect(dead_code, reason = "held so that its tasks live")] JoinSet<()>);

impl Following {
    fn start(api: &Api, node: &str, pods: Sender<Change<PodObject>>, namespaces: Sender<Change<Partial>>) -> Self {
        let of_pods = Followed {
            kind: Kind::Pods,
            path: "/api/v1/pods",
            field_selector: Some(format!("spec.nodeName={node}")),
            depth: Depth::Whole,
        };
        let of_namespaces = Followed {
            kind: Kind::Namespaces,
            path: "/api/v1/namespaces",
            field_selector: None,
            depth: Depth::Metadata,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(api.clone(), of_pods, pods));
        tasks.spawn(follow(api.clone(), of_namespaces, namespaces));
        Self(tasks)
    }
}

/// Finds out the uid of this node; goes on trying while that may help.
async fn node(api: Api, name: String) -> Done {
    let path = target(&format!("/api/v1/nodes/{}", segment(&name)), &[("resourceVersion", "0")]);
    let mut backoff = Backoff::default();
    loop {
        match api.get::<Partial>(Kind::Nodes, &path, Depth::Metadata).await {
            Ok(node) => return Done::Node(node.metadata.uid),
            Err(Failure::NotFound) => {
                tracing::warn!(
                    "kubernetes: no node is called `{name}`, so no pod will be known: set kubernetes.node or NODE_NAME (downward API, spec.nodeName)"
                );
                return Done::Paused;
            }
            Err(Failure::Denied(_) | Failure::Refused(_)) => return Done::Paused,
            Err(Failure::Later { after, .. }) => sleep(backoff.pause(after, fastrand::f64())).await,
            Err(_) => sleep(backoff.pause(None, fastrand::f64())).await,
        }
    }
}

/// Where the API server is, as a pod sees it: an address of a Service.
fn service_of_the_api() -> Option<IpAddr> {
    env::var("KUBERNETES_SERVICE_HOST").ok()?.parse().ok()
}

impl Kept {
    fn new(now: Instant) -> Self {
        Self { pod: Pod::default(), told: None, since: now, gone: None, is_due: true }
    }
}

impl Known {
    fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            pods: HashMap::new(),
            namespaces: Namespaces::default(),
            owners: Owners::default(),
            listed: None,
            began: Instant::now(),
            swept: Instant::now(),
        }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let own = self.pods.values().filter(|kept| !kept.pod.host_network);
        own.flat_map(|kept| kept.pod.addresses.iter().copied())
    }

    fn take_pod(&mut self, change: Change<PodObject>) {
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
            }
            Change::Unavailable => self.listed = None,
        }
    }

    /// The one that has been gone longest, else any.
    fn forget_one(&mut self) {
        let first = self.pods.iter().min_by_key(|(_, kept)| (kept.gone.is_none(), kept.gone, kept.since));
        if let Some(uid) = first.map(|(uid, _)| uid.clone()) {
            self.pods.remove(&uid);
        }
    }

    fn take_namespace(&mut self, change: Change<Partial>, outbox: &mut Outbox) {
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

    fn take_owner(&mut self, query: &Query, answer: Result<Answer, Failure>) {
        // What failed is not asked for again at once.
        if answer.is_ok() {
            let is_its = |pod: &Pod| pod.owners.first().and_then(|owner| owner.uid.as_ref()) == Some(&query.uid);
            self.pods.values_mut().filter(|kept| is_its(&kept.pod)).for_each(|kept| kept.is_due = true);
        }
        self.owners.answered(query, answer);
    }

    /// Tells what has changed and needs nothing more.
    fn tell(&mut self, outbox: &mut Outbox) {
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

    fn describe(&mut self, address: IpAddr, found: Result<Found, Failure>, lookups: &mut Lookups) -> Option<Fact> {
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
