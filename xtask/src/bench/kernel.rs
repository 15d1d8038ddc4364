//! What each kernel program costs per run, by the kernel's own clock, and above a program that does nothing.

use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;
use std::{fs, io::BufRead, io::BufReader};

use anyhow::{Context, Result, bail};

use crate::bed::server::{Server, wrk};
use crate::bench::exchange::{Exchange, Protocol, listener};
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::interleave::Variant;
use crate::bench::plane::{Plane, RunTime, RunTimes};
use crate::bench::statistics::Spread;
use crate::command::{cargo, command, run};
use crate::step::Steps;
use crate::workspace;

/// Measurements of each kind of message.
const ROUNDS: usize = 5;

/// Length of one.
const RUN: Duration = Duration::from_millis(300);

/// Before that: the agent has to recognise the protocol and to tell the kernel.
const WARM_UP: Duration = Duration::from_millis(300);

/// Sizes of messages, bytes, and what they are called. The largest still fits into one packet of loopback.
const SIZES: [(usize, &str); 5] =
    [(256, "256 B"), (512, "512 B"), (1024, "1 KiB"), (16_384, "16 KiB"), (65_000, "65 000 B")];

/// The size, with all of it copied, that has a target.
const TARGETED_BYTES: usize = 512;

/// Nanoseconds per packet above an empty program, with that copied.
const LIMIT_COPIED_NS: f64 = 300.0;

/// Nanoseconds per packet above an empty program, where nothing is copied.
const LIMIT_OPAQUE_NS: f64 = 80.0;

/// Nanoseconds per read or send, as the kernel measures them.
const LIMIT_TOUCH_NS: f64 = 110.0;

/// Nanoseconds per message that links inside processes may cost the hooks.
const LIMIT_LINKS_NS: f64 = 60.0;

/// Whose messages the read and send hooks see: where it is told who takes a message, and where it is not.
const BOTH_ROLES: &str = ", in a process that answers and calls";
const ONE_ROLE: &str = ", in processes that only answer or only call";

/// Connections and processes that are begun and ended for the programs that watch those.
const LIVES: usize = 500;

/// Connections of `wrk`, and how long it runs each time, for programs that see reads and sends.
const LOAD: (u32, Duration) = (16, Duration::from_secs(1));

/// Programs that see packets, each with the empty one beside it.
const OF_PACKETS: [(&str, &str); 2] = [("egress", "empty_egress"), ("ingress", "empty_ingress")];

/// Programs that see reads and sends.
const OF_TOUCHES: [&str; 4] = ["read", "send", "send_fentry", "send_kprobe"];

/// The empty program beside those and all other tracing programs.
const EMPTY_TRACING: &str = "empty_read";

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    steps.step("building what attaches empty programs", || {
        run(cargo().args(["build", "--locked", "--release", "--package=wirespan-empty-plane", "--target-dir=target"]))
    })?;
    let (listener, address) = listener()?;
    let agent = Variant::new("agent", &["--only", &format!("port:{}", address.port())]).start()?;
    let empty = Empty::attach()?;
    let planes = [Plane::of(agent.pid())?, Plane::of(empty.0.id())?];
    let _times = RunTimes::on()?;
    let mut figures = Vec::new();
    for protocol in [Protocol::Http, Protocol::Unknown] {
        for (bytes, size) in SIZES {
            let name = match protocol {
                Protocol::Http => format!("HTTP, {size}"),
                Protocol::Unknown => format!("Opaque, {size}"),
            };
            let costs = steps.step(&format!("messages: {name}"), || {
                let mut exchange = Exchange::open(&listener, protocol, bytes, false)?;
                exchange.run(WARM_UP)?;
                (0..ROUNDS).map(|_| between(&planes, || exchange.run(RUN))).collect::<Result<Vec<_>>>()
            })?;
            let target = match protocol {
                Protocol::Http if bytes == TARGETED_BYTES => Target::AtMost(LIMIT_COPIED_NS),
                Protocol::Unknown => Target::AtMost(LIMIT_OPAQUE_NS),
                Protocol::Http => Target::None,
            };
            for (program, empty) in OF_PACKETS {
                let above = spread(&costs, |cost| Some(cost.mean(program)? - cost.mean(empty)?));
                figures.push(Figure::spread(format!("{program}, {name}, above an empty program"), above, "ns", target));
            }
            if protocol == Protocol::Http && bytes == TARGETED_BYTES {
                figures.extend(touches(&costs, BOTH_ROLES));
                figures.extend(["empty_egress", "empty_ingress", EMPTY_TRACING].map(|program| {
                    Figure::spread(program, spread(&costs, |cost| cost.mean(program)), "ns", Target::None)
                }));
            }
        }
    }
    figures.extend(acknowledgements(&listener, &planes, steps)?);
    figures.extend(lives(&listener, &planes, steps)?);
    agent.stop()?;
    figures.extend(of_one_role(&planes[1], steps)?);
    let links = of_links(&figures);
    figures.extend(links);
    if figures.iter().all(|figure| figure.value.is_nan()) {
        bail!("the kernel shows no programs of the agent in /proc/PID/fdinfo that ran");
    }
    Ok(figures.into_iter().filter(|figure| !figure.value.is_nan()).collect())
}

