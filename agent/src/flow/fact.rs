//! Facts: what the rim found out and the core needs, as records among the kernel's records.
//!
//! A recording holds them too, so that a replay knows what the agent knew, on any machine.

use serde::{Deserialize, Serialize};
use wirespan_common::record::Endpoint;

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
    /// Nothing happened; time has passed.
    Tick,
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
    /// Id of its container, from the cgroup path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
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
