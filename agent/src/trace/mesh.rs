//! Service meshes: which processes are their proxies, and which connections are their tunnels.
//!
//! In Istio's ambient mode a call has three legs: application to ztunnel, ztunnel to ztunnel, ztunnel to application. The first
//! and the last look like calls of their own. Those that ztunnel answers and makes are told as INTERNAL spans, so that a
//! call graph counts the call once, between the applications.
//!
//! | attribute | meaning |
//! |---|---|
//! | `wirespan.mesh.role` | on the resource of a proxy: `ztunnel`, `waypoint` or `sidecar` |
//! | `wirespan.mesh.leg` | on a span of ztunnel: `answers` or `asks`, which of the legs' ends it is |
//! | `wirespan.mesh.via` | `ztunnel`: the other end of this connection is one; who is behind it is told by the address |
//! | `wirespan.mesh.protocol` | `hbone`: TLS to port 15008, which is Istio's tunnel |
//! | `wirespan.mesh.mtls` | `inferred`: such a tunnel is mutually authenticated, but certificates are encrypted in TLS 1.3: nothing was verified |

use super::attributes::Attributes;
use super::span::{Attribute, Kind, Span};
use crate::flow::fact::Process;
use crate::flow::kubernetes::{Container, Pod};
use crate::proto::tls::Handshake;

/// Where ztunnel takes tunnels (istio/ztunnel, `ARCHITECTURE.md`).
const HBONE_PORT: u16 = 15_008;
/// TLS 1.3 on the wire: a tunnel uses nothing else.
const TLS_1_3: u16 = 0x0304;

/// A proxy of a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mesh {
    /// The node's proxy of connections.
    Ztunnel,
    /// A proxy of requests, for a namespace or a service.
    Waypoint,
    /// A proxy beside an application, in its pod.
    Sidecar,
}

impl Mesh {
    /// What a process is, by its program and what its pod says. Both must agree: either can be made up by a tenant, but then
    /// he only says it of his own.
    #[must_use]
    pub fn of(process: &Process, pod: &Pod, container: Option<&Container>) -> Option<Self> {
        let says = |key: &str, value: &str| pod.label(key) == Some(value);
        match process.name.as_str() {
            "ztunnel" if says("app", "ztunnel") => Some(Self::Ztunnel),
            "envoy"
                if says("gateway.istio.io/managed", "istio.io-mesh-controller")
                    || says("gateway.networking.k8s.io/gateway-class-name", "istio-waypoint") =>
            {
                Some(Self::Waypoint)
            }
            "envoy" if container.is_some_and(|container| container.name == "istio-proxy") => Some(Self::Sidecar),
            _ => None,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Ztunnel => "ztunnel",
            Self::Waypoint => "waypoint",
            Self::Sidecar => "sidecar",
        }
    }
}

/// A span of ztunnel is no call.
pub fn mark(span: &mut Span) {
    if span.resource.mesh != Some(Mesh::Ztunnel) {
        return;
    }
    let leg = match span.kind {
        Kind::Server => "answers",
        Kind::Client => "asks",
        Kind::Internal => return,
    };
    span.kind = Kind::Internal;
    span.attributes.push(Attribute::new("wirespan.mesh.leg", leg));
}

/// Says of a connection to that port whether it is a tunnel.
pub(super) fn put_tunnel(attributes: &mut Attributes, server_port: u16, handshake: &Handshake) {
    if server_port == HBONE_PORT && handshake.version == Some(TLS_1_3) {
        attributes.put("wirespan.mesh.protocol", "hbone");
        attributes.put("wirespan.mesh.mtls", "inferred");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str) -> Process {
        Process { name: name.to_owned(), ..Process::default() }
    }

    fn pod(labels: &[(&str, &str)]) -> Pod {
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Pod { labels, ..Pod::default() }
    }

    #[test]
    fn a_proxy_is_known_by_its_program_and_its_pod() {
        let proxy = Container { name: "istio-proxy".to_owned(), ..Container::default() };
        let waypoint = [("gateway.networking.k8s.io/gateway-class-name", "istio-waypoint")];
        let managed = [("gateway.istio.io/managed", "istio.io-mesh-controller")];
        for (name, labels, container, expect) in [
            ("ztunnel", &[("app", "ztunnel")][..], None, Some(Mesh::Ztunnel)),
            ("ztunnel", &[("app", "web")], None, None),
            ("python3", &[("app", "ztunnel")], None, None),
            ("envoy", &waypoint, Some(&proxy), Some(Mesh::Waypoint)),
            ("envoy", &managed, None, Some(Mesh::Waypoint)),
            ("envoy", &[("app", "web")], Some(&proxy), Some(Mesh::Sidecar)),
            ("envoy", &[("app", "gateway")], None, None),
            ("python3", &[("app", "web")], Some(&proxy), None),
        ] {
            assert_eq!(Mesh::of(&process(name), &pod(labels), container), expect, "{name} {labels:?}");
        }
    }

    #[test]
    fn a_tunnel_is_tls_to_its_port_and_nothing_is_verified() {
        let said = |port, version| {
            let mut attributes = Attributes::with_capacity(2);
            put_tunnel(&mut attributes, port, &Handshake { version, ..Handshake::default() });
            attributes.finish().into_iter().map(|one| format!("{} {:?}", one.key, one.value)).collect::<Vec<_>>()
        };
        let tunnel = said(15_008, Some(TLS_1_3));
        assert_eq!(tunnel.len(), 2);
        assert!(tunnel[1].contains("wirespan.mesh.mtls") && tunnel[1].contains("inferred"), "{tunnel:?}");
        assert!(said(443, Some(TLS_1_3)).is_empty());
        assert!(said(15_008, Some(0x0303)).is_empty() && said(15_008, None).is_empty());
    }
}
