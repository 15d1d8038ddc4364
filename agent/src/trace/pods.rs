//! The pods of this machine, as facts tell, and the cluster that they are in.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::HashMap;

use crate::flow::fact::Process;
use crate::flow::kubernetes::{Cluster, Pod};
use crate::flow::naming::InCluster;

/// Pods kept, those that are gone for a while included; some 2 KiB each, 32 KiB at most. A node has 110, as a rule.
pub const MAX_PODS: usize = 2048;

/// All that is known of Kubernetes on this machine.
#[derive(Debug, Default)]
pub struct Pods {
    cluster: Option<Cluster>,
    /// By uid.
    pods: HashMap<String, Arc<Pod>>,
    /// Uids by what the kubelet calls cgroups, where that is something else.
    static_uids: HashMap<String, String>,
    /// Uids by address.
    addresses: HashMap<IpAddr, String>,
    /// Uids in the order in which they became known.
    order: VecDeque<String>,
}

impl Pods {
    /// Something new is known of the cluster.
    pub fn set_cluster(&mut self, cluster: &Cluster) {
        self.cluster = Some(cluster.clone());
    }

    /// The cluster; `None` on machines that are no nodes.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// A pod is there, or has changed.
    pub fn learn(&mut self, pod: &Pod) {
        let uid = pod.uid.clone();
        if let Some(before) = self.pods.remove(&uid) {
            self.forget_ways_to(&before);
        } else {
            self.order.push_back(uid.clone());
        }
        if let Some(static_uid) = &pod.static_uid {
            self.static_uids.insert(static_uid.clone(), uid.clone());
        }
        // The address of a node is nobody's in particular.
        for &address in pod.addresses.iter().filter(|_| !pod.host_network) {
            self.addresses.insert(address, uid.clone());
        }
        self.pods.insert(uid, Arc::new(pod.clone()));
        while self.pods.len() > MAX_PODS {
            let Some(oldest) = self.order.front().cloned() else { break };
            self.forget(&oldest);
        }
    }

    /// A pod is gone.
    pub fn forget(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.forget_ways_to(&pod);
            self.order.retain(|known| known != uid);
        }
    }

    /// The pod of a process.
    #[must_use]
    pub fn of(&self, process: &Process) -> Option<&Arc<Pod>> {
        let uid = process.place.pod_uid.as_deref()?;
        self.pods.get(uid).or_else(|| self.pods.get(self.static_uids.get(uid)?))
    }

    /// The pod that has an address of its own.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Option<&Arc<Pod>> {
        self.pods.get(self.addresses.get(&address)?)
    }

    /// The pod of a process, in its cluster.
    #[must_use]
    pub fn place_of(&self, process: &Process) -> Option<InCluster<'_>> {
        Some(InCluster { cluster: self.cluster.as_ref()?, pod: self.of(process)? })
    }

    fn forget_ways_to(&mut self, pod: &Pod) {
        let is_its = |uid: Option<&String>| uid == Some(&pod.uid);
        for address in &pod.addresses {
            // Another pod may have it by now.
            if is_its(self.addresses.get(address)) {
                self.addresses.remove(address);
            }
        }
        if let Some(static_uid) = &pod.static_uid
            && is_its(self.static_uids.get(static_uid))
        {
            self.static_uids.remove(static_uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::fact::Place;

    fn pod(uid: &str, address: &str) -> Pod {
        let addresses = vec![address.parse().expect("an address")];
        Pod { uid: uid.to_owned(), addresses, ..Pod::default() }
    }

    fn process(pod_uid: &str) -> Process {
        let place = Place { pod_uid: Some(pod_uid.to_owned()), ..Place::default() };
        Process { place: Box::new(place), ..Process::default() }
    }

    #[test]
    fn a_pod_is_found_by_its_uid_what_its_cgroup_is_called_and_its_address() {
        let mut pods = Pods::default();
        pods.learn(&Pod { static_uid: Some("hash".to_owned()), ..pod("a", "10.0.0.1") });
        pods.learn(&Pod { host_network: true, ..pod("b", "192.168.0.1") });
        for (uid, expect) in [("a", Some("a")), ("hash", Some("a")), ("b", Some("b")), ("c", None)] {
            assert_eq!(pods.of(&process(uid)).map(|pod| pod.uid.as_str()), expect);
        }
        assert!(pods.at("10.0.0.1".parse().expect("one")).is_some());
        assert!(pods.at("192.168.0.1".parse().expect("one")).is_none(), "that is the node's");
        pods.forget("a");
        assert!(pods.of(&process("hash")).is_none() && pods.at("10.0.0.1".parse().expect("one")).is_none());
    }

    #[test]
    fn an_address_belongs_to_the_last_pod_that_got_it() {
        let mut pods = Pods::default();
        pods.learn(&pod("old", "10.0.0.1"));
        pods.learn(&pod("new", "10.0.0.1"));
        pods.forget("old");
        assert_eq!(pods.at("10.0.0.1".parse().expect("one")).map(|pod| pod.uid.as_str()), Some("new"));
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        let mut pods = Pods::default();
        for round in 0..3 {
            for number in 0..MAX_PODS + 10 {
                pods.learn(&pod(&format!("{round}-{number}"), "10.0.0.1"));
                pods.learn(&pod(&format!("{round}-{number}"), "10.0.0.2"));
            }
        }
        assert_eq!((pods.pods.len(), pods.addresses.len()), (MAX_PODS, 1));
        assert_eq!(pods.order.len(), MAX_PODS);
        assert!(pods.of(&process("0-0")).is_none());
    }
}
