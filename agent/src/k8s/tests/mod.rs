//! The keeper against an API server of ours, in memory and on paused time.

mod server;
mod trouble;
mod world;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc as later;
use tokio::time::sleep;

use self::server::Server;
use super::api::Api;
use super::keeper::Keeper;
use super::tally::Tally;
use super::{Config, MAX_ASKS, MAX_NEWS};
use crate::flow::fact::Fact;
use crate::flow::kubernetes::{Naming, Party, Pod};

const NODE: &str = "node-1";

/// A keeper at work, and what it told.
struct Kept {
    server: Server,
    news: Receiver<Fact>,
    asks: later::Sender<IpAddr>,
    tally: Arc<Tally>,
    told: Vec<Fact>,
}

fn config() -> Config {
    Config {
        node: NODE.to_owned(),
        kubeconfig: None,
        cluster_name: None,
        mesh_id: None,
        naming: Naming::Otel,
        well_known_labels: false,
        peers: true,
        wait: Duration::from_secs(2),
    }
}

impl Kept {
    fn start(server: Server) -> Self {
        let (out, news) = sync_channel(MAX_NEWS);
        let (asks, asked) = later::channel(MAX_ASKS);
        let tally = Arc::new(Tally::default());
        let keeper = Keeper::new(config(), out, asked, Arc::clone(&tally));
        let api = Api::new(client(&server), Arc::clone(&tally));
        tokio::spawn(keeper.keep(api));
        Self { server, news, asks, tally, told: Vec::new() }
    }

    /// Lets time pass.
    async fn after(&mut self, seconds: f64) {
        sleep(Duration::from_secs_f64(seconds)).await;
        self.told.extend(self.news.try_iter());
    }

    /// A pod, as it was told last.
    fn pod(&self, name: &str) -> Option<&Pod> {
        self.told.iter().rev().find_map(|fact| match fact {
            Fact::Pod(pod) if pod.name == name => Some(&**pod),
            _ => None,
        })
    }

    fn is_gone(&self, name: &str) -> bool {
        self.told.iter().any(|fact| matches!(fact, Fact::PodGone { uid } if *uid == uid_of(name)))
    }

    /// Who has an address, as it was told last; `None` if nothing was told.
    fn party(&self, address: &str) -> Option<Option<&Party>> {
        let address: IpAddr = address.parse().expect("an address");
        self.told.iter().rev().find_map(|fact| match fact {
            Fact::Address(told) if told.address == address => Some(told.party.as_ref()),
            _ => None,
        })
    }

    async fn ask(&mut self, address: &str) {
        self.asks.send(address.parse().expect("an address")).await.expect("it listens");
        self.after(0.5).await;
    }
}

fn client(server: &Server) -> Client {
    let server = server.clone();
    let service = tower::service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, std::convert::Infallible>(server.answer(&request)) }
    });
    Client::new(service, "default")
}

fn uid_of(name: &str) -> String {
    format!("uid-{name}")
}

/// A pod of a Deployment.
fn pod(name: &str, namespace: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": namespace, "uid": uid_of(name),
            "labels": {"pod-template-hash": "5d4f"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d4f", "uid": "uid-web-5d4f", "controller": true}]
        },
        "spec": {"nodeName": NODE, "containers": [{"name": "server", "image": "web:7"}]},
        "status": {"phase": "Running", "podIP": "10.244.1.7"}
    })
}

fn namespace(name: &str, trace: Option<&str>) -> Value {
    let annotations = trace.map_or_else(|| json!({}), |trace| json!({"wirespan.io/trace": trace}));
    json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "annotations": annotations}})
}
