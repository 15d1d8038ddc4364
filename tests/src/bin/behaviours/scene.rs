//! What most behaviours share: one agent, an nginx, and connections that are older than the agent.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use wirespan_tests::agent::{Agent, binary};
use wirespan_tests::child::Program;
use wirespan_tests::kernel;
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::servers::{self, Server};
use wirespan_tests::temp::TempDir;

/// The agent's exit code where a machine can't be traced.
const CANNOT_TRACE: i32 = 3;
/// Instructions that the kernel may go through to verify a program: it gives up after a million, and one branch more can double them.
const VERIFIED: u64 = 900_000;

/// One agent and what is older than it.
pub(crate) struct Scene {
    /// The agent.
    pub(crate) agent: Agent,
    /// Older than the agent.
    pub(crate) nginx: Server,
    old: Mutex<Vec<(Old, Wire)>>,
    _listeners: Vec<TcpListener>,
}

/// A connection that is older than the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// A request was made on it.
    Used,
    /// Nothing was ever sent on it.
    Unused,
    /// A request was made on it; IPv6.
    Six,
}

/// How the agent starts here.
pub(crate) enum Start {
    /// It traces.
    Traces(Box<Scene>),
    /// It ended with the exit code for "can't trace here" and this message.
    Refuses(String),
    /// Anything else.
    Fails(String),
}

impl Scene {
    /// Makes what is older, then starts the agent.
    pub(crate) fn start() -> Start {
        // An agent that ends by itself says first whether it can trace at all.
        let files = TempDir::new("tried");
        let recording = files.path().join("recording");
        let tried = Program::new(binary()).args(["record", "--seconds", "1"]).arg(recording).run();
        match tried.code() {
            Some(0) => {}
            Some(CANNOT_TRACE) => return Start::Refuses(tried.stderr.trim().to_owned()),
            _ => return Start::Fails(format!("the agent ended with {}:\n{}", tried.status, tried.stderr)),
        }
        let nginx = servers::nginx(1);
        let mut old = Vec::new();
        let mut listeners = Vec::new();
        for kind in [Old::Used, Old::Unused, Old::Six] {
            let address = if kind == Old::Six { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
            let (mut wire, listener) = Wire::with_listener(address);
            if kind != Old::Unused {
                wire.exchange(get("/before"), ok("before"));
            }
            old.push((kind, wire));
            listeners.push(listener);
        }
        let agent = Agent::start();
        if let Some(most) = kernel::most_verified(agent.pid()).filter(|&most| most > VERIFIED) {
            return Start::Fails(format!(
                "the verifier went through {most} instructions for one program, of a million at most"
            ));
        }
        Start::Traces(Box::new(Self { agent, nginx, old: Mutex::new(old), _listeners: listeners }))
    }

    /// The old connection of this kind, once.
    #[track_caller]
    pub(crate) fn old(&self, kind: Old) -> Wire {
        let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        let at = old.iter().position(|(other, _)| *other == kind).expect("each old connection is taken once");
        old.swap_remove(at).1
    }
}
