//! Where the cluster is on this machine: its folders, its addresses, its names.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Result;

use crate::bed::install;

/// Name of the only node.
pub(crate) const NODE: &str = "node-1";

/// The bridge that carries the node's address, so that nothing listens on an address that other machines see.
pub(crate) const NODE_BRIDGE: &str = "wspan-node";

/// The bridge of the pods.
pub(crate) const POD_BRIDGE: &str = "wspan-pods";

/// The node's address. API server, kubelet and DNS listen on it.
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 243, 0, 1);

/// The API server's address inside the cluster: the first one of [`SERVICES`].
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

/// Addresses of Services.
pub(crate) const SERVICES: &str = "10.96.0.0/16";

/// Addresses of all pods, which the controller manager gives to nodes in pieces.
pub(crate) const PODS: &str = "10.244.0.0/16";

/// Addresses of this node's pods.
pub(crate) const NODE_PODS: &str = "10.244.0.0/24";

/// The API server's port, on the node's address.
pub(crate) const API_PORT: u16 = 6443;

/// Folders of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The cluster's state, logs and keys. Gone after `down`.
    pub(crate) run: PathBuf,
}

impl Place {
    /// In the user's cache folder.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self { run: install::cache()?.join("cluster/run") })
    }

    /// A file of keys and certificates.
    pub(crate) fn key(&self, name: &str) -> String {
        self.run.join("keys").join(name).display().to_string()
    }

    /// How this user of the API server reaches it.
    pub(crate) fn kubeconfig(&self, user: &str) -> String {
        self.key(&format!("{user}.kubeconfig"))
    }

    /// containerd's socket.
    pub(crate) fn containerd(&self) -> String {
        self.inside("containerd/containerd.sock")
    }

    /// What a daemon says.
    pub(crate) fn log(&self, daemon: &str) -> PathBuf {
        self.run.join("log").join(format!("{daemon}.log"))
    }

    /// Every request that a service account outside of `kube-system` made of the API server, as lines of JSON.
    pub(crate) fn audit(&self) -> PathBuf {
        self.run.join("log/audit.json")
    }

    /// Something in [`Place::run`], as an argument.
    pub(crate) fn inside(&self, path: &str) -> String {
        self.run.join(path).display().to_string()
    }
}

/// The API server, for clients on the node.
pub(crate) fn api() -> String {
    format!("https://{NODE_ADDRESS}:{API_PORT}")
}
