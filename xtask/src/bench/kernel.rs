//! What each kernel program costs per run, by the kernel's own clock. Taking the time adds some tens of nanoseconds to
//! each run, which are in the figures.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::bench::agent::Agent;
use crate::bench::figure::{Figure, Target, as_f64};
use crate::bench::plane::{Plane, RunTime, RunTimes};
use crate::bench::server::{Server, wrk};
use crate::step::Steps;

/// Length of the run.
const RUN: Duration = Duration::from_secs(5);

/// Connections of `wrk`.
const CONNECTIONS: u32 = 32;

/// Brings `wrk`'s request to about 512 bytes.
const PADDING_BYTES: usize = 440;

/// Programs that see packets.
const OF_PACKETS: &[&str] = &["egress", "ingress"];

/// Programs that see reads and sends.
const OF_TOUCHES: &[&str] = &["read", "send", "send_fentry", "send_kprobe"];

/// Nanoseconds per packet, with about 512 bytes copied.
const LIMIT_PACKET_NS: f64 = 300.0;

/// Nanoseconds per read or send.
const LIMIT_TOUCH_NS: f64 = 130.0;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let nginx = Server::nginx()?;
    let agent = Agent::start(&["--only", &nginx.selector()], &[])?;
    let padding = format!("X-Padding: {}", "x".repeat(PADDING_BYTES));
    let url = format!("http://{}/small", nginx.address());
    let times = RunTimes::on()?;
    steps.step("wrk at full speed, messages of about 512 bytes", || wrk(&url, CONNECTIONS, RUN, &[&padding]))?;
    let programs = Plane::of(agent.pid())?.run_times()?;
    drop(times);
    agent.stop()?;
    if programs.is_empty() {
        bail!("the kernel shows no programs of the agent in /proc/PID/fdinfo that ran");
    }
    Ok(programs.iter().filter(|program| program.runs > 0).map(figure).collect())
}

fn figure(program: &RunTime) -> Figure {
    let is_one_of = |names: &[&str]| names.contains(&program.name.as_str());
    let target = if is_one_of(OF_PACKETS) {
        Target::AtMost(LIMIT_PACKET_NS)
    } else if is_one_of(OF_TOUCHES) {
        Target::AtMost(LIMIT_TOUCH_NS)
    } else {
        Target::None
    };
    let name = format!("{}, mean of {} runs", program.name, program.runs);
    Figure::new(name, as_f64(program.nanoseconds) / as_f64(program.runs), "ns", target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_has_the_target_of_its_kind() {
        let target = |name: &str| figure(&RunTime { name: name.to_owned(), runs: 2, nanoseconds: 400 }).target;
        assert_eq!(target("egress"), Target::AtMost(LIMIT_PACKET_NS));
        assert_eq!(target("read"), Target::AtMost(LIMIT_TOUCH_NS));
        assert_eq!(target("fork"), Target::None);
    }
}
