//! An API server in memory: lists in pages, watches, and every kind of trouble.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What becomes of the next requests for a kind.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// This status.
    Status(u16),
    /// This status, and when to come back, in seconds.
    Throttled(u64),
    /// These bytes.
    Text(&'static str),
    /// Bytes without end.
    Endless,
    /// No answer, ever.
    Silent,
    /// A watch that is over at once.
    Ended,
}

#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: HashMap<&'static str, BTreeMap<String, Value>>,
    version: u64,
    watchers: Vec<(String, UnboundedSender<Bytes>)>,
    /// By kind: trouble that lasts.
    trouble: HashMap<String, Trouble>,
    /// By kind: trouble that passes.
    passing: HashMap<String, VecDeque<Trouble>>,
    /// Gives everything at once from memory, as real ones do.
    ignores_limits: bool,
    asked: Vec<String>,
}

/// What is sent, piece by piece.
pub(super) enum Answer {
    Whole(Option<Bytes>),
    Watch(UnboundedReceiver<Bytes>),
    Endless,
    Silent,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match &mut *self {
            Self::Whole(bytes) => bytes.take(),
            Self::Watch(events) => match events.poll_recv(context) {
                Poll::Ready(bytes) => bytes,
                Poll::Pending => return Poll::Pending,
            },
            Self::Endless => Some(Bytes::from_static(&[b'x'; 65_536])),
            Self::Silent => return Poll::Pending,
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Server {
    pub(super) fn with(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let server = Self::default();
        objects.into_iter().for_each(|(kind, object)| server.put(kind, object));
        server
    }

    /// Adds or changes an object, and tells those who watch.
    pub(super) fn put(&self, kind: &'static str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let before = state.objects.entry(kind).or_default().insert(name_of(&object), object.clone());
        state.tell(kind, if before.is_some() { "MODIFIED" } else { "ADDED" }, &object);
    }

    /// Takes an object away, and tells those who watch.
    pub(super) fn remove(&self, kind: &'static str, name: &str) {
        let mut state = self.state();
        state.version += 1;
        if let Some(object) = state.objects.entry(kind).or_default().remove(name) {
            state.tell(kind, "DELETED", &object);
        }
    }

    /// Sends a line to those who watch.
    pub(super) fn say(&self, kind: &str, line: &str) {
        let bytes = Bytes::from(format!("{line}\n"));
        self.state().watchers.iter().filter(|(watched, _)| watched == kind).for_each(|(_, watcher)| {
            let _ = watcher.send(bytes.clone());
        });
    }

    /// Ends all watches.
    pub(super) fn hang_up(&self) {
        self.state().watchers.clear();
    }

    pub(super) fn trouble(&self, kind: &str, trouble: Option<Trouble>) {
        let mut state = self.state();
        match trouble {
            Some(trouble) => state.trouble.insert(kind.to_owned(), trouble),
            None => state.trouble.remove(kind),
        };
    }

    pub(super) fn passing(&self, kind: &str, trouble: impl IntoIterator<Item = Trouble>) {
        self.state().passing.entry(kind.to_owned()).or_default().extend(trouble);
    }

    pub(super) fn ignore_limits(&self) {
        self.state().ignores_limits = true;
    }

    /// What was asked for of a kind, since this was asked last.
    pub(super) fn asked(&self, kind: &str) -> Vec<String> {
        let mut state = self.state();
        let (these, others) = state.asked.drain(..).partition(|target| kind_of(target) == kind);
        state.asked = others;
        these
    }

    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Answer> {
        let target = request.uri().to_string();
        let mut state = self.state();
        state.asked.push(target.clone());
        let kind = kind_of(&target).to_owned();
        let passing = state.passing.get_mut(&kind).and_then(VecDeque::pop_front);
        if let Some(trouble) = passing.or_else(|| state.trouble.get(&kind).cloned()) {
            return troubled(&trouble);
        }
        let query = query_of(&target);
        if query.contains_key("watch") {
            let (watcher, events) = unbounded_channel();
            state.watchers.push((kind, watcher));
            return response(200, Answer::Watch(events));
        }
        let path: Vec<&str> = target.split('?').next().unwrap_or_default().split('/').collect();
        let objects = state.objects.iter().find(|(known, _)| **known == kind).map(|(_, objects)| objects.clone());
        let objects = objects.unwrap_or_default();
        if path.last() != Some(&kind.as_str()) {
            return match path.last().and_then(|name| objects.get(*name)) {
                Some(object) => whole(200, object),
                None => whole(404, &json!({"code": 404, "message": "not found"})),
            };
        }
        let selector = query.get("fieldSelector").map_or("", String::as_str);
        let all: Vec<&Value> = objects.values().filter(|object| is_selected(object, selector)).collect();
        let is_from_memory = query.get("resourceVersion").is_some_and(|version| version == "0");
        let limit: usize = query.get("limit").map_or(usize::MAX, |limit| limit.parse().expect("a number"));
        let limit = if is_from_memory && state.ignores_limits { usize::MAX } else { limit };
        let begin: usize = query.get("continue").map_or(0, |text| text.trim_end_matches('=').parse().expect("ours"));
        let page: Vec<&Value> = all.iter().skip(begin).take(limit).copied().collect();
        let end = begin + page.len();
        let next = if end < all.len() { format!("{end}==") } else { String::new() };
        let metadata = json!({"resourceVersion": state.version.max(1).to_string(), "continue": next});
        whole(200, &json!({"metadata": metadata, "items": page}))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no panic")
    }
}

impl State {
    fn tell(&mut self, kind: &str, event: &str, object: &Value) {
        let line = Bytes::from(format!("{}\n", json!({"type": event, "object": object})));
        self.watchers.retain(|(watched, watcher)| watched != kind || watcher.send(line.clone()).is_ok());
    }
}

fn troubled(trouble: &Trouble) -> Response<Answer> {
    match trouble {
        Trouble::Status(code) => whole(*code, &json!({"code": code, "message": "trouble"})),
        Trouble::Throttled(seconds) => {
            let mut answer = whole(429, &json!({"code": 429, "message": "too many"}));
            answer.headers_mut().insert("retry-after", (*seconds).into());
            answer
        }
        Trouble::Text(text) => response(200, Answer::Whole(Some(Bytes::from_static(text.as_bytes())))),
        Trouble::Endless => response(200, Answer::Endless),
        Trouble::Silent => response(200, Answer::Silent),
        Trouble::Ended => response(200, Answer::Whole(None)),
    }
}

fn whole(code: u16, object: &Value) -> Response<Answer> {
    response(code, Answer::Whole(Some(Bytes::from(object.to_string()))))
}

fn response(code: u16, answer: Answer) -> Response<Answer> {
    Response::builder().status(code).body(answer).expect("a response")
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").to_owned()
}

fn kind_of(target: &str) -> &str {
    let path = target.split('?').next().unwrap_or_default();
    let kinds = ["pods", "replicasets", "jobs", "nodes", "services", "namespaces"];
    kinds.into_iter().find(|kind| path.split('/').any(|part| part == *kind)).unwrap_or_default()
}

fn query_of(target: &str) -> HashMap<String, String> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let decoded = |text: &str| text.replace("%3D", "=").replace("%3A", ":").replace("%2C", ",");
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), decoded(value)))
        .collect()
}

fn is_selected(object: &Value, selector: &str) -> bool {
    selector.split(',').filter_map(|term| term.split_once('=')).all(|(field, value)| {
        let pointer = format!("/{}", field.replace('.', "/"));
        object.pointer(&pointer).and_then(Value::as_str) == Some(value)
    })
}
