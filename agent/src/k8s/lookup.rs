//! Who has an address: a pod of another node, a Service, nobody. Asked for on demand, because no agent should know the whole
//! cluster: the API server finds both by a field of theirs, and answers with one object.
//!
//! Such a question costs the API server a look at each object of that kind that it holds in memory, so there are few: each
//! address once, a bounded number in a second, and none for what was answered lately. Whether a pod still has its address is
//! asked by its node besides, which is an index: the API server looks at the pods of that node alone.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::api::{Api, Depth, Failure, target};
use super::objects::{List, Metadata, PodObject};
use super::pods;
use super::tally::Kind;
use crate::flow::kubernetes::{Party, Pod};

/// Addresses that wait at once.
const MAX_WAITING: usize = 256;
/// Look-ups under way at once.
pub(super) const MAX_UNDER_WAY: usize = 4;
/// Look-ups in a second, over long,
const PER_SECOND: f64 = 2.0;
/// and at once after a quiet time.
const AT_ONCE: f64 = 20.0;
/// Addresses of which it is kept how often nobody had them,
const MAX_MISSES: usize = 4096;
/// and on which node their pod was.
const MAX_HOMES: usize = 4096;

/// An address of a Service stays its own for as long as it lives.
const SERVICE_VALID: Duration = Duration::from_secs(600);
/// An address of a pod may be another's soon after it ends.
const POD_VALID: Duration = Duration::from_secs(120);
/// An address of a node stays one.
const NODE_VALID: Duration = Duration::from_secs(3600);
/// What nobody has now, a pod may have that is just starting: it is asked for again, less and less often.
const NOBODY_VALID: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(300)];
/// Nobody is found by what may not be asked.
const DENIED_VALID: Duration = Duration::from_secs(300);

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    Pod(Box<Pod>),
    Service {
        name: String,
        namespace: String,
    },
    /// Pods that share it with their node.
    Node,
    Nobody,
}

/// Addresses that wait, and how fast they may be asked for.
#[derive(Debug)]
pub(super) struct Lookups {
    waiting: VecDeque<IpAddr>,
    /// Those that wait or are asked for.
    open: HashSet<IpAddr>,
    misses: HashMap<IpAddr, usize>,
    /// Nodes of pods that were found.
    homes: HashMap<IpAddr, String>,
    tokens: f64,
    filled: Instant,
    /// Addresses that are Services', by which others are told from pods'.
    services: Vec<IpAddr>,
}

/// A Service, by its name.
#[derive(Debug, Deserialize)]
struct ServiceObject {
    #[serde(default)]
    metadata: Metadata,
}

impl Lookups {
    /// Nothing is known, but for an address of a Service, perhaps.
    pub(super) fn new(service: Option<IpAddr>, now: Instant) -> Self {
        Self {
            waiting: VecDeque::new(),
            open: HashSet::new(),
            misses: HashMap::new(),
            homes: HashMap::new(),
            tokens: AT_ONCE,
            filled: now,
            services: service.into_iter().collect(),
        }
    }

    /// An address is to be looked up. Whether there was room for it.
    pub(super) fn add(&mut self, address: IpAddr) -> bool {
        if self.open.contains(&address) {
            return true;
        }
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.open.insert(address);
        self.waiting.push_back(address);
        true
    }

    /// The next address, if it may be asked for now.
    pub(super) fn next(&mut self, now: Instant) -> Option<IpAddr> {
        self.tokens = (self.tokens + now.duration_since(self.filled).as_secs_f64() * PER_SECOND).min(AT_ONCE);
        self.filled = now;
        if self.tokens < 1.0 {
            return None;
        }
        let address = self.waiting.pop_front()?;
        self.tokens -= 1.0;
        Some(address)
    }

