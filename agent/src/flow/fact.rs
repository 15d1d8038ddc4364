//! Facts: what the rim found out and the core needs, as records among the kernel's records.
//!
//! A recording holds them too, so that a replay knows what the agent knew, on any machine.

use serde::{Deserialize, Serialize};
use wirespan_common::record::Endpoint;

use super::kubernetes::{Address, Cluster, Pod};
use crate::config::Selection;

/// What user space found out. The time is in the record's header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// The machine. Comes first.
    Host(Host),
    /// The clocks were compared again.
    Clock {
        /// Add to nanoseconds since boot to get nanoseconds since 1970.
        boot_to_unix_ns: i64,
    },
    /// A process that has something to do with a connection.
    Process(Process),
    /// From now on this is traced.
    Selection(Selection),
    /// This machine is a node of a cluster.
    Cluster(Cluster),
    /// A pod of this machine.
    Pod(Box<Pod>),
    /// A pod is gone, for so long that nothing is told about it any more.
    PodGone {
        /// Its uid.
        uid: String,
    },
    /// Who has an address, as far as the cluster knows.
    Address(Box<Address>),
    /// A socket that was there before the probes.
    Socket(Socket),
    /// A socket that listens.
    Listener(Listener),
    /// A counter of the kernel plane has this value now, all CPUs together.
    Kernel {
        /// Records that programs wanted to emit.
        attempted: u64,
        /// Records refused by a full ring buffer.
        ring_full: u64,
    },
    /// From now on requests are left out of so many connections.
    Shedding(Shedding),
    /// Nothing happened; time has passed.
    Tick,
}

/// How much is left out while the machine has no time to spare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shedding {
    /// Of so many connections in [`Self::PARTS`].
    pub parts: u32,
    /// Another number, other connections.
    pub round: u32,
}

impl Shedding {
    /// What [`Self::parts`] are parts of.
    pub const PARTS: u32 = 64;
}

/// The machine and this run of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Add to nanoseconds since boot to get nanoseconds since 1970.
    pub boot_to_unix_ns: i64,
    /// Random; the ids of this run are made from it.
    pub seed: u64,
    /// Process id of the agent.
    pub own_tgid: u32,
}

/// A process, named by `tgid` and `start_ns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the agent's pid namespace.
    pub tgid: u32,
    /// Birth, nanoseconds since boot.
    pub start_ns: u64,
    /// Short name: file name of the executable, else the kernel's task name.
    pub name: String,
    /// Path of the executable, as the process sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// Effective user id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Name of that user on this machine. Not told of a process in a container, which may have names of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Process id of its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// Its id in its own pid namespace, if that is not the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner_pid: Option<u32>,
    /// The number of its pid namespace, if that is not the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u64>,
    /// Id of its container, from the cgroup path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// What else its cgroup says.
    #[serde(default, skip_serializing_if = "Place::is_nowhere")]
    pub place: Box<Place>,
    /// What it runs.
    #[serde(default, skip_serializing_if = "Program::is_unknown")]
    pub program: Box<Program>,
    /// `OTEL_SERVICE_NAME` of the process, or `service.name` of its `OTEL_RESOURCE_ATTRIBUTES`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// The other `OTEL_RESOURCE_ATTRIBUTES` of the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_attributes: Vec<(String, String)>,
    /// Not selected by the user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deselected: bool,
}

/// Where a process runs, as the path of its cgroup says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The systemd unit, outside of containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Who made its container, where the path says so: `docker`, `containerd`, `cri-o`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The pod that its container belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<String>,
    /// The class of that pod: `Guaranteed`, `Burstable` or `BestEffort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos_class: Option<String>,
    /// The container in which its container runs: a node made of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer_container: Option<String>,
    /// A container or pod that the path names below its container. Whoever is in the container can make up such names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
}

/// What a process runs, as its executable and what it has loaded show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its command line, as far as it may be shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// The language that it is written in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// `process.runtime.name`: what runs it, where the language has such a thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// `process.runtime.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_version: Option<String>,
    /// The program's own version, where it is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Process {
    /// `service.name` outside of pods, by the first of: what it says of itself; the systemd unit of a program that an interpreter
    /// runs, whose executable says nothing; the name of its executable.
    #[must_use]
    pub fn service(&self) -> &str {
        if let Some(name) = &self.service_name {
            return name;
        }
        let is_interpreted = self.program.runtime.is_some() && self.program.language.as_deref() != Some("go");
        let unit = self.place.unit.as_deref().and_then(|unit| unit.strip_suffix(".service"));
        // `user@1000.service` is the manager of a user's services, `name@instance.service` one of several of a kind.
        let unit = unit.map(|unit| unit.split('@').next().unwrap_or(unit)).filter(|unit| !matches!(*unit, "" | "user"));
        unit.filter(|_| is_interpreted).unwrap_or(&self.name)
    }
}

impl Place {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_nowhere(&self) -> bool {
        *self == Self::default()
    }
}

impl Program {
    /// Whether nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// A connection that was established before the probes were attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// The kernel's socket cookie.
    pub cookie: u64,
    /// This end, `[address]:port`.
    #[serde(with = "endpoint")]
    pub local: Endpoint,
    /// The other end.
    #[serde(with = "endpoint")]
    pub remote: Endpoint,
    /// Network namespace number.
    pub netns: u32,
    /// Whether this end accepted it: its local port is listened on in the same namespace. Not accepted if the other end's
    /// is. Where neither is (the listener may be gone), what is said on the connection must tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
    /// Process that holds it, 0 for unknown.
    pub tgid: u32,
}

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Where it listens.
    #[serde(with = "endpoint")]
    pub local: Endpoint,
    /// Network namespace number.
    pub netns: u32,
    /// Process that holds it, 0 for unknown.
    pub tgid: u32,
}

/// Endpoints as text, so that a recording can be read by a person.
mod endpoint {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use wirespan_common::record::Endpoint;

    pub(super) fn serialize<S: Serializer>(endpoint: &Endpoint, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&SocketAddrV6::new(Ipv6Addr::from(endpoint.addr), endpoint.port, 0, 0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let address: SocketAddrV6 = text.parse().map_err(D::Error::custom)?;
        Ok(Endpoint { addr: address.ip().octets(), port: address.port(), pad: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_older_recordings_are_read() {
        let old = r#"{"process":{"tgid":7,"start_ns":5,"name":"nginx","executable":"/usr/sbin/nginx","uid":33,"container_id":"c"}}"#;
        let Ok(Fact::Process(process)) = serde_json::from_str(old) else { panic!("not a process") };
        assert_eq!((process.uid, process.container_id.as_deref(), process.service()), (Some(33), Some("c"), "nginx"));
        assert!(process.place.is_nowhere() && process.program.is_unknown());
        assert_eq!(
            serde_json::to_string(&Fact::Process(process)).expect("it is text"),
            old,
            "what is not known is left out"
        );
    }

    #[test]
    fn a_selection_is_a_fact_that_a_person_can_read() {
        let fact = Fact::Selection(Selection { only: vec!["exe:a".parse().expect("a selector")], except: Vec::new() });
        let text = serde_json::to_string(&fact).expect("it is text");
        assert_eq!(text, r#"{"selection":{"only":["exe:a"],"except":[]}}"#);
        assert_eq!(serde_json::from_str::<Fact>(&text).expect("it is one"), fact);
    }
}
