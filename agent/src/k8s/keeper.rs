//! Asks what is to be asked, and passes on to the agent's loop what is new.

use std::collections::VecDeque;
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
use super::follow::{Change, Followed, follow};
use super::known::Known;
use super::lookup::{self, Found, Lookups, MAX_UNDER_WAY};
use super::objects::{Partial, PodObject};
use super::owners::{self, Answer, Query};
use super::tally::{Kind, Tally};
use super::{Config, MAX_NEWS};
use crate::flow::fact::Fact;

/// How often it is looked whether something has waited long enough.
const TICK: Duration = Duration::from_millis(100);
/// Questions about owners under way at once,
const OWNERS_UNDER_WAY: usize = 2;
/// and between two of them.
const OWNERS_PAUSE: Duration = Duration::from_millis(50);
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
pub(super) struct Outbox {
    news: SyncSender<Fact>,
    waiting: VecDeque<Fact>,
    is_closed: bool,
}

/// What a task of ours came to.
enum Done {
    Owner(Query, Result<Answer, Failure>),
    Peer(IpAddr, Result<Found, Failure>),
    Node(String),
    Paused,
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
                let home = lookups.home(address);
                work.spawn(
                    async move { Done::Peer(address, lookup::look_up(&api, address, home, services_first).await) },
                );
            }
            self.outbox.flush();
            if self.outbox.is_closed {
                return;
            }
            let has_room = self.outbox.waiting.len() < MAX_NEWS;
            tokio::select! {
                Some(change) = pod_changes.recv(), if has_room => known.take_pod(change, &mut self.outbox),
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
            self.tally.keeps(known.len(), known.owners.len());
        }
    }
}

impl Outbox {
    pub(super) fn put(&mut self, fact: Fact) {
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
