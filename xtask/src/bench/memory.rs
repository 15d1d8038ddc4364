//! What the agent holds: its own memory and that of its maps.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::bed::agent::Agent;
use crate::bed::cpu;
use crate::bed::server::Server;
use crate::bench::client::Connection;
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::paced::Load;
use crate::bench::plane::Plane;
use crate::command::command;
use crate::step::Steps;

const MIB: f64 = 1_048_576.0;

/// The agent and its maps with one traced process.
const LIMIT_ONE_MIB: f64 = 62.0;

/// Both with the most connections.
const LIMIT_MANY_MIB: f64 = 200.0;

/// Connections that the agent keeps, each with one request behind it.
const KEPT: [usize; 2] = [1_000, MOST_KEPT];

const MOST_KEPT: usize = 20_000;

/// Descriptors for the client's ends, with some to spare. Both ends of each connection are on this host and traced, so half
/// as many are opened: they fit into the ephemeral ports of one address, and into the open files that one process is
/// commonly allowed.
const DESCRIPTORS: u64 = 12_000;

/// Processes that live while the agent does.
const PROCESSES: usize = 10_000;

/// How long they may take to begin.
const PROCESSES_LIMIT: Duration = Duration::from_secs(60);

/// How often is counted how many have begun.
const LOOK: Duration = Duration::from_millis(200);

/// A little traffic, so that what is allocated at first use is in the figure.
const WARM_UP: Duration = Duration::from_secs(4);

const WARM_UP_PER_SECOND: u64 = 1_000;

/// What the agent holds at a time, in MiB.
struct Held {
    resident: f64,
    maps: f64,
}

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let one = one_process(&[], steps)?;
    figures.extend(of("one traced process, one connection", &one, Target::AtMost(LIMIT_ONE_MIB)));
    for kept in KEPT {
        let held = many_connections(kept, steps)?;
        let target = if kept == MOST_KEPT { Target::AtMost(LIMIT_MANY_MIB) } else { Target::None };
        figures.extend(of(&format!("{kept} open connections"), &held, target));
    }
    let crowd = steps.step(&format!("{PROCESSES} more processes"), Crowd::start)?;
    let among = one_process(&[], steps)?;
    drop(crowd);
    figures.extend(of(&format!("one connection, {PROCESSES} processes on the machine"), &among, Target::None));
    Ok(figures)
}

fn of(name: &str, held: &Held, target: Target) -> [Figure; 3] {
    [
        Figure::new(format!("{name}: agent (RSS)"), held.resident, "MiB", Target::None),
        Figure::new(format!("{name}: its maps"), held.maps, "MiB", Target::None),
        Figure::new(format!("{name}: both"), held.resident + held.maps, "MiB", target),
    ]
}

fn one_process(arguments: &[&str], steps: &mut Steps) -> Result<Held> {
    let nginx = Server::nginx()?;
    let (only, ourselves) = (nginx.selector(), ourselves());
    let agent = start(&[&["--only", &only, "--except", &ourselves], arguments].concat())?;
    let load = Load::http(nginx.address(), 1, WARM_UP_PER_SECOND, WARM_UP);
    steps.step("one traced process with a little traffic", || load.run())?;
    held(agent)
}

fn many_connections(kept: usize, steps: &mut Steps) -> Result<Held> {
    allow_descriptors()?;
    let nginx = Server::nginx()?;
    let agent = start(&["--only", &nginx.selector()])?;
    let open = steps.step(&format!("{} open connections, both ends traced", kept / 2), || {
        (0..kept / 2).map(|_| one_request(&nginx)).collect::<Result<Vec<_>>>()
    })?;
    let held = held(agent);
    drop(open);
    held
}

fn start(arguments: &[&str]) -> Result<Agent> {
    Agent::start(&[&["--format", "none"], arguments].concat(), &[])
}

fn one_request(nginx: &Server) -> Result<Connection> {
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

/// Many processes that wait for the end of a pipe, and therefore end with this program, however it ends.
struct Crowd {
    shell: Child,
}

impl Crowd {
    fn start() -> Result<Self> {
        let mut shell = command("sh");
        // Background jobs of a shell read from /dev/null unless told otherwise.
        shell.args([
            "-c",
            "exec 3<&0; read count; while [ $count -gt 0 ]; do (read line <&3) & count=$((count-1)); done; wait",
        ]);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        let mut crowd = Self { shell: shell.spawn().context("sh cannot be started")? };
        let stdin = crowd.shell.stdin.as_mut().context("the shell's standard input was taken")?;
        writeln!(stdin, "{PROCESSES}").context("the shell ended at once")?;
        let start = Instant::now();
        while cpu::family(crowd.shell.id()).len() <= PROCESSES {
            if start.elapsed() > PROCESSES_LIMIT {
                bail!(
                    "{PROCESSES} processes cannot be had here: is the limit on processes (ulimit -u, pids.max) reached?"
                );
            }
            std::thread::sleep(LOOK);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // Closing the pipe ends them.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
