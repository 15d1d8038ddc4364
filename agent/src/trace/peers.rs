//! Who is at the other end: by its process where that is on this machine, else by its address, as far as the cluster knows.
//!
//! | attribute | meaning |
//! |---|---|
//! | `service.peer.name`, `service.peer.namespace` | the service at the other end: of the pod, else the Service that was dialled |
//! | `peer.service` | the same at a client, by its older name: service graphs ask for it |
//! | `wirespan.peer.k8s.service.name` | the Service that was dialled |
//! | `wirespan.peer.k8s.namespace.name`, `.pod.name`, `.pod.uid`, `.node.name` | the pod that asked or answered |
//! | `wirespan.peer.k8s.workload.kind`, `.workload.name` | what that pod was made by |
//! | `wirespan.peer.service.version` | the version of that pod, where labels or annotations say it |
//! | `wirespan.peer.method` | `process`: both ends are on this machine; `address`: looked up by its address |

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::HashMap;

use super::attributes::Attributes;
use super::pods::Pods;
use super::span::Attribute;
use crate::flow::kubernetes::{Address, Naming, Party, Pod};
use crate::flow::naming::InCluster;
use crate::flow::{Nanos, Role};

/// Addresses kept, some 100 bytes each, and up to 2 KiB where it is a pod's.
pub const MAX_ADDRESSES: usize = 4096;
/// Who asked and got no answer may ask again after so long.
const ASK_AGAIN_NS: u64 = 10_000_000_000;
/// Addresses that wait to be asked for. More are asked for when they are met again.
const MAX_ASKS: usize = 256;
/// Longest value of an attribute, bytes.
const VALUE_BYTES: usize = 1024;

/// What is known of addresses.
#[derive(Debug, Default)]
pub struct Peers {
    known: HashMap<IpAddr, Known>,
    /// Addresses in the order in which they became known.
    order: VecDeque<IpAddr>,
    asks: Vec<IpAddr>,
}

#[derive(Debug)]
enum Known {
    Asked {
        at: Nanos,
    },
    Told {
        who: Option<Who>,
        until: Nanos,
        /// From then on it is asked for anew.
        stale: Nanos,
    },
}

/// Who has an address.
#[derive(Clone, Debug)]
pub enum Who {
    /// A pod.
    Pod(Arc<Pod>),
    /// A Service.
    Service(Arc<ServiceName>),
}

/// The name of a Service.
#[derive(Debug)]
pub struct ServiceName {
    name: String,
    namespace: String,
}

/// What is known of an address.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Who has it; `None` for nobody of the cluster.
    Told(Option<Who>),
    /// That is being asked for.
    Asked,
}

/// Who is at the other end, as a span asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which end asks.
    pub role: Role,
    /// Whom it dialled, or who called.
    pub address: IpAddr,
    /// Who answered, where that is another.
    pub behind: Option<IpAddr>,
}

impl Peers {
    /// Something was found out about an address.
    pub fn learn(&mut self, now: Nanos, told: &Address) {
        let until = Nanos(now.0.saturating_add(told.valid_ns));
        let who = told.party.clone().map(|party| match party {
            Party::Pod(pod) => Who::Pod(Arc::from(pod)),
            Party::Service { name, namespace } => Who::Service(Arc::new(ServiceName { name, namespace })),
        });
        // What is in use is asked for before it is believed no longer.
        let stale = Nanos(now.0.saturating_add(told.valid_ns / 2));
        self.put(told.address, Known::Told { who, until, stale });
    }

    /// Who has an address. Asks for it if that is not known, or not for much longer.
    ///
    /// A Service, and that nobody has it, is believed until something else is known: the API server may be away. An address of a
    /// pod may be another's by then.
    pub fn find(&mut self, address: IpAddr, now: Nanos) -> Answer {
        if !may_be_in_a_cluster(address) {
            return Answer::Told(None);
        }
        let (answer, is_due) = match self.known.get_mut(&address) {
            Some(Known::Told { who, until, stale }) if now < *until || !matches!(who, Some(Who::Pod(_))) => {
                let is_due = now >= *stale;
                if is_due {
                    *stale = Nanos(now.0.saturating_add(ASK_AGAIN_NS));
                }
                (Answer::Told(who.clone()), is_due)
            }
            Some(Known::Asked { at }) if now.0.saturating_sub(at.0) < ASK_AGAIN_NS => return Answer::Asked,
            _ => (Answer::Asked, true),
        };
        if is_due && self.asks.len() < MAX_ASKS {
            self.asks.push(address);
            if matches!(answer, Answer::Asked) {
                self.put(address, Known::Asked { at: now });
            }
        }
        answer
    }

