//! What the API server lets this agent ask, for `wirespan check`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Config;
use super::api::{Api, Depth, Failure, target};
use super::connect::{self, ConnectError};
use super::objects::{List, Partial};
use super::tally::Kind;

/// It does not take longer.
const WITHIN: Duration = Duration::from_secs(5);
/// Nothing is called so: that it is not found shows that it may be asked for.
const NOBODY: &str = "wirespan-check";

/// What was found about one kind of objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which, as the API names it.
    pub kind: &'static str,
    /// Why they can't be had, if so.
    pub problem: Option<String>,
}

/// Asks for everything that `run` would ask for.
///
/// # Errors
///
/// If the API server can't be reached as configured.
pub fn check(config: &Config) -> Result<Vec<Finding>, ConnectError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Ok(Vec::new()) };
    runtime.block_on(async {
        let client = connect::connect(config).await?;
        let api = Api::new(client, Arc::default());
        Ok(findings(&api, &config.node).await)
    })
}

pub(super) async fn findings(api: &Api, node: &str) -> Vec<Finding> {
    let selector = format!("spec.nodeName={node}");
    let of_node = target("/api/v1/pods", &[("fieldSelector", &selector), ("limit", "1")]);
    let questions = [
        (Kind::Pods, of_node, true),
        (Kind::Namespaces, target("/api/v1/namespaces", &[("limit", "1")]), true),
        (Kind::Services, target("/api/v1/services", &[("limit", "1")]), true),
        (Kind::Nodes, format!("/api/v1/nodes/{}", super::api::segment(node)), false),
        (Kind::ReplicaSets, format!("/apis/apps/v1/namespaces/default/replicasets/{NOBODY}"), false),
        (Kind::Jobs, format!("/apis/batch/v1/namespaces/default/jobs/{NOBODY}"), false),
    ];
    let mut findings = Vec::new();
    for (kind, target, is_list) in questions {
        let asked = async {
            if is_list {
                api.get::<List<Partial>>(kind, &target, Depth::MetadataList).await.map(drop)
            } else {
                api.get::<Partial>(kind, &target, Depth::Metadata).await.map(drop)
            }
        };
        let answer = timeout(WITHIN, asked).await.unwrap_or_else(|_| {
            Err(Failure::Later { after: None, why: format!("no answer within {} s", WITHIN.as_secs()) })
        });
        let problem = match answer {
            Ok(()) => None,
            Err(Failure::NotFound) if kind == Kind::Nodes => Some(format!("no node is called `{node}`")),
            Err(Failure::NotFound) => None,
            Err(failure) => Some(failure.to_string()),
        };
        let is_away = matches!(&problem, Some(why) if !why.starts_with("not allowed") && !why.starts_with("no node"));
        findings.push(Finding { kind: kind.label(), problem });
        // Who does not answer one question does not answer the others.
        if is_away {
            break;
        }
    }
    findings
}
