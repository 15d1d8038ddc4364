//! What the agent holds: its own memory and that of its maps.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bench::agent::Agent;
use crate::bench::client::{Connection, paced};
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::plane::Plane;
use crate::bench::server::Nginx;
use crate::step::Steps;

const MIB: f64 = 1_048_576.0;

/// The agent's own memory with one traced process.
const LIMIT_RESIDENT_MIB: f64 = 30.0;

/// That of its maps.
const LIMIT_MAPS_MIB: f64 = 32.0;

/// Both together with many connections.
const LIMIT_MANY_MIB: f64 = 200.0;

/// Connections that the agent keeps, each with one request behind it.
const KEPT: usize = 20_000;

/// Both ends of each are on this host and traced, so half as many are opened. They fit into the ephemeral ports of one
/// address, and into the open files that one process is commonly allowed.
const OPENED: usize = KEPT / 2;

/// Descriptors for them, with some to spare.
const DESCRIPTORS: u64 = 12_000;

/// A little traffic, so that what is allocated at first use is in the figure.
const WARM_UP: Duration = Duration::from_secs(5);

const WARM_UP_PER_SECOND: u64 = 1_000;

/// What the agent holds at a time, in MiB.
struct Held {
    resident: f64,
    maps: f64,
}

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let one = one_process(steps)?;
    let many = many_connections(steps)?;
    let together = many.resident + many.maps;
    Ok(vec![
        Figure::new("agent, one traced process", one.resident, "MiB", Target::AtMost(LIMIT_RESIDENT_MIB)),
        Figure::new("its maps, one traced process", one.maps, "MiB", Target::AtMost(LIMIT_MAPS_MIB)),
        Figure::new(format!("agent, {KEPT} open connections"), many.resident, "MiB", Target::None),
        Figure::new(format!("its maps, {KEPT} open connections"), many.maps, "MiB", Target::None),
        Figure::new("both together", together, "MiB", Target::AtMost(LIMIT_MANY_MIB)),
    ])
}

fn one_process(steps: &mut Steps) -> Result<Held> {
    let nginx = Nginx::start()?;
    let agent = Agent::start(&["--only", &nginx.selector(), "--except", &ourselves()], &[])?;
    let load = || paced(nginx.address(), 1, WARM_UP_PER_SECOND, WARM_UP);
    steps.step("one traced process with a little traffic", load)?;
    held(agent)
}

fn many_connections(steps: &mut Steps) -> Result<Held> {
    allow_descriptors()?;
    let nginx = Nginx::start()?;
    let agent = Agent::start(&["--only", &nginx.selector()], &[])?;
    let open = steps.step(&format!("{OPENED} open connections, both ends traced"), || {
        (0..OPENED).map(|_| one_request(&nginx)).collect::<Result<Vec<_>>>()
    })?;
    let held = held(agent);
    drop(open);
    held
}

fn one_request(nginx: &Nginx) -> Result<Connection> {
    let mut connection = Connection::open(nginx.address())?;
    connection.send()?;
    connection.settle()?;
    Ok(connection)
}

/// The client is in this process; with one traced process only nginx is to be counted.
fn ourselves() -> String {
    format!("pid:{}", std::process::id())
}

fn held(agent: Agent) -> Result<Held> {
    let maps = Plane::of(agent.pid())?.map_bytes();
    if maps == 0 {
        bail!("the kernel shows no maps of the agent in /proc/{}/fdinfo", agent.pid());
    }
    let held = Held { resident: as_f64(agent.resident_bytes()?) / MIB, maps: as_f64(maps) / MIB };
    agent.stop()?;
    Ok(held)
}

fn allow_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum })
        .with_context(|| format!("{DESCRIPTORS} open files are not allowed here"))
}
