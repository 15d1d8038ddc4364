//! What tracing costs programs that do nothing with TCP: nothing.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::figure::{Figure, Target};
use crate::bench::interleave::{Measured, Variant, interleaved};
use crate::bench::statistics::{Spread, over};
use crate::step::Steps;
use crate::workspace;

/// Runs with the agent.
const ROUNDS: usize = 7;

/// A run is so many batches of each kind, of which the fastest counts: what else happens on the machine can only add to it,
/// and a hooked system call is slower in every batch.
const BATCHES: u32 = 15;

/// Calls in a batch.
const CALLS: u32 = 20_000;

/// What is written and read at once.
const BYTES: usize = 512;

/// A difference below this is none: batches of one run differ by as much on a quiet machine.
const SMALLEST_NOISE_PERCENT: f64 = 0.5;

/// Nanoseconds of one round of each kind of call.
type Run = [f64; 3];

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let path = workspace::target().join("bench").join("unrelated");
    std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = file.with_context(|| format!("{} cannot be made", path.display()))?;
    let agent = Variant::new("agent", &[]);
    let measured =
        interleaved("getpid, pipe and file I/O", ROUNDS, &[agent], steps, || calls(&file).context("a system call"))?
            .concat();
    let kinds = ["getpid", "a write to a pipe and a read from it", "a write to a file and a read from it"];
    let figures = kinds.iter().enumerate().flat_map(|(kind, name)| {
        let number = |run: &Measured<Run>| run.load[kind];
        let without: Vec<_> = measured.iter().map(|aba| number(&aba.before)).collect();
        let noise = over(&measured, |aba| aba.noise_percent(number));
        let limit = noise.median.max(SMALLEST_NOISE_PERCENT);
        [
            Figure::spread(format!("{name}, without the agent"), Spread::of(&without), "ns", Target::None),
            Figure::spread(format!("{name}: noise, two runs without"), noise, "%", Target::None),
            Figure::spread(
                format!("{name}: slower (the target is the noise)"),
                over(&measured, |aba| aba.more_percent(number)),
                "%",
                Target::AtMost(limit),
            ),
        ]
    });
    Ok(figures.collect())
}

fn calls(file: &File) -> Result<Run> {
    // The kernel counts the users of a descriptor only where threads share it, which costs 50 ns a call. The process has
    // other threads while an agent runs, so it has one without it, too.
    let (alive, end) = mpsc::channel::<()>();
    let companion = thread::spawn(move || end.recv());
    let run = alone(file);
    drop(alive);
    // It waits for the end of the channel and gets it: that is no failure.
    let _ended = companion.join();
    run
}

fn alone(file: &File) -> Result<Run> {
    let (mut reader, mut writer) = std::io::pipe()?;
    let mut buffer = [0; BYTES];
    let getpid = batches(|| {
        black_box(rustix::process::getpid());
        Ok(())
    })?;
    let pipe = batches(|| {
        writer.write_all(&buffer)?;
        reader.read_exact(&mut buffer)?;
        Ok(())
    })?;
    let mut buffer = [0; BYTES];
    let file = batches(|| {
        file.write_all_at(&buffer, 0)?;
        file.read_exact_at(&mut buffer, 0)?;
        Ok(())
    })?;
    Ok([getpid, pipe, file])
}

/// Nanoseconds of one call, in the fastest of the batches.
fn batches(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let batch = |_| {
        let start = Instant::now();
        (0..CALLS).try_for_each(|_| call())?;
        Ok(start.elapsed())
    };
    let times = (0..BATCHES).map(batch).collect::<Result<Vec<Duration>>>()?;
    let nanoseconds: Vec<_> = times.iter().map(|time| time.as_secs_f64() * 1e9 / f64::from(CALLS)).collect();
    Ok(Spread::of(&nanoseconds).low)
}
