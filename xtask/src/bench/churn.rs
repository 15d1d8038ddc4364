//! What tracing costs where each request has a connection of its own.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bed::cpu::Watch;
use crate::bed::server::Server;
use crate::bench::client::{REQUEST, read_answer};
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::interleave::{Variant, interleaved};
use crate::bench::sink::Sink;
use crate::bench::statistics::{Aba, over};
use crate::step::Steps;

/// Connections per second. The kernel lends a port on loopback again one second after its connection was closed, so that
/// the usual 28 000 ports are enough.
const PER_SECOND: u64 = 5_000;

/// Length of a run.
const RUN: Duration = Duration::from_secs(4);

/// Runs with the agent.
const ROUNDS: usize = 3;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let nginx = Server::nginx()?;
    let sink = Sink::start()?;
    let agent = Variant::new("agent", &["--only", &nginx.selector()]).with_environment(&sink.environment());
    let say = format!("{PER_SECOND} connections per second, one request on each");
    let measured = interleaved(&say, ROUNDS, &[agent], steps, || {
        let watch = Watch::of(&[nginx.worker()?])?;
        let seconds = connections(nginx.address())?;
        Ok((seconds, watch.seconds()?))
    })?;
    let measured = measured.concat();
    let count = as_f64(PER_SECOND * RUN.as_secs());
    let rate = over(&measured, |aba| count / aba.with.load.0);
    let without = over(&measured, |aba| aba.before.load.1 * 1e6 / count);
    let percent = over(&measured, |aba| aba.more_percent(|run| run.load.1));
    let more = over(&measured, |aba| aba.more(|run| run.load.1 * 1e6 / count));
    let cores = over(&measured, |aba| aba.with.agent_seconds / aba.with.load.0);
    let each = over(&measured, |aba| aba.with.agent_seconds * 1e6 / count);
    let records = over(&measured, |aba| as_f64(aba.with.records.map_or(0, |records| records.observed)) / count);
    Ok(vec![
        Figure::spread("connections per second, both ends traced", rate, "/s", Target::None),
        Figure::spread("nginx without the agent, per connection", without, "µs", Target::None),
        Figure::spread("more processor time of nginx", percent, "%", Target::None),
        Figure::spread("the same, per connection", more, "µs", Target::None),
        Figure::spread("agent", cores, "cores", Target::None),
        Figure::spread("agent, per connection with its request", each, "µs", Target::None),
        Figure::spread("records per connection with its request", records, "", Target::None),
        Figure::count("records lost", measured.iter().map(Aba::lost).sum(), Target::Exactly(0)),
    ])
}

/// Opens, uses and closes connections, each when it is due. How many seconds that took.
fn connections(server: SocketAddr) -> Result<f64> {
    let start = Instant::now();
    for number in 0..PER_SECOND * RUN.as_secs() {
        let due = Duration::from_nanos(number * 1_000_000_000 / PER_SECOND);
        if let Some(early) = due.checked_sub(start.elapsed()) {
            thread::sleep(early);
        }
        let mut stream = TcpStream::connect(server).context("a connection was refused")?;
        stream.write_all(REQUEST).context("a request cannot be sent")?;
        read_answer(&mut BufReader::new(stream)).context("an answer did not come")?;
    }
    Ok(start.elapsed().as_secs_f64())
}
