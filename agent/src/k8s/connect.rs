//! How the API server is reached: by the service account of this pod, or as a kubeconfig says.
//!
//! The token of a service account is read anew every minute, because the kubelet replaces it. No program is ever started for
//! credentials, as a kubeconfig may ask: after the start, the agent may start none.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Config as Wanted;

/// What the kubelet puts into a pod.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// Where it says that the API server is.
const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";
/// A connection is given up after so long.
const CONNECT: Duration = Duration::from_secs(5);
/// A request is given up if it can't be written within so long.
const WRITE: Duration = Duration::from_secs(10);
/// A kubeconfig is not read beyond that. With certificates in it, it has some 10 KiB.
const MAX_KUBECONFIG_BYTES: u64 = 1 << 20;

/// The API server can't be reached as configured.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The service account can't be used.
    #[error("cannot use this pod's service account: {0}")]
    Account(#[source] kube::config::InClusterError),
    /// The kubeconfig can't be used.
    #[error("cannot use the kubeconfig {path}: {why}", path = path.display())]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// TLS, or the credentials.
    #[error("cannot talk to the API server as configured: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// Whether this process runs in a pod that has a service account.
pub(super) fn is_in_cluster() -> bool {
    env::var_os(SERVICE_HOST).is_some_and(|host| !host.is_empty()) && Path::new(TOKEN).exists()
}

/// Prepares to talk to the API server. Nothing is sent yet.
pub(super) async fn connect(wanted: &Wanted) -> Result<Client, ConnectError> {
    let mut config = match &wanted.kubeconfig {
        Some(path) => of_kubeconfig(path).await?,
        None => Config::incluster().map_err(ConnectError::Account)?,
    };
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(WRITE);
    // A watch is silent for minutes; requests have a limit of their own.
    config.read_timeout = None;
    // When to try again is decided in one place.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))
}

async fn of_kubeconfig(path: &Path) -> Result<Config, ConnectError> {
    let unusable = |why: String| ConnectError::Kubeconfig { path: path.to_owned(), why };
    let size = fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
    if size > MAX_KUBECONFIG_BYTES {
        return Err(unusable(format!("it has {size} bytes, more than {MAX_KUBECONFIG_BYTES}")));
    }
    let kubeconfig = Kubeconfig::read_from(path).map_err(|error| unusable(error.to_string()))?;
    let starts_programs = |info: &AuthInfo| info.exec.is_some() || info.auth_provider.is_some();
    let user = kubeconfig.auth_infos.iter().find(|named| named.auth_info.as_ref().is_some_and(starts_programs));
    if let Some(user) = user {
        let why = format!(
            "its user `{}` gets credentials from a program, and none can be started: name one with a token or a certificate",
            user.name
        );
        return Err(unusable(why));
    }
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unusable(error.to_string()))
}
