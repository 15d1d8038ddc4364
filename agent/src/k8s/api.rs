//! Requests to the API server: bounded in time and size, counted, and told apart by what can be done about a failure.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::objects::{Event, Status};
use super::tally::{Ending, Kind, Tally};

/// An answer that is no watch takes no longer than that.
const ANSWER: Duration = Duration::from_secs(20);
/// Nor is it longer. A page of 100 pods has about 1 MiB.
pub(super) const MAX_ANSWER_BYTES: usize = 16 << 20;
/// An object of a watch is not longer: the API server takes none of more than 1.5 MiB, and writes down who changed what beside it.
pub(super) const MAX_LINE_BYTES: usize = 4 << 20;
/// Of what the server says of a failure, no more is read.
const MAX_STATUS_BYTES: usize = 64 << 10;
/// Of that, no more is repeated.
const SHOWN_BYTES: usize = 200;
/// A watch in which nothing comes for so long is taken for dead: a bookmark comes every minute or so.
const SILENCE: Duration = Duration::from_secs(150);

const JSON: &str = "application/json";
/// Objects without their contents (Kubernetes API concepts, "Receiving resources as Tables" and below).
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// How much of each object is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Whole,
    Metadata,
    MetadataList,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It may not be asked (401, 403).
    #[error("not allowed: {0}")]
    Denied(String),
    /// There is no such thing (404).
    #[error("not found")]
    NotFound,
    /// The past is gone (410).
    #[error("too old")]
    Gone,
    /// Not now; not before so long, if that was said.
    #[error("{why}")]
    Later { after: Option<Duration>, why: String },
    /// The server does not understand the question (other 4xx).
    #[error("refused: {0}")]
    Refused(String),
    /// The answer makes no sense.
    #[error("an answer that makes no sense: {0}")]
    Malformed(String),
    /// The answer is too long.
    #[error("an answer of more than {0} bytes")]
    TooLong(usize),
}

impl Failure {
    fn ending(&self) -> Ending {
        match self {
            Self::Denied(_) => Ending::Denied,
            Self::NotFound => Ending::NotFound,
            Self::Gone => Ending::Gone,
            Self::Later { after: Some(_), .. } => Ending::Throttled,
            Self::Later { .. } | Self::Refused(_) => Ending::Failed,
            Self::Malformed(_) | Self::TooLong(_) => Ending::Malformed,
        }
    }
}

/// The API server.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    tally: Arc<Tally>,
}

impl Api {
    pub(super) fn new(client: Client, tally: Arc<Tally>) -> Self {
        Self { client, tally }
    }

    /// Asks once, for all of it.
    pub(super) async fn get<T: DeserializeOwned>(&self, kind: Kind, target: &str, depth: Depth) -> Result<T, Failure> {
        let asked = async {
            let body = self.send(target, depth).await?;
            let whole = self.read(kind, body, MAX_ANSWER_BYTES).await?;
            serde_json::from_slice(&whole).map_err(|error| Failure::Malformed(error.to_string()))
        };
        let late = || Failure::Later { after: None, why: format!("no answer within {} s", ANSWER.as_secs()) };
        let answer = timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(late()));
        self.tally.ended(kind, answer.as_ref().map_or_else(Failure::ending, |_| Ending::Ok));
        answer
    }

    /// Begins a watch.
    pub(super) async fn watch(&self, kind: Kind, target: &str, depth: Depth) -> Result<Watch, Failure> {
        let late = || Failure::Later { after: None, why: format!("no answer within {} s", ANSWER.as_secs()) };
        let began = timeout(ANSWER, self.send(target, depth)).await.unwrap_or_else(|_| Err(late()));
        match began {
            Ok(body) => {
                self.tally.watch_began(kind);
                Ok(Watch { kind, body, buffer: Vec::new(), searched: 0, tally: Arc::clone(&self.tally) })
            }
            Err(failure) => {
                self.tally.ended(kind, failure.ending());
                Err(failure)
            }
        }
    }

    async fn send(&self, target: &str, depth: Depth) -> Result<Body, Failure> {
        let accept = match depth {
            Depth::Whole => JSON,
            Depth::Metadata => METADATA,
            Depth::MetadataList => METADATA_LIST,
        };
        let request = Request::get(target).header(header::ACCEPT, accept).body(Body::empty());
        let request = request.map_err(|error| Failure::Refused(error.to_string()))?;
        let answer = self.client.send(request).await.map_err(|error| later(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let after =
            answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let text = read(answer.into_body(), MAX_STATUS_BYTES, |_| {}).await.unwrap_or_default();
        let said: Status = serde_json::from_slice(&text).unwrap_or_default();
        Err(failure(status, after.map(Duration::from_secs), &said.message))
    }

    async fn read(&self, kind: Kind, body: Body, most: usize) -> Result<Vec<u8>, Failure> {
        read(body, most, |bytes| self.tally.read(kind, bytes)).await
    }
}

/// What a status other than 2xx means.
fn failure(status: StatusCode, after: Option<Duration>, said: &str) -> Failure {
    let said = crate::redact::cut(said, SHOWN_BYTES);
    let why = if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {said}") };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Denied(why),
        StatusCode::NOT_FOUND => Failure::NotFound,
        StatusCode::GONE => Failure::Gone,
        StatusCode::TOO_MANY_REQUESTS => Failure::Later { after: Some(after.unwrap_or_default()), why },
        _ if status.is_server_error() => Failure::Later { after, why },
        _ => Failure::Refused(why),
    }
}

