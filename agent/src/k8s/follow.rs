//! A list and the watch that keeps it up to date, of any kind, for as long as the agent runs.
//!
//! The list comes from the API server's memory (`resourceVersion=0`), which costs it least; where that is not answered in a
//! reasonable size, in pages. After a failure it goes on with what it has, and tries again with pauses that grow.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use super::api::{Api, Depth, Failure, target};
use super::backoff::{Backoff, DENIED, spread};
use super::objects::{List, Metadata};
use super::tally::Kind;

/// Objects of a page, at first. It is halved where pages become too long.
const PAGE: u32 = 200;
/// Pages of a list at most: what is beyond that is not known.
const MAX_PAGES: usize = 512;
/// The server is asked to end a watch after so long, and up to half of it more.
const WATCH: Duration = Duration::from_secs(300);
/// A watch that lived so long was a good one.
const LIVED: Duration = Duration::from_secs(10);
/// Before a list is asked for again because the past is gone, up to so long is waited: all agents may be told that at once.
const GONE: Duration = Duration::from_secs(2);

/// What is followed.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) kind: Kind,
    pub(super) path: &'static str,
    pub(super) field_selector: Option<String>,
    pub(super) depth: Depth,
}

/// What happens to it.
#[derive(Debug)]
pub(super) enum Change<T> {
    /// A list begins: what is not in it is gone.
    Begin,
    /// It is there, or has changed.
    Put(T),
    /// It is gone.
    Gone(T),
    /// The list is complete.
    Complete,
    /// It may not be asked for, or not be had.
    Unavailable {
        /// It may not be asked for.
        is_denied: bool,
    },
    /// It can be had again.
    Again,
}

/// What has metadata.
pub(super) trait Object: DeserializeOwned + Send + 'static {
    fn metadata(&self) -> &Metadata;
}

struct Follower<T> {
    api: Api,
    what: Followed,
    changes: Sender<Change<T>>,
    page: u32,
    /// What was said last, so that it is said once.
    complaint: Option<String>,
}

/// Whoever takes the changes has gone.
struct Over;

