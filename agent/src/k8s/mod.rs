//! What the API server says of the pods of this machine, and of whom they talk to.
//!
//! One thread with a runtime of its own: nothing here can hold up the rest. What it finds out becomes facts, which the agent's
//! loop takes between two rounds.
//!
//! - [`connect`]: how the API server is reached, with what credentials.
//! - [`api`]: requests, with bounds on time and size; what answers mean.
//! - [`follow`]: a list and the watch that keeps it, of any kind, with back-off ([`backoff`]).
//! - [`objects`]: what is read of objects; everything else is skipped.
//! - [`pods`]: pods of this node, from objects to facts.
//! - [`owners`]: what made them.
//! - [`namespaces`]: who asks not to be traced; the cluster's uid.
//! - [`lookup`]: who has an address.
//! - [`known`]: what came of it, and what of that was told.
//! - [`keeper`]: all of that together.
//! - [`tally`]: what it cost.

mod api;
mod backoff;
mod check;
mod connect;
mod follow;
mod keeper;
mod known;
mod lookup;
mod namespaces;
mod objects;
mod owners;
mod pods;
pub mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc as later;

use self::keeper::Keeper;
use self::tally::Tally;
use crate::flow::fact::Fact;
use crate::flow::kubernetes::{Cluster, Naming};

pub use self::check::{Finding, check};
pub use self::connect::ConnectError;

/// Facts that may wait for the agent's loop. While there is no room, nothing more is read from the API server.
const MAX_NEWS: usize = 4096;
/// Addresses that may wait to be looked up. More are asked for when they are met again.
const MAX_ASKS: usize = 256;

const THREAD: &str = "kubernetes";

/// What is to be found out, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of this node.
    pub node: String,
    /// How the API server is reached; without it, by the service account of this pod.
    pub kubeconfig: Option<PathBuf>,
    /// `k8s.cluster.name`.
    pub cluster_name: Option<String>,
    /// `istio.mesh_id`.
    pub mesh_id: Option<String>,
    /// How services are named.
    pub naming: Naming,
    /// Whether the labels `app.kubernetes.io/*` name services.
    pub well_known_labels: bool,
    /// Whether peers are looked up.
    pub peers: bool,
    /// How long spans wait.
    pub wait: Duration,
}

impl Config {
    /// What the core is told of the cluster before anything is known.
    fn cluster(&self) -> Cluster {
        Cluster {
            name: self.cluster_name.clone(),
            node: Some(self.node.clone()),
            mesh_id: self.mesh_id.clone(),
            naming: self.naming,
            well_known_labels: self.well_known_labels,
            peers: self.peers,
            wait_ns: u64::try_from(self.wait.as_nanos()).unwrap_or(u64::MAX),
            ..Cluster::default()
        }
    }
}

/// Whether this process runs in a pod that has a service account.
#[must_use]
pub fn is_in_cluster() -> bool {
    connect::is_in_cluster()
}

/// The running thread.
#[derive(Debug)]
pub struct Kubernetes {
    first: Fact,
    news: Receiver<Fact>,
    asks: later::Sender<IpAddr>,
    tally: Arc<Tally>,
}

impl Kubernetes {
    /// Starts to ask. To be called when no more rights are to be given up: the thread is born without them.
    ///
    /// # Errors
    ///
    /// If no thread can be had.
    pub fn start(config: Config) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (news_out, news) = mpsc::sync_channel(MAX_NEWS);
        let (asks, asked) = later::channel(MAX_ASKS);
        let tally = Arc::new(Tally::default());
        let first = Fact::Cluster(config.cluster());
        let keeper = Keeper::new(config, news_out, asked, Arc::clone(&tally));
        thread::Builder::new().name(THREAD.to_owned()).spawn(move || runtime.block_on(keeper.run()))?;
        Ok(Self { first, news, asks, tally })
    }

    /// What is known without asking. Told before the first record, it lets the spans of that one wait for the rest.
    #[must_use]
    pub const fn first(&self) -> &Fact {
        &self.first
    }

    /// What was found out since the last call, one at a time.
    pub fn news(&self) -> impl Iterator<Item = Fact> + '_ {
        self.news.try_iter()
    }

    /// Somebody has an address: who?
    pub fn ask(&self, address: IpAddr) {
        if self.asks.try_send(address).is_err() {
            self.tally.dropped_asks();
        }
    }

    /// What it cost.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }
}