    /// What is to be asked for.
    pub fn take_asks(&mut self, asks: &mut Vec<IpAddr>) {
        asks.append(&mut self.asks);
    }

    /// How many addresses are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no address is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn put(&mut self, address: IpAddr, known: Known) {
        if self.known.insert(address, known).is_none() {
            self.order.push_back(address);
            if self.known.len() > MAX_ADDRESSES
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }
}

/// What was found out about the other end.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Its pod.
    pub pod: Option<Arc<Pod>>,
    /// Whether that was found by its process.
    pub is_by_process: bool,
    /// The service of its process, where that is in no pod.
    pub process: Option<String>,
    /// The Service that was dialled.
    pub service: Option<Arc<ServiceName>>,
    /// Whether the process at the other end is ztunnel, and somebody else behind it.
    pub is_via_ztunnel: bool,
    /// Whether more is being asked for.
    pub is_open: bool,
}

impl Found {
    /// Answers by addresses. What is known by the process is there already.
    pub fn look_up(&mut self, question: &Question, pods: &Pods, peers: &mut Peers, now: Nanos) {
        let Question { role, address, behind } = *question;
        if self.process.is_some() && role == Role::Server {
            return;
        }
        let is_its = |pod: &Pod| pod.addresses.contains(&address);
        if self.pod.as_deref().is_some_and(is_its) {
            return;
        }
        match self.who(address, pods, peers, now) {
            Some(Who::Pod(pod)) if self.pod.is_none() && self.process.is_none() => self.pod = Some(pod),
            Some(Who::Service(service)) if role == Role::Client => self.service = Some(service),
            _ => {}
        }
        if self.pod.is_none()
            && self.process.is_none()
            && let Some(behind) = behind
            && let Some(Who::Pod(pod)) = self.who(behind, pods, peers, now)
        {
            self.pod = Some(pod);
        }
    }

    fn who(&mut self, address: IpAddr, pods: &Pods, peers: &mut Peers, now: Nanos) -> Option<Who> {
        if let Some(pod) = pods.at(address) {
            return Some(Who::Pod(Arc::clone(pod)));
        }
        match peers.find(address, now) {
            Answer::Told(who) => who,
            Answer::Asked => {
                self.is_open = true;
                None
            }
        }
    }

    /// Says it on a span.
    #[must_use]
    pub fn attributes(&self, role: Role, pods: &Pods) -> Vec<Attribute> {
        let mut attributes = Attributes::with_capacity(12);
        let Some(cluster) = pods.cluster() else { return Vec::new() };
        let place = self.pod.as_deref().map(|pod| InCluster { cluster, pod });
        let dialled = self.service.as_deref().map(|service| (service.name.as_str(), service.namespace.as_str()));
        let of_service = dialled.map(|(name, namespace)| match cluster.naming {
            Naming::Istio => format!("{name}.{namespace}").into(),
            Naming::Otel => name.into(),
        });
        let name = place.map(InCluster::service).or(self.process.as_deref().map(Into::into)).or(of_service);
        let mut text = |key, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                attributes.put_text(key, value, VALUE_BYTES);
            }
        };
        if role == Role::Client {
            text("peer.service", name.as_deref());
        }
        text("service.peer.name", name.as_deref());
        let namespace = place.map(InCluster::namespace).or(dialled.map(|(_, namespace)| namespace));
        text("service.peer.namespace", namespace);
        text("wirespan.peer.k8s.service.name", dialled.map(|(name, _)| name));
        let pod_namespace = self.pod.as_deref().map(|pod| pod.namespace.as_str());
        text("wirespan.peer.k8s.namespace.name", pod_namespace.or(dialled.map(|(_, namespace)| namespace)));
        if let Some(pod) = self.pod.as_deref() {
            text("wirespan.peer.k8s.pod.name", Some(&pod.name));
            text("wirespan.peer.k8s.pod.uid", Some(&pod.uid));
            text("wirespan.peer.k8s.node.name", pod.node.as_deref());
            if let Some(workload) = pod.workload() {
                text("wirespan.peer.k8s.workload.kind", Some(&workload.kind));
                text("wirespan.peer.k8s.workload.name", Some(&workload.name));
            }
        }
        let version = place.and_then(|place| place.version(place.pod.container(None)));
        text("wirespan.peer.service.version", version.as_deref());
        if name.is_some() {
            let by_process = self.is_by_process || (self.process.is_some() && self.pod.is_none());
            attributes.put("wirespan.peer.method", if by_process { "process" } else { "address" });
        }
        if self.is_via_ztunnel {
            attributes.put("wirespan.mesh.via", "ztunnel");
        }
        attributes.finish()
    }
}

/// Whether an address may be one of a cluster: those of private networks (RFC 1918, RFC 6598, RFC 4193).
fn may_be_in_a_cluster(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