/// Follows it, until nobody wants to know any more.
pub(super) async fn follow<T: Object>(api: Api, what: Followed, changes: Sender<Change<T>>) {
    let mut follower = Follower { api, what, changes, page: PAGE, complaint: None };
    let mut backoff = Backoff::default();
    let mut version: Option<String> = None;
    loop {
        let began = Instant::now();
        let is_watch = version.is_some();
        let outcome = match version.take() {
            None => follower.list().await,
            Some(version) => follower.watch(version).await,
        };
        if began.elapsed() >= LIVED {
            backoff.reset();
        }
        let mut is_denied = false;
        let pause = match outcome {
            Err(Over) => return,
            Ok((known, failure)) => {
                version = known;
                is_denied |= matches!(failure, Some(Failure::Denied(_)));
                match failure {
                    Some(failure) => follower.pause(&mut backoff, &failure),
                    // A server that ends each watch at once is not asked in a loop.
                    None if is_watch && began.elapsed() < LIVED => backoff.pause(None, fastrand::f64()),
                    None => Duration::ZERO,
                }
            }
        };
        if (version.is_none() || is_denied) && follower.tell(Change::Unavailable { is_denied }).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

impl<T: Object> Follower<T> {
    /// Lists everything. Where to go on from; why that did not work.
    async fn list(&mut self) -> Result<(Option<String>, Option<Failure>), Over> {
        let mut next = String::new();
        let mut from_memory = true;
        self.tell(Change::Begin).await?;
        for _ in 0..MAX_PAGES {
            let limit = self.page.to_string();
            let mut query = vec![("limit", limit.as_str())];
            if let Some(selector) = &self.what.field_selector {
                query.push(("fieldSelector", selector));
            }
            if !next.is_empty() {
                query.push(("continue", &next));
            } else if from_memory {
                query.push(("resourceVersion", "0"));
            }
            let target = target(self.what.path, &query);
            let depth = match self.what.depth {
                Depth::Metadata => Depth::MetadataList,
                other => other,
            };
            match self.api.get::<List<T>>(self.what.kind, &target, depth).await {
                Ok(List { metadata, items }) => {
                    for item in items.unwrap_or_default() {
                        self.tell(Change::Put(item)).await?;
                    }
                    if metadata.next.is_empty() {
                        if metadata.resource_version.is_empty() {
                            return Ok((None, Some(Failure::Malformed("a list without a version".to_owned()))));
                        }
                        self.tell(Change::Complete).await?;
                        self.well();
                        return Ok((Some(metadata.resource_version), None));
                    }
                    next = metadata.next;
                }
                // From its memory the server may give everything at once, whatever the limit.
                Err(Failure::TooLong(_)) if from_memory => from_memory = false,
                Err(Failure::TooLong(_)) if self.page > 1 => self.page /= 2,
                // The list took so long that its beginning is forgotten.
                Err(failure) => return Ok((None, Some(failure))),
            }
        }
        Ok((None, Some(Failure::TooLong(MAX_PAGES * self.page as usize))))
    }

    /// Watches from a version on. Where to go on from; why it ended.
    async fn watch(&mut self, mut version: String) -> Result<(Option<String>, Option<Failure>), Over> {
        let seconds = spread(WATCH).as_secs().to_string();
        let mut query = vec![
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", seconds.as_str()),
            ("resourceVersion", version.as_str()),
        ];
        if let Some(selector) = &self.what.field_selector {
            query.push(("fieldSelector", selector));
        }
        let target = target(self.what.path, &query);
        let mut watch = match self.api.watch(self.what.kind, &target, self.what.depth).await {
            Ok(watch) => watch,
            Err(failure) => return Ok((kept(version, &failure), Some(failure))),
        };
        if self.well() {
            self.tell(Change::Again).await?;
        }
        loop {
            match watch.next::<T>().await {
                Ok(Some(event)) => {
                    let now = &event.object.metadata().resource_version;
                    if !now.is_empty() {
                        version.clone_from(now);
                    }
                    match event.kind.as_str() {
                        "ADDED" | "MODIFIED" => self.tell(Change::Put(event.object)).await?,
                        "DELETED" => self.tell(Change::Gone(event.object)).await?,
                        _ => {}
                    }
                }
                Ok(None) => return Ok((Some(version), None)),
                Err(failure) => return Ok((kept(version, &failure), Some(failure))),
            }
        }
    }

    async fn tell(&self, change: Change<T>) -> Result<(), Over> {
        self.changes.send(change).await.map_err(|_| Over)
    }

    /// How long to pause after a failure. Says what is wrong, once.
    fn pause(&mut self, backoff: &mut Backoff, failure: &Failure) -> Duration {
        let kind = self.what.kind.label();
        let complaint = failure.to_string();
        if self.complaint.as_ref() != Some(&complaint) && *failure != Failure::Gone {
            tracing::warn!(
                "kubernetes: {kind} cannot be had ({complaint}); what is known stays, and it is tried again"
            );
            self.complaint = Some(complaint);
        }
        match failure {
            Failure::Gone => GONE.mul_f64(fastrand::f64()),
            Failure::Denied(_) => spread(DENIED),
            Failure::Later { after, .. } => backoff.pause(*after, fastrand::f64()),
            _ => backoff.pause(None, fastrand::f64()),
        }
    }

    /// All is well; whether that is news.
    fn well(&mut self) -> bool {
        let is_news = self.complaint.take().is_some();
        if is_news {
            tracing::info!("kubernetes: {} can be had again", self.what.kind.label());
        }
        is_news
    }
}

/// Whether a watch can go on where it was. What makes no sense may be due to where it was.
fn kept(version: String, failure: &Failure) -> Option<String> {
    matches!(failure, Failure::Later { .. } | Failure::Denied(_)).then_some(version)
}
