//! What made the one that made a pod: the Deployment of its ReplicaSet, the CronJob of its Job.
//!
//! A Deployment calls its ReplicaSets after itself and a hash that their pods carry as a label; that is enough to know its name.
//! Its uid, and everything else, is asked for, once for each ReplicaSet or Job on this machine.

use std::collections::{HashMap, HashSet, VecDeque};

use super::api::{Api, Depth, Failure, segment};
use super::objects::Partial;
use super::tally::Kind;
use crate::flow::kubernetes::{Owner, Pod};

/// Answers kept, some 200 bytes each; the oldest go first.
const MAX_KNOWN: usize = 2048;
/// Questions that may wait. What is not asked is asked when its pod changes.
const MAX_WAITING: usize = 1024;
/// What a Deployment writes on its pods.
const HASH_LABEL: &str = "pod-template-hash";

/// Who made a ReplicaSet or Job?
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This one.
    Owner(Owner),
    /// Nobody.
    Nobody,
    /// That can't be known.
    Unknown,
}

/// What is known of the owners of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Above {
    /// The owner of its owner.
    pub(super) owner: Option<Owner>,
    /// Whether another answer may still come that changes its name.
    pub(super) is_open: bool,
}

/// What is known of owners.
#[derive(Debug, Default)]
pub(super) struct Owners {
    known: HashMap<String, Answer>,
    order: VecDeque<String>,
    waiting: VecDeque<Query>,
    /// Uids that are asked for.
    asked: HashSet<String>,
}

impl Owners {
    /// Who made the owner of a pod, as far as it is known. What is not known is asked for, if `asks`.
    pub(super) fn above(&mut self, pod: &Pod, asks: bool) -> Above {
        let nobody = Above { owner: None, is_open: false };
        let Some(owner) = pod.owners.first() else { return nobody };
        let (kind, by_rule) = match owner.kind.as_str() {
            "ReplicaSet" => (Kind::ReplicaSets, deployment(&owner.name, pod.label(HASH_LABEL))),
            "Job" => (Kind::Jobs, None),
            _ => return nobody,
        };
        let Some(uid) = &owner.uid else { return Above { owner: by_rule, is_open: false } };
        match self.known.get(uid) {
            Some(Answer::Owner(owner)) => return Above { owner: Some(owner.clone()), is_open: false },
            Some(Answer::Nobody) => return nobody,
            Some(Answer::Unknown) => return Above { owner: by_rule, is_open: false },
            None => {}
        }
        if asks && self.waiting.len() < MAX_WAITING && self.asked.insert(uid.clone()) {
            let (namespace, name) = (pod.namespace.clone(), owner.name.clone());
            let query = Query { kind, namespace, name, uid: uid.clone() };
            // Names come before uids.
            if by_rule.is_some() {
                self.waiting.push_back(query);
            } else {
                self.waiting.push_front(query);
            }
        }
        Above { is_open: asks && by_rule.is_none(), owner: by_rule }
    }

    /// The next question.
    pub(super) fn next(&mut self) -> Option<Query> {
        self.waiting.pop_front()
    }