    /// Whether an address is more like those of Services than like a pod's.
    pub(super) fn may_be_a_service(&self, address: IpAddr, pods: impl Iterator<Item = IpAddr>) -> bool {
        let likeness = |other: &IpAddr| common_bits(address, *other);
        let of_services = self.services.iter().map(likeness).max().unwrap_or(0);
        of_services >= pods.map(|pod| likeness(&pod)).max().unwrap_or(0)
    }

    /// The node of the pod that had an address when it was asked for last.
    pub(super) fn home(&self, address: IpAddr) -> Option<String> {
        self.homes.get(&address).cloned()
    }

    /// What came of it: for how long it may be believed; `None` if it can't be known now.
    pub(super) fn answered(&mut self, address: IpAddr, found: &Result<Found, Failure>) -> Option<Duration> {
        self.open.remove(&address);
        if let Ok(found) = found {
            self.homes.remove(&address);
            if let Found::Pod(pod) = found
                && let Some(node) = &pod.node
            {
                if self.homes.len() >= MAX_HOMES {
                    self.homes.clear();
                }
                self.homes.insert(address, node.clone());
            }
        }
        let valid = match found {
            Ok(Found::Pod(_)) => POD_VALID,
            Ok(Found::Service { .. }) => {
                // One of each family is enough to tell them from pods.
                if !self.services.iter().any(|known| known.is_ipv4() == address.is_ipv4()) {
                    self.services.push(address);
                }
                SERVICE_VALID
            }
            Ok(Found::Node) => NODE_VALID,
            Ok(Found::Nobody) => {
                if self.misses.len() >= MAX_MISSES {
                    self.misses.clear();
                }
                let misses = self.misses.entry(address).or_insert(0);
                let valid = NOBODY_VALID[(*misses).min(NOBODY_VALID.len() - 1)];
                *misses += 1;
                return Some(valid);
            }
            Err(Failure::Denied(_)) => DENIED_VALID,
            Err(_) => return None,
        };
        self.misses.remove(&address);
        Some(valid)
    }
}

/// What the core is told of what was found.
pub(super) fn party(found: Found) -> Option<Party> {
    match found {
        Found::Pod(pod) => Some(Party::Pod(pod)),
        Found::Service { name, namespace } => Some(Party::Service { name, namespace }),
        Found::Node | Found::Nobody => None,
    }
}

