//! What tracing costs a server whose protocol is not known, at a fixed load of small messages.

use std::time::Duration;

use anyhow::Result;

use crate::bed::cpu::Watch;
use crate::bed::server::Server;
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::interleave::{Variant, interleaved};
use crate::bench::paced::{Answer, Load};
use crate::bench::sink::Sink;
use crate::bench::statistics::{Aba, over};
use crate::step::Steps;

/// Operations per second.
const PER_SECOND: u64 = 10_000;

/// Connections that they are spread over.
const CONNECTIONS: usize = 50;

/// Length of a run.
const RUN: Duration = Duration::from_secs(4);

/// Runs with the agent.
const ROUNDS: usize = 4;

/// What tracing may add to the server's processor time.
const LIMIT_PERCENT: f64 = 8.0;

/// Sets a key to 64 bytes, which is about what a session or a counter needs.
const SET: &[u8] =
    b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$64\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n";

/// `+OK\r\n`
const SET_ANSWER_BYTES: u64 = 5;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let redis = Server::redis()?;
    let sink = Sink::start()?;
    let agent = Variant::new("agent", &["--only", &redis.selector()]).with_environment(&sink.environment());
    let load = Load {
        server: redis.address(),
        request: SET,
        answer: Answer::Bytes(SET_ANSWER_BYTES),
        connections: CONNECTIONS,
        per_second: PER_SECOND,
        time: RUN,
    };
    let measured = interleaved(&format!("redis, {PER_SECOND} operations per second"), ROUNDS, &[agent], steps, || {
        let watch = Watch::of(&[redis.pid()])?;
        let paced = load.run()?;
        Ok((paced, watch.seconds()?))
    })?;
    let measured = measured.concat();
    let requests = as_f64(PER_SECOND * RUN.as_secs());
    let percent = over(&measured, |aba| aba.more_percent(|run| run.load.1));
    let without = over(&measured, |aba| aba.before.load.1 * 1e6 / requests);
    let more = over(&measured, |aba| aba.more(|run| run.load.1 * 1e6 / requests));
    let agent = over(&measured, |aba| aba.with.agent_seconds / aba.with.load.0.seconds);
    let p99 = over(&measured, |aba| aba.more_percent(|run| run.load.0.p99_us));
    Ok(vec![
        Figure::spread("redis without the agent, per operation", without, "µs", Target::None),
        Figure::spread("more processor time of redis", percent, "%", Target::AtMost(LIMIT_PERCENT)),
        Figure::spread("the same, per operation", more, "µs", Target::None),
        Figure::spread("agent", agent, "cores", Target::None),
        Figure::spread("longer p99", p99, "%", Target::None),
        Figure::count("records lost", measured.iter().map(Aba::lost).sum(), Target::Exactly(0)),
    ])
}
