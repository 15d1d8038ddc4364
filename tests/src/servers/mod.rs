//! Real servers, each with a configuration of its own, on a free port of loopback.
//!
//! A server is ready when it says so itself: then its socket listens, and what connects is accepted in time.

mod apache;
mod nginx;

use crate::apps;
use crate::child::{Child, Program};
use crate::temp::TempDir;

pub use apache::apache;
pub use nginx::{nginx, nginx_in};

/// A running server. Dropping it ends it and its workers.
#[derive(Debug)]
pub struct Server {
    /// The process that was started: the master, where there are workers.
    pub child: Child,
    /// Its port.
    pub port: u16,
    _files: Option<TempDir>,
}

impl Server {
    /// The URL of a path on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// Python's `http.server`.
#[must_use]
#[track_caller]
pub fn python() -> Server {
    // By its path: what `python3` is on the PATH may be a script that starts another one.
    by_itself(Program::new("/usr/bin/python3").arg(apps::file("server.py")))
}

/// Node's `http`.
#[must_use]
#[track_caller]
pub fn node() -> Server {
    by_itself(Program::new("node").arg(apps::file("server.js")))
}

/// Go's `net/http`.
#[must_use]
#[track_caller]
pub fn go() -> Server {
    by_itself(Program::new(apps::go_server()))
}

/// A server that chooses its port and says `listening on PORT`.
#[track_caller]
fn by_itself(program: Program) -> Server {
    let child = program.start();
    let line = child.wait_out("listening on ");
    let port = line.rsplit(' ').next().and_then(|port| port.parse().ok());
    let port = port.unwrap_or_else(|| panic!("{child:?} does not say its port: {line}"));
    Server { child, port, _files: None }
}