/// The server can't be reached, as a rule because it is being replaced.
fn later(error: &kube::Error) -> Failure {
    let mut why = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(deeper) = source {
        let _ = write!(why, ": {deeper}");
        source = deeper.source();
    }
    Failure::Later { after: None, why: crate::redact::cut(&why, 2 * SHOWN_BYTES).to_owned() }
}

async fn read(mut body: Body, most: usize, count: impl Fn(usize)) -> Result<Vec<u8>, Failure> {
    let mut whole = Vec::new();
    while let Some(bytes) = frame(&mut body).await? {
        count(bytes.len());
        if whole.len() + bytes.len() > most {
            return Err(Failure::TooLong(most));
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}

async fn frame(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    match body.frame().await {
        // Trailers say nothing.
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => Err(later(&error)),
        None => Ok(None),
    }
}

/// A watch: an object per line.
pub(super) struct Watch {
    kind: Kind,
    body: Body,
    buffer: Vec<u8>,
    /// So much of the buffer was searched for the end of a line.
    searched: usize,
    tally: Arc<Tally>,
}

impl Watch {
    /// The next event; `None` if the server ended the watch, as it does every few minutes.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<Event<T>>, Failure> {
        let next = timeout(SILENCE, self.event()).await.unwrap_or_else(|_| {
            Err(Failure::Later { after: None, why: format!("silent for {} s", SILENCE.as_secs()) })
        });
        match &next {
            Ok(Some(_)) => {}
            Ok(None) => self.tally.ended(self.kind, Ending::Ok),
            Err(failure) => self.tally.ended(self.kind, failure.ending()),
        }
        next
    }

    async fn event<T: DeserializeOwned>(&mut self) -> Result<Option<Event<T>>, Failure> {
        loop {
            while let Some(line) = self.line() {
                if !line.trim_ascii().is_empty() {
                    return parse(&line).map(Some);
                }
            }
            let Some(bytes) = frame(&mut self.body).await? else {
                if self.buffer.trim_ascii().is_empty() {
                    return Ok(None);
                }
                return Err(Failure::Later { after: None, why: "cut off in the middle of an event".to_owned() });
            };
            self.tally.read(self.kind, bytes.len());
            self.buffer.extend_from_slice(&bytes);
            if self.buffer.len() > MAX_LINE_BYTES && memchr::memchr(b'\n', &self.buffer[self.searched..]).is_none() {
                return Err(Failure::TooLong(MAX_LINE_BYTES));
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) else {
            self.searched = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.searched + at + 1);
        self.searched = 0;
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<Event<T>, Failure> {
    let malformed = |error: serde_json::Error| Failure::Malformed(error.to_string());
    let event: Event<T> = serde_json::from_slice(line).map_err(malformed)?;
    if event.kind != "ERROR" {
        return Ok(event);
    }
    let said: Event<Status> = serde_json::from_slice(line).map_err(malformed)?;
    let status = StatusCode::from_u16(said.object.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // What is no failure is none that we know.
    let status = if status.is_success() { StatusCode::INTERNAL_SERVER_ERROR } else { status };
    Err(failure(status, None, &said.object.message))
}

/// A path with a query.
pub(super) fn target(path: &str, query: &[(&str, &str)]) -> String {
    let mut target = path.to_owned();
    for (number, (key, value)) in query.iter().enumerate() {
        target.push(if number == 0 { '?' } else { '&' });
        target.push_str(key);
        target.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                target.push(char::from(byte));
            } else {
                let _ = write!(target, "%{byte:02X}");
            }
        }
    }
    target
}

/// A name as a part of a path.
pub(super) fn segment(name: &str) -> String {
    target("", &[("", name)]).split_off("?=".len())
}
