//! Namespaces: which of them ask not to be traced, and the uid of the one that stands for the cluster.

use std::collections::{HashMap, HashSet};

use super::follow::{Change, Object};
use super::objects::{Metadata, Partial};
use super::pods::{TRACE_KEY, says_traced};

/// Its uid is the cluster's (OpenTelemetry resource conventions, `k8s.cluster.uid`).
const OF_THE_CLUSTER: &str = "kube-system";
/// Namespaces that say something are kept, at most so many, some 100 bytes each.
const MAX_NAMESPACES: usize = 16_384;

/// What is known of namespaces.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Those that say whether they are to be traced.
    said: HashMap<String, bool>,
    cluster_uid: Option<String>,
    /// Those that the list under way has named.
    listed: Option<HashSet<String>>,
    /// Whether it is known which say something, or that it can't be known.
    is_settled: bool,
}

/// What is new.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Namespaces that say something else.
    pub(super) changed: Vec<String>,
    /// The cluster's uid is known.
    pub(super) has_uid: bool,
}

impl Object for Partial {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

impl Namespaces {
    /// Takes a change in.
    pub(super) fn take(&mut self, change: Change<Partial>) -> News {
        let mut news = News::default();
        match change {
            Change::Begin => self.listed = Some(HashSet::new()),
            Change::Put(Partial { metadata }) => {
                if metadata.name == OF_THE_CLUSTER && self.cluster_uid.as_ref() != Some(&metadata.uid) {
                    self.cluster_uid = Some(metadata.uid.clone());
                    news.has_uid = true;
                }
                let value = |pairs: &std::collections::BTreeMap<String, String>| pairs.get(TRACE_KEY).cloned();
                let (annotation, label) = (value(&metadata.annotations), value(&metadata.labels));
                let said = says_traced(annotation.as_deref(), label.as_deref());
                if said.is_some()
                    && let Some(listed) = &mut self.listed
                    && listed.len() < MAX_NAMESPACES
                {
                    listed.insert(metadata.name.clone());
                }
                self.set(metadata.name, said, &mut news);
            }
            Change::Gone(Partial { metadata }) => self.set(metadata.name, None, &mut news),
            Change::Complete => {
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<String> = self.said.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                gone.into_iter().for_each(|name| self.set(name, None, &mut news));
                self.is_settled = true;
            }
            Change::Unavailable { .. } => {
                self.listed = None;
                self.is_settled = true;
            }
            Change::Again => {}
        }
        news
    }

    /// What a namespace says.
    pub(super) fn says_traced(&self, name: &str) -> Option<bool> {
        self.said.get(name).copied()
    }

    /// The cluster's uid.
    pub(super) fn cluster_uid(&self) -> Option<&str> {
        self.cluster_uid.as_deref()
    }

    /// Whether what is to be known at the start is known, as far as it can be.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled
    }

    fn set(&mut self, name: String, said: Option<bool>, news: &mut News) {
        let before = match said {
            Some(said) if self.said.len() < MAX_NAMESPACES || self.said.contains_key(&name) => {
                self.said.insert(name.clone(), said)
            }
            Some(_) => return,
            None => self.said.remove(&name),
        };
        if before != said {
            news.changed.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(name: &str, trace: Option<&str>) -> Change<Partial> {
        let annotations = trace.map_or_else(|| json!({}), |trace| json!({"wirespan.io/trace": trace}));
        let object = json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "annotations": annotations}});
        Change::Put(serde_json::from_value(object).expect("it is one"))
    }

    #[test]
    fn namespaces_say_whether_they_are_traced_until_they_say_no_more() {
        let mut namespaces = Namespaces::default();
        namespaces.take(Change::Begin);
        assert_eq!(namespaces.take(put("quiet", Some("false"))).changed, ["quiet"]);
        assert_eq!(namespaces.take(put("other", None)), News::default());
        assert!(namespaces.take(put("kube-system", None)).has_uid);
        assert!(!namespaces.is_settled());
        namespaces.take(Change::Complete);
        assert!(namespaces.is_settled());
        assert_eq!((namespaces.says_traced("quiet"), namespaces.says_traced("other")), (Some(false), None));
        assert_eq!(namespaces.cluster_uid(), Some("uid-kube-system"));
        assert_eq!(namespaces.take(put("quiet", Some("true"))).changed, ["quiet"]);
        assert_eq!(namespaces.take(put("quiet", None)).changed, ["quiet"]);
        assert_eq!(namespaces.says_traced("quiet"), None);
    }

    #[test]
    fn what_a_later_list_does_not_name_is_gone() {
        let mut namespaces = Namespaces::default();
        for change in [Change::Begin, put("a", Some("false")), put("b", Some("false")), Change::Complete, Change::Begin]
        {
            namespaces.take(change);
        }
        namespaces.take(put("b", Some("false")));
        assert_eq!(namespaces.says_traced("a"), Some(false), "until the list is complete");
        assert_eq!(namespaces.take(Change::Complete).changed, ["a"]);
        assert_eq!(namespaces.says_traced("b"), Some(false));
    }

    #[test]
    fn what_cannot_be_had_is_settled_too() {
        let mut namespaces = Namespaces::default();
        namespaces.take(Change::Unavailable { is_denied: false });
        assert!(namespaces.is_settled());
    }
}
