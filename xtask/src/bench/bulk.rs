//! What tracing costs a large copy over loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::interleave::{Variant, interleaved};
use crate::bench::plane::{Plane, RunTimes};
use crate::bench::statistics::{Aba, Spread, over};
use crate::step::Steps;

/// What is copied in a run.
const COPIED_BYTES: u64 = 10_000_000_000;

/// What is written, and read, at once.
const PIECE_BYTES: usize = 256 << 10;

/// Runs with the agent.
const ROUNDS: usize = 5;

/// By how much a copy may be slower.
const LIMIT_PERCENT: f64 = 3.0;

const MIB: f64 = 1_048_576.0;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let server = swallower()?;
    let agent = Variant::new("agent", &["--only", &format!("port:{}", server.port())]);
    let measured =
        interleaved("copies of 10 GB over loopback", ROUNDS, std::slice::from_ref(&agent), steps, || copy(server))?
            .concat();
    let slower = over(&measured, |aba| -aba.more_percent(|run| run.load));
    let without: Vec<_> = measured.iter().map(|aba| aba.before.load / 1e9).collect();
    let cores = over(&measured, |aba| aba.with.agent_seconds * aba.with.load / as_f64(COPIED_BYTES));
    let programs = steps.step("a copy with run times of programs", || {
        let running = agent.start()?;
        let times = RunTimes::on()?;
        copy(server)?;
        let programs = Plane::of(running.pid())?.run_times()?;
        drop(times);
        running.stop()?;
        Ok(programs)
    })?;
    let nanoseconds = programs.iter().map(|program| program.nanoseconds).sum();
    let runs = programs.iter().map(|program| program.runs).sum();
    let mib = as_f64(COPIED_BYTES) / MIB;
    Ok(vec![
        Figure::spread("without the agent", Spread::of(&without), "GB/s", Target::None),
        Figure::spread("slower", slower, "%", Target::AtMost(LIMIT_PERCENT)),
        Figure::new("all programs together, per MiB, by bpf_stats", as_f64(nanoseconds) / mib, "ns", Target::None),
        Figure::new("runs of programs, per MiB", as_f64(runs) / mib, "", Target::None),
        Figure::spread("agent", cores, "cores", Target::None),
        Figure::count("records lost", measured.iter().map(Aba::lost).sum(), Target::Exactly(0)),
    ])
}

/// Copies once; bytes per second.
fn copy(server: SocketAddr) -> Result<f64> {
    let mut stream = TcpStream::connect(server)?;
    let piece = vec![0x55; PIECE_BYTES];
    let start = Instant::now();
    let mut left = COPIED_BYTES;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        stream.write_all(&piece[..length]).context("the copy broke off")?;
        left -= length as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // The other end closes when it has all of it.
    if stream.read(&mut [0])? != 0 {
        bail!("an answer from a server that gives none");
    }
    Ok(as_f64(COPIED_BYTES) / start.elapsed().as_secs_f64())
}

/// A server that reads everything. It runs until the process ends.
fn swallower() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut piece = vec![0; PIECE_BYTES];
            while stream.read(&mut piece).is_ok_and(|read| read > 0) {}
        }
    });
    Ok(address)
}