/// Asks who has an address: the node first where its pod was, then Services, if it is like theirs.
pub(super) async fn look_up(
    api: &Api,
    address: IpAddr,
    home: Option<String>,
    services_first: bool,
) -> Result<Found, Failure> {
    if let Some(home) = &home {
        match pod(api, address, Some(home)).await {
            Ok(found @ Found::Pod(_)) => return Ok(found),
            // Somebody else may have it by now.
            Ok(_) | Err(Failure::Denied(_) | Failure::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    let mut denied = None;
    for is_service in [services_first, !services_first] {
        let found = if is_service { service(api, address).await } else { pod(api, address, None).await };
        match found {
            Ok(Found::Nobody) => {}
            Ok(found) => return Ok(found),
            Err(failure @ (Failure::Denied(_) | Failure::Refused(_))) => denied = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
    denied.map_or(Ok(Found::Nobody), |failure| match failure {
        Failure::Refused(why) => Err(Failure::Denied(why)),
        other => Err(other),
    })
}

async fn service(api: &Api, address: IpAddr) -> Result<Found, Failure> {
    let selector = format!("spec.clusterIP={address}");
    let query = [("fieldSelector", selector.as_str()), ("limit", "2"), ("resourceVersion", "0")];
    let list: List<ServiceObject> =
        api.get(Kind::Services, &target("/api/v1/services", &query), Depth::MetadataList).await?;
    Ok(match list.items.unwrap_or_default().into_iter().next() {
        Some(ServiceObject { metadata: Metadata { name, namespace, .. } }) => Found::Service { name, namespace },
        None => Found::Nobody,
    })
}

async fn pod(api: &Api, address: IpAddr, node: Option<&str>) -> Result<Found, Failure> {
    let mut selector = format!("status.podIP={address}");
    if let Some(node) = node {
        selector = format!("spec.nodeName={node},{selector}");
    }
    let query = [("fieldSelector", selector.as_str()), ("limit", "8"), ("resourceVersion", "0")];
    let list: List<PodObject> = api.get(Kind::Pods, &target("/api/v1/pods", &query), Depth::Whole).await?;
    let mut living =
        list.items.unwrap_or_default().into_iter().filter(|object| !pods::is_over(object)).filter_map(pods::pod);
    Ok(match (living.next(), living.next()) {
        (Some(pod), _) if pod.host_network => Found::Node,
        (Some(pod), None) => Found::Pod(Box::new(pod)),
        _ => Found::Nobody,
    })
}

/// How many bits two addresses have in common, from the first on; none if they are of different families.
fn common_bits(one: IpAddr, other: IpAddr) -> u32 {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_asked_for_once_and_no_faster_than_is_allowed() {
        let mut lookups = Lookups::new(None, Instant::now());
        let address = |number: u32| IpAddr::V4((0x0a00_0000 + number).into());
        let added = (0..1000).filter(|&number| lookups.add(address(number))).count();
        assert_eq!(added, MAX_WAITING);
        assert!(lookups.add(address(0)), "it waits already");
        let burst = std::iter::from_fn(|| lookups.next(Instant::now())).count();
        assert_eq!(burst, AT_ONCE as usize);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(std::iter::from_fn(|| lookups.next(Instant::now())).count(), (5.0 * PER_SECOND) as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_has_is_asked_for_less_and_less_often() {
        let mut lookups = Lookups::new(None, Instant::now());
        let valid: Vec<u64> =
            (0..4).map(|_| lookups.answered(ip("10.0.0.1"), &Ok(Found::Nobody)).expect("known").as_secs()).collect();
        assert_eq!(valid, [5, 30, 300, 300]);
        assert_eq!(lookups.answered(ip("10.0.0.1"), &Ok(Found::Node)), Some(NODE_VALID));
        assert_eq!(lookups.answered(ip("10.0.0.1"), &Ok(Found::Nobody)), Some(NOBODY_VALID[0]));
        let later = Failure::Later { after: None, why: String::new() };
        assert_eq!(lookups.answered(ip("10.0.0.1"), &Err(later)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn where_a_pod_was_is_remembered_up_to_a_bound_till_somebody_else_is_found() {
        let mut lookups = Lookups::new(None, Instant::now());
        let on = |node: &str| Ok(Found::Pod(Box::new(Pod { node: Some(node.to_owned()), ..Pod::default() })));
        let address = |number: u32| IpAddr::V4((0x0a00_0000 + number).into());
        lookups.answered(address(0), &on("node-2"));
        let later = Failure::Later { after: None, why: String::new() };
        lookups.answered(address(0), &Err(later));
        assert_eq!(lookups.home(address(0)).as_deref(), Some("node-2"));
        lookups.answered(address(0), &Ok(Found::Nobody));
        assert_eq!(lookups.home(address(0)), None);
        for number in 0..10_000 {
            lookups.answered(address(number), &on("node-3"));
            assert!(lookups.homes.len() <= MAX_HOMES);
        }
        assert_eq!(lookups.home(address(9_999)).as_deref(), Some("node-3"));
    }

    #[tokio::test(start_paused = true)]
    async fn services_are_told_from_pods_by_what_is_like_them() {
        let lookups = Lookups::new(Some(ip("10.96.0.1")), Instant::now());
        let pods = || ["10.244.1.5", "10.244.1.9"].into_iter().map(ip);
        assert!(lookups.may_be_a_service(ip("10.96.7.9"), pods()));
        assert!(!lookups.may_be_a_service(ip("10.244.3.4"), pods()));
        assert!(lookups.may_be_a_service(ip("fd00::1"), pods()), "nothing is known of that family");
        assert_eq!(common_bits(ip("10.0.0.1"), ip("10.0.0.1")), 32);
    }
}