    /// A question was answered; or not, and may be asked again.
    pub(super) fn answered(&mut self, query: &Query, answer: Result<Answer, Failure>) {
        self.asked.remove(&query.uid);
        let answer = match answer {
            Ok(answer) => answer,
            Err(Failure::NotFound | Failure::Denied(_)) => Answer::Unknown,
            Err(_) => return,
        };
        if self.known.insert(query.uid.clone(), answer).is_none() {
            self.order.push_back(query.uid.clone());
            if self.known.len() > MAX_KNOWN
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// Asks who made a ReplicaSet or Job.
pub(super) async fn ask(api: &Api, query: &Query) -> Result<Answer, Failure> {
    let (namespace, name) = (segment(&query.namespace), segment(&query.name));
    let path = match query.kind {
        Kind::Jobs => format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}"),
        _ => format!("/apis/apps/v1/namespaces/{namespace}/replicasets/{name}"),
    };
    let Partial { metadata } = api.get(query.kind, &path, Depth::Metadata).await?;
    // Another may have its name by now.
    if metadata.uid != query.uid {
        return Ok(Answer::Unknown);
    }
    let controller = metadata.owner_references.into_iter().find(|owner| owner.controller);
    Ok(controller.map_or(Answer::Nobody, |owner| {
        Answer::Owner(Owner { kind: owner.kind, name: owner.name, uid: Some(owner.uid).filter(|uid| !uid.is_empty()) })
    }))
}

/// The Deployment that calls a ReplicaSet so.
fn deployment(replica_set: &str, hash: Option<&str>) -> Option<Owner> {
    let name = replica_set.strip_suffix(hash.filter(|hash| !hash.is_empty())?)?.strip_suffix('-')?;
    (!name.is_empty()).then(|| Owner { kind: "Deployment".to_owned(), name: name.to_owned(), uid: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(kind: &str, name: &str, hash: Option<&str>) -> Pod {
        Pod {
            namespace: "shop".to_owned(),
            owners: vec![Owner { kind: kind.to_owned(), name: name.to_owned(), uid: Some(format!("uid-{name}")) }],
            labels: hash.map(|hash| (HASH_LABEL.to_owned(), hash.to_owned())).into_iter().collect(),
            ..Pod::default()
        }
    }

    fn owner(kind: &str, name: &str, uid: Option<&str>) -> Owner {
        Owner { kind: kind.to_owned(), name: name.to_owned(), uid: uid.map(str::to_owned) }
    }

    #[test]
    fn a_deployment_is_known_by_its_hash_and_asked_for_its_uid() {
        let mut owners = Owners::default();
        let web = pod("ReplicaSet", "web-5d4f", Some("5d4f"));
        let by_rule = Above { owner: Some(owner("Deployment", "web", None)), is_open: false };
        assert_eq!(owners.above(&web, true), by_rule);
        assert_eq!(owners.above(&web, true), by_rule);
        let query = owners.next().expect("a question");
        assert_eq!((query.kind, query.name.as_str()), (Kind::ReplicaSets, "web-5d4f"));
        assert!(owners.next().is_none(), "it is asked once");
        let told = owner("Deployment", "web", Some("d"));
        owners.answered(&query, Ok(Answer::Owner(told.clone())));
        assert_eq!(owners.above(&web, true), Above { owner: Some(told), is_open: false });
    }

    #[test]
    fn what_no_rule_names_is_open_until_it_is_answered() {
        let mut owners = Owners::default();
        for (kind, name, hash) in
            [("ReplicaSet", "canary-1", None), ("ReplicaSet", "canary-2", Some("other")), ("Job", "nightly-1", None)]
        {
            let pod = pod(kind, name, hash);
            assert_eq!(owners.above(&pod, true), Above { owner: None, is_open: true });
            let query = owners.next().expect("a question");
            owners.answered(&query, Ok(Answer::Nobody));
            assert_eq!(owners.above(&pod, true), Above { owner: None, is_open: false });
        }
        let set = pod("StatefulSet", "db", None);
        assert_eq!(owners.above(&set, true), Above { owner: None, is_open: false });
        assert!(owners.next().is_none());
    }

    #[test]
    fn names_are_asked_for_before_uids() {
        let mut owners = Owners::default();
        owners.above(&pod("ReplicaSet", "web-1", Some("1")), true);
        owners.above(&pod("Job", "nightly-1", None), true);
        assert_eq!(owners.next().map(|query| query.kind), Some(Kind::Jobs));
    }

    #[test]
    fn what_may_not_be_asked_is_left_to_the_rule_and_what_failed_is_asked_again() {
        let mut owners = Owners::default();
        let web = pod("ReplicaSet", "web-5d4f", Some("5d4f"));
        owners.above(&web, true);
        let query = owners.next().expect("a question");
        owners.answered(&query, Err(Failure::Later { after: None, why: String::new() }));
        owners.above(&web, true);
        let query = owners.next().expect("it is asked again");
        owners.answered(&query, Err(Failure::Denied(String::new())));
        assert_eq!(owners.above(&web, true).owner, Some(owner("Deployment", "web", None)));
        assert!(owners.next().is_none());
    }

    #[test]
    fn as_many_are_kept_as_there_is_room_for() {
        let mut owners = Owners::default();
        for number in 0..2 * MAX_KNOWN {
            let query =
                Query { kind: Kind::Jobs, namespace: String::new(), name: String::new(), uid: number.to_string() };
            owners.answered(&query, Ok(Answer::Nobody));
            owners.above(&pod("Job", &format!("j{number}"), None), true);
        }
        assert_eq!((owners.len(), owners.order.len(), owners.waiting.len()), (MAX_KNOWN, MAX_KNOWN, MAX_WAITING));
    }
}
