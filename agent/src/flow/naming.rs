//! What a service is called, and of which version and instance it is: by itself, by Kubernetes, by the machine.
//!
//! For pods, the rules of OpenTelemetry (`docs/non-normative/k8s-attributes.md` of the semantic conventions 1.44): the first
//! that says something counts. Or those of Istio (`pkg/kube/labels/labels.go`): canonical name and revision.

use std::borrow::Cow;

use super::fact::Process;
use super::kubernetes::{Cluster, Container, Naming, Pod};
use crate::config::Subject;

/// Annotations of this beginning are resource attributes: what follows is the name.
pub const ATTRIBUTE_ANNOTATION: &str = "resource.opentelemetry.io/";
/// Kinds of owners that name a service, the first one before the others.
const NAMING_OWNERS: &[&str] = &["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "CronJob", "Job"];
/// What Istio takes for a revision where nothing is said.
const LATEST: &str = "latest";

/// A pod in its cluster.
#[derive(Clone, Copy, Debug)]
pub struct InCluster<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The pod.
    pub pod: &'a Pod,
}

impl Process {
    /// The process, in its pod if that is known, as a selection sees it.
    #[must_use]
    pub fn subject<'a>(&'a self, place: Option<InCluster<'a>>) -> Subject<'a> {
        Subject {
            tgid: self.tgid,
            executable: self.executable.as_deref(),
            uid: self.uid,
            container_id: self.container_id.as_deref(),
            cgroup: self.place.cgroup.as_deref(),
            unit: self.place.unit.as_deref(),
            service: Some(service(self, place)).filter(|name| !name.is_empty()),
            pod: place.map(|place| place.pod),
        }
    }
}

/// `service.name` of a process: what it says of itself, then what Kubernetes says of its pod, then the systemd unit of a program
/// that an interpreter runs, then its executable.
#[must_use]
pub fn service<'a>(process: &'a Process, place: Option<InCluster<'a>>) -> Cow<'a, str> {
    match (&process.service_name, place) {
        (None, Some(place)) => place.service(),
        _ => Cow::Borrowed(process.service()),
    }
}

impl<'a> InCluster<'a> {
    /// `service.name` of the pod.
    #[must_use]
    pub fn service(self) -> Cow<'a, str> {
        let Self { cluster, pod } = self;
        if cluster.naming == Naming::Istio {
            return format!("{}.{}", self.canonical_name(), pod.namespace).into();
        }
        let named = pod.annotation("resource.opentelemetry.io/service.name");
        let labelled = || self.well_known("app.kubernetes.io/instance").or(self.well_known("app.kubernetes.io/name"));
        let owned = || NAMING_OWNERS.iter().find_map(|kind| pod.owner(kind)).map(|owner| owner.name.as_str());
        said(named).or_else(labelled).or_else(owned).unwrap_or(&pod.name).into()
    }

    /// `service.namespace` of the pod.
    #[must_use]
    pub fn namespace(self) -> &'a str {
        said(self.pod.annotation("resource.opentelemetry.io/service.namespace")).unwrap_or(&self.pod.namespace)
    }

    /// `service.version`, where a container is known by its image.
    #[must_use]
    pub fn version(self, container: Option<&'a Container>) -> Option<Cow<'a, str>> {
        let annotated = said(self.pod.annotation("resource.opentelemetry.io/service.version"));
        let labelled = match self.cluster.naming {
            Naming::Istio => self.revision_label(),
            Naming::Otel => self.well_known("app.kubernetes.io/version"),
        };
        annotated.or(labelled).map(Cow::Borrowed).or_else(|| Image::parse(container?.image.as_deref()?).version())
    }

    /// `service.instance.id` of a container of the pod.
    #[must_use]
    pub fn instance(self, container: Option<&Container>) -> Option<Cow<'a, str>> {
        if let Some(annotated) = said(self.pod.annotation("resource.opentelemetry.io/service.instance.id")) {
            return Some(annotated.into());
        }
        container.map(|container| format!("{}.{}.{}", self.pod.namespace, self.pod.name, container.name).into())
    }

    /// Istio's canonical name of the service.
    #[must_use]
    pub fn canonical_name(self) -> &'a str {
        let label = |key| said(self.pod.label(key));
        label("service.istio.io/canonical-name")
            .or_else(|| label("app.kubernetes.io/name"))
            .or_else(|| label("app"))
            .or_else(|| self.pod.workload().map(|owner| owner.name.as_str()))
            .unwrap_or(&self.pod.name)
    }

    /// Istio's canonical revision of the service.
    #[must_use]
    pub fn canonical_revision(self) -> &'a str {
        self.revision_label().unwrap_or(LATEST)
    }

    fn revision_label(self) -> Option<&'a str> {
        let label = |key| said(self.pod.label(key));
        label("service.istio.io/canonical-revision")
            .or_else(|| label("app.kubernetes.io/version"))
            .or_else(|| label("version"))
    }

    fn well_known(self, key: &str) -> Option<&'a str> {
        said(self.pod.label(key)).filter(|_| self.cluster.well_known_labels)
    }
}

/// A reference to an image: `NAME:TAG@DIGEST`, tag and digest optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Image<'a> {
    /// Registry and repository.
    pub name: &'a str,
    /// The tag.
    pub tag: Option<&'a str>,
    /// The digest, with its algorithm.
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Takes a reference apart.
    #[must_use]
    pub fn parse(reference: &'a str) -> Self {
        let (named, digest) = reference.split_once('@').map_or((reference, None), |(name, id)| (name, Some(id)));
        // A colon before the last slash belongs to the registry's port.
        let tag_at = named.rfind(':').filter(|&at| !named[at..].contains('/'));
        match tag_at {
            Some(at) => Self { name: &named[..at], tag: Some(&named[at + 1..]), digest },
            None => Self { name: named, tag: None, digest },
        }
    }

    /// `TAG@DIGEST`, or what there is of it.
    fn version(self) -> Option<Cow<'a, str>> {
        match (said(self.tag), said(self.digest)) {
            (Some(tag), Some(digest)) => Some(format!("{tag}@{digest}").into()),
            (tag, digest) => tag.or(digest).map(Cow::Borrowed),
        }
    }
}

/// An empty value says nothing.
fn said(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;
