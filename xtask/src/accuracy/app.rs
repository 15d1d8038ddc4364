//! An application model as it runs: started, waited for, checked, ended.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::accuracy::plan::{Plan, Shape};
use crate::accuracy::recording::Model;
use crate::accuracy::runtimes::{Runtime, Start};
use crate::accuracy::site::{Load, Site};
use crate::bed::cpu;
use crate::bed::server::Server;
use crate::workspace;

/// How long a model may take to listen.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Requests before that, of which nothing is expected: code is loaded when it is first used, and compiled when it has been
/// used for a while.
const WARM_UP: u32 = 200;

/// Of them so many are in flight.
const WARM_UP_IN_FLIGHT: u32 = 4;

/// Requests by which a model is checked.
const CHECKED: u32 = 20;

/// How long they may take.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

/// Bytes of what a model wrote to standard error that a failure shows.
const SHOWN_BYTES: usize = 2000;

/// Ports below those that Linux gives out by itself (`net.ipv4.ip_local_port_range` begins with 32768).
const PORTS: Range<u16> = 20_000..30_000;

/// Ports that are tried before it is given up.
const PORT_TRIES: u32 = 100;

/// A running model. Ends when dropped.
pub(super) struct App {
    // Ended in this order, before their folder goes.
    processes: Vec<Server>,
    listen: SocketAddr,
    scratch: Scratch,
}

/// A folder that goes with what uses it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is written over by the next start.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl App {
    /// Starts a model that was installed in this folder, and checks that it keeps the contract.
    pub(super) fn start(runtime: &Runtime, folder: &Path, site: &mut Site, pool: u32, pass: bool) -> Result<Self> {
        let [first, second] = site.backends()?;
        let listen = free_address()?;
        let scratch =
            Scratch(workspace::target().join("accuracy").join(format!("{}-{}", runtime.name, std::process::id())));
        fs::create_dir_all(&scratch.0).with_context(|| format!("{} cannot be made", scratch.0.display()))?;
        let start = Start { folder, scratch: &scratch.0, listen, first, second, pool, pass };
        let commands = (runtime.commands)(&start)?;
        let mut app = Self { processes: Vec::new(), listen, scratch };
        for (number, mut command) in commands.into_iter().enumerate() {
            let path = app.scratch.0.join(format!("stderr-{number}"));
            let log = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
            app.processes.push(Server::spawn(command.stderr(log), listen)?);
        }
        let ready = app.processes.iter_mut().try_for_each(|process| process.wait_until_listening(START_LIMIT));
        let checked = ready.and_then(|()| app.check(runtime, site, pool, pass));
        checked.with_context(|| {
            format!("tests/apps/{} does not do what it should; it said: {}", runtime.name, app.said())
        })?;
        Ok(app)
    }

    /// Where it listens.
    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// What of the machine belongs to it.
    pub(super) fn model(&self, backends: [SocketAddr; 2]) -> Model {
        let processes = self.processes.iter().flat_map(|process| cpu::family(process.pid()));
        Model { listens: self.listen, calls: backends.to_vec(), processes: processes.collect() }
    }

    /// The end of what it wrote to standard error.
    pub(super) fn said(&self) -> String {
        let paths = (0..self.processes.len()).map(|number| self.scratch.0.join(format!("stderr-{number}")));
        let all: Vec<u8> = paths.filter_map(|path| fs::read(path).ok()).flatten().collect();
        let end = &all[all.len().saturating_sub(SHOWN_BYTES)..];
        if end.is_empty() { "nothing".to_owned() } else { String::from_utf8_lossy(end).trim().to_owned() }
    }

    fn check(&self, runtime: &Runtime, site: &mut Site, pool: u32, pass: bool) -> Result<()> {
        let mut run = |level, requests| {
            let plan = Plan::new(level, pool, runtime.calls, requests, Shape::Uniform);
            site.run(&Load { server: self.listen, plan, pass, seed: 0, limit: CHECK_LIMIT })
        };
        run(WARM_UP_IN_FLIGHT, WARM_UP)?;
        let ran = run(1, CHECKED)?;
        ran.keeps_contract(runtime.calls, pool)
    }
}

/// An address that nobody listens at. Its port is of those that the kernel gives to nobody by itself: the agent traces whatever
/// uses it.
fn free_address() -> Result<SocketAddr> {
    for _ in 0..PORT_TRIES {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(PORTS)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("none of {PORT_TRIES} ports between {} and {} is free", PORTS.start, PORTS.end)
}
