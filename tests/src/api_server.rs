//! A Kubernetes API server of ours, over plain HTTP on loopback: lists, watches and gets what a test puts into it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use serde_json::{Value, json};

use crate::port;

/// The token that a client must show.
const TOKEN: &str = "let-me-in";

/// The server. It ends with the test.
#[derive(Clone, Debug)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    port: u16,
}

#[derive(Debug, Default)]
struct State {
    /// By kind and name.
    objects: BTreeMap<(String, String), Value>,
    watchers: Vec<(String, Sender<String>)>,
    /// What was told of each kind, and at which version.
    events: Vec<(String, u64, String)>,
    version: u64,
    asked: Vec<String>,
}

impl ApiServer {
    /// Starts one that has nothing.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let listener: TcpListener = port::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = listener.local_addr().expect("it is bound").port();
        let server = Self { state: Arc::default(), port };
        let accepting = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = accepting.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    /// A kubeconfig for it.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{}'}}}}]\n\
             users: [{{name: u, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
            self.port
        )
    }

    /// Adds or changes an object of a kind (`pods`), and tells those who watch.
    pub fn put(&self, kind: &str, mut object: Value) {
        let mut state = self.state();
        state.version += 1;
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let event = json!({ "type": "MODIFIED", "object": object }).to_string() + "\n";
        state.objects.insert((kind.to_owned(), name), object);
        state.watchers.retain(|(watched, watcher)| watched != kind || watcher.send(event.clone()).is_ok());
        let version = state.version;
        state.events.push((kind.to_owned(), version, event));
    }

    /// What was asked for so far.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(mut out) = stream.try_clone() else { return };
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        while let Some(request) = lines.next() {
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let is_allowed = head.iter().any(|line| {
                line.split_once(':').is_some_and(|(name, value)| {
                    name.eq_ignore_ascii_case("authorization") && value.trim() == format!("Bearer {TOKEN}")
                })
            });
            let (code, answer) = if is_allowed { self.answer(&target) } else { (401, Answer::Whole(json!({}))) };
            let sent = match answer {
                Answer::Whole(body) => whole(&mut out, code, &body.to_string()),
                Answer::Watch(events) => watch(&mut out, &events),
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn answer(&self, target: &str) -> (u16, Answer) {
        let mut state = self.state();
        state.asked.push(target.to_owned());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parts: Vec<&str> = path.split('/').collect();
        let kinds = ["pods", "services", "replicasets", "jobs", "nodes", "namespaces"];
        let kind = kinds.into_iter().find(|kind| parts.contains(kind)).unwrap_or_default();
        if query.contains("watch=true") {
            let (watcher, events) = channel();
            // What has changed since the list that the client knows comes first.
            let known = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")?.parse().ok());
            for (_, _, event) in state.events.iter().filter(|(of, at, _)| of == kind && Some(*at) > known) {
                watcher.send(event.clone()).expect("its other end is here");
            }
            state.watchers.push((kind.to_owned(), watcher));
            return (200, Answer::Watch(events));
        }
        if parts.last() != Some(&kind) {
            let name = parts.last().copied().unwrap_or_default().to_owned();
            return match state.objects.get(&(kind.to_owned(), name)) {
                Some(object) => (200, Answer::Whole(object.clone())),
                None => (404, Answer::Whole(json!({ "code": 404 }))),
            };
        }
        let selector = query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=")).unwrap_or_default();
        let selected = |object: &&Value| {
            let Some((field, value)) = selector.split_once("%3D") else { return true };
            object.pointer(&format!("/{}", field.replace('.', "/"))).and_then(Value::as_str) == Some(value)
        };
        let items = state.objects.iter().filter(|((known, _), _)| known == kind).map(|(_, object)| object);
        let items: Vec<&Value> = items.filter(selected).collect();
        let version = state.version.max(1).to_string();
        (200, Answer::Whole(json!({ "metadata": { "resourceVersion": version }, "items": items })))
    }
}

enum Answer {
    Whole(Value),
    Watch(Receiver<String>),
}

fn whole(out: &mut TcpStream, code: u16, body: &str) -> std::io::Result<()> {
    let mut text = String::new();
    let _ = write!(text, "HTTP/1.1 {code} Whatever\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    out.write_all(text.as_bytes())
}

fn watch(out: &mut TcpStream, events: &Receiver<String>) -> std::io::Result<()> {
    out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for event in events {
        out.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
    }
    Ok(())
}