/// Run times of programs while something happened.
struct Costs {
    programs: Vec<RunTime>,
    /// How often it happened.
    rounds: u64,
}

impl Costs {
    fn of(&self, program: &str) -> Option<&RunTime> {
        self.programs.iter().find(|run_time| run_time.name == program && run_time.runs > 0)
    }

    /// Nanoseconds per run.
    fn mean(&self, program: &str) -> Option<f64> {
        self.of(program).map(|program| as_f64(program.nanoseconds) / as_f64(program.runs))
    }

    /// Nanoseconds per run of those runs that came besides so many others, which took so long each.
    fn mean_besides(&self, program: &str, others: u64, each: f64) -> Option<f64> {
        let program = self.of(program)?;
        let besides = program.runs.checked_sub(others).filter(|besides| *besides > 0)?;
        Some((as_f64(program.nanoseconds) - as_f64(others) * each) / as_f64(besides))
    }
}

/// The run times of what happens in between.
fn between(planes: &[Plane], happens: impl FnOnce() -> Result<u64>) -> Result<Costs> {
    let read = || planes.iter().map(Plane::run_times).collect::<Result<Vec<_>>>().map(|times| times.concat());
    let before = read()?;
    let rounds = happens()?;
    let programs = read()?.into_iter().map(|after| after.since(&before)).collect();
    Ok(Costs { programs, rounds })
}

fn spread(costs: &[Costs], number: impl Fn(&Costs) -> Option<f64>) -> Spread {
    Spread::of(&costs.iter().filter_map(number).collect::<Vec<_>>())
}

/// The read and send hooks, as the kernel measures them.
fn touches(costs: &[Costs], whose: &str) -> Vec<Figure> {
    let raw = |program: &str, target| {
        Figure::spread(format!("{program}{whose}"), spread(costs, |cost| cost.mean(program)), "ns", target)
    };
    let above = |program: &str| {
        let above = spread(costs, |cost| Some(cost.mean(program)? - cost.mean(EMPTY_TRACING)?));
        Figure::spread(above_empty(program, whose), above, "ns", Target::None)
    };
    OF_TOUCHES.iter().flat_map(|program| [raw(program, Target::AtMost(LIMIT_TOUCH_NS)), above(program)]).collect()
}

fn above_empty(program: &str, whose: &str) -> String {
    format!("{program}{whose}, above an empty program")
}

/// What a message costs more, which is taken by a process once and sent by one, where links need to be told who does.
fn of_links(figures: &[Figure]) -> Option<Figure> {
    let value = |name: &String| figures.iter().find(|figure| figure.name == *name).map(|figure| figure.value);
    // Of the programs that could watch sends one is attached.
    let message = |whose| {
        let programs = OF_TOUCHES.map(|program| above_empty(program, whose));
        programs.iter().filter_map(value).filter(|nanoseconds| !nanoseconds.is_nan()).reduce(|sum, next| sum + next)
    };
    let more = message(BOTH_ROLES)? - message(ONE_ROLE)?;
    Some(Figure::new("read and send, more per message for links", more, "ns", Target::AtMost(LIMIT_LINKS_NS)))
}

/// The read and send hooks where a process only answers (nginx) or only calls (`wrk`): who reads there says nothing about who
/// asked, and is not told.
fn of_one_role(empty: &Plane, steps: &mut Steps) -> Result<Vec<Figure>> {
    let nginx = Server::nginx()?;
    let agent = Variant::new("agent", &["--only", &nginx.selector()]).start()?;
    let planes = [Plane::of(agent.pid())?, empty.clone()];
    let url = format!("http://{}/", nginx.address());
    let (connections, time) = LOAD;
    let load = || Ok(wrk(&url, connections, time, &[])?.0);
    let costs = steps.step("nginx and wrk", || {
        load()?;
        (0..ROUNDS).map(|_| between(&planes, load)).collect::<Result<Vec<_>>>()
    })?;
    agent.stop()?;
    Ok(touches(&costs, ONE_ROLE))
}

