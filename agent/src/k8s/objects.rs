//! What is read of the API's objects. Everything else in them is skipped while it is read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    #[serde(default)]
    pub(super) metadata: ListMetadata,
    #[serde(default = "Option::default")]
    pub(super) items: Option<Vec<T>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMetadata {
    #[serde(default)]
    pub(super) resource_version: String,
    /// Where the next page begins.
    #[serde(default, rename = "continue")]
    pub(super) next: String,
}

/// A line of a watch.
#[derive(Debug, Deserialize)]
pub(super) struct Event<T> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: T,
}

/// What the server says of a failure.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) message: String,
}

/// An object of which only the metadata is wanted.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Partial {
    #[serde(default)]
    pub(super) metadata: Metadata,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) owner_references: Vec<OwnerReference>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct OwnerReference {
    #[serde(default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) controller: bool,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct PodObject {
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) spec: PodSpec,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodSpec {
    #[serde(default)]
    pub(super) node_name: String,
    #[serde(default)]
    pub(super) service_account_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) host_network: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) containers: Vec<ContainerSpec>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) init_containers: Vec<ContainerSpec>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ephemeral_containers: Vec<ContainerSpec>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ContainerSpec {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) image: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodStatus {
    #[serde(default)]
    pub(super) phase: String,
    #[serde(default, rename = "podIP", deserialize_with = "address")]
    pub(super) pod_ip: Option<IpAddr>,
    #[serde(default, rename = "podIPs", deserialize_with = "or_default")]
    pub(super) pod_ips: Vec<PodIp>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) start_time: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct PodIp {
    #[serde(default, deserialize_with = "address")]
    pub(super) ip: Option<IpAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    #[serde(default)]
    pub(super) name: String,
    /// `containerd://ID`.
    #[serde(default, rename = "containerID")]
    pub(super) container_id: String,
    #[serde(default, rename = "imageID")]
    pub(super) image_id: String,
    #[serde(default)]
    pub(super) restart_count: u32,
}

/// `null` where there is nothing.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What is no address is none.
fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IpAddr>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}