/// Packets without payload. They come mixed with the messages that they acknowledge, whose cost is known from the same
/// exchange without them.
fn acknowledgements(listener: &std::net::TcpListener, planes: &[Plane], steps: &mut Steps) -> Result<Vec<Figure>> {
    let (bytes, _) = SIZES[0];
    let pairs = steps.step("packets without payload", || {
        let mut plain = Exchange::open(listener, Protocol::Unknown, bytes, false)?;
        let mut acknowledged = Exchange::open(listener, Protocol::Unknown, bytes, true)?;
        plain.run(WARM_UP)?;
        acknowledged.run(WARM_UP)?;
        let pair = |_| Ok((between(planes, || plain.run(RUN))?, between(planes, || acknowledged.run(RUN))?));
        (0..ROUNDS).map(pair).collect::<Result<Vec<_>>>()
    })?;
    let above = |program: &str, empty: &str| {
        let each = pairs.iter().filter_map(|(plain, acknowledged)| {
            // A message each way.
            let messages = acknowledged.rounds * 2;
            let cost = acknowledged.mean_besides(program, messages, plain.mean(program)?)?;
            Some(cost - acknowledged.mean_besides(empty, messages, plain.mean(empty)?)?)
        });
        Spread::of(&each.collect::<Vec<_>>())
    };
    let figure = |(program, empty): (&str, &str)| {
        let name = format!("{program}, no payload (ACK), above an empty program");
        Figure::spread(name, above(program, empty), "ns", Target::None)
    };
    Ok(OF_PACKETS.map(figure).into())
}

/// The programs that run when connections and processes begin and end.
fn lives(listener: &std::net::TcpListener, planes: &[Plane], steps: &mut Steps) -> Result<Vec<Figure>> {
    let address = listener.local_addr()?;
    let costs = steps.step(&format!("{LIVES} connections and processes"), || {
        between(planes, || {
            for _ in 0..LIVES {
                drop((TcpStream::connect(address)?, listener.accept()?));
                run(&mut command("true"))?;
            }
            Ok(LIVES as u64)
        })
    })?;
    let known = |name: &str| OF_PACKETS.iter().any(|(program, empty)| [*program, *empty].contains(&name));
    let others = costs.programs.iter().filter(|program| {
        program.runs > 0
            && !known(&program.name)
            && !OF_TOUCHES.contains(&program.name.as_str())
            && program.name != EMPTY_TRACING
    });
    let figure = |program: &RunTime| {
        let name = format!("{}, mean of {} runs", program.name, program.runs);
        Figure::new(name, as_f64(program.nanoseconds) / as_f64(program.runs), "ns", Target::None)
    };
    Ok(others.map(figure).collect())
}

/// The process that holds the empty programs. They go with it.
struct Empty(Child);

impl Empty {
    fn attach() -> Result<Self> {
        let program = workspace::target().join("release").join("wirespan-empty-plane");
        let object = workspace::bpf_objects().join("wirespan-empty");
        fs::metadata(&object).with_context(|| format!("{} was not built", object.display()))?;
        let mut holder = command(program);
        holder.arg(object).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut holder = Self(holder.spawn().context("the holder of the empty programs cannot be started")?);
        let stderr = holder.0.stderr.take().context("its standard error was taken")?;
        let mut said = String::new();
        BufReader::new(stderr).read_line(&mut said)?;
        if said.trim() != "ready" {
            bail!("the empty programs cannot be attached: {}", said.trim());
        }
        Ok(holder)
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_besides_is_told_by_difference() {
        let egress = RunTime { name: "egress".to_owned(), runs: 30, nanoseconds: 2_000 };
        let costs = Costs { programs: vec![egress], rounds: 10 };
        assert_eq!(costs.mean("egress"), Some(2_000.0 / 30.0));
        // 20 messages of 80 ns each leave 10 acknowledgements with 400 ns.
        assert_eq!(costs.mean_besides("egress", 20, 80.0), Some(40.0));
        assert_eq!(costs.mean_besides("egress", 30, 80.0), None);
        assert_eq!(costs.mean("ingress"), None);
    }

    #[test]
    fn links_cost_what_the_hooks_take_longer_where_they_tell() {
        let figure =
            |program: &str, whose: &str, value| Figure::new(above_empty(program, whose), value, "ns", Target::None);
        let told = [("read", 170.0), ("send", 70.0), ("send_kprobe", f64::NAN)];
        let untold = [("read", 100.0), ("send", 80.0), ("send_kprobe", f64::NAN)];
        let mut figures: Vec<_> = told.map(|(program, value)| figure(program, BOTH_ROLES, value)).into();
        assert_eq!(of_links(&figures), None);
        figures.extend(untold.map(|(program, value)| figure(program, ONE_ROLE, value)));
        assert_eq!(of_links(&figures).map(|figure| figure.value), Some(60.0));
    }
}
