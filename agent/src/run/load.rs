//! How much time the machine has to spare, and how much of it the agent takes: while there is little, requests are left out.

use std::fs;
use std::io;

use wirespan::flow::Nanos;
use wirespan::flow::fact::Shedding;

/// So often it is looked.
const LOOK_NS: u64 = 250_000_000;
/// A machine with less of its time to spare is busy.
const SPARE: f64 = 0.25;
/// One of them is never left out.
const PARTS: u32 = Shedding::PARTS;
/// So many looks in a row must say that less is to be read,
const LOOKS_FOR_LESS: u32 = 2;
/// or more.
const LOOKS_FOR_MORE: u32 = 4;
/// It is left as it is if the difference would be smaller than this share.
const SLACK: f64 = 0.2;
/// After so many looks other connections are left out.
const LOOKS_PER_ROUND: u32 = 40;

/// Looks at the machine now and then.
pub(crate) struct Load {
    governor: Governor,
    next: Nanos,
    before: Option<Spent>,
    /// Requests that were left out, when it was last said that none are.
    shed_before: u64,
    is_said: bool,
}

/// Time spent since the start, seconds of all CPUs together.
#[derive(Clone, Copy, Debug)]
struct Spent {
    /// By the machine, one way or another.
    all: f64,
    /// Doing nothing.
    idle: f64,
    /// By the agent.
    own: f64,
}

impl Load {
    /// Lets the agent have so much of a busy machine, in per cent.
    pub(crate) fn new(most_percent: u64) -> Self {
        Self {
            governor: Governor::new(most_percent as f64 / 100.0),
            next: Nanos(0),
            before: None,
            shed_before: 0,
            is_said: false,
        }
    }

    /// What is left out from now on, if that is something else.
    pub(crate) fn look(&mut self, now: Nanos) -> Option<Shedding> {
        if now < self.next {
            return None;
        }
        self.next = Nanos(now.0.saturating_add(LOOK_NS));
        // Where it can't be told nothing is left out.
        let spent = Spent::so_far().ok()?;
        let before = self.before.replace(spent)?;
        let all = spent.all - before.all;
        let share = |of: f64| if all > 0.0 { (of / all).clamp(0.0, 1.0) } else { 0.0 };
        self.governor.look(share(spent.idle - before.idle), share(spent.own - before.own))
    }

    /// What there is to say, once so many requests were left out in all.
    pub(crate) fn news(&mut self, shed_requests: u64) -> Option<&'static str> {
        let is_over = self.governor.told.parts == 0;
        if is_over {
            self.shed_before = shed_requests;
        }
        match (self.is_said, is_over) {
            (false, false) if shed_requests > self.shed_before => {
                self.is_said = true;
                Some(
                    "shedding: the machine has no time to spare: of processes with very many requests, those on some connections are \
                     counted only (shed_requests)",
                )
            }
            (true, true) => {
                self.is_said = false;
                Some("shedding: over, all requests are read again")
            }
            _ => None,
        }
    }
}

impl Spent {
    fn so_far() -> io::Result<Self> {
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let (all, idle) = ticks(&fs::read_to_string("/proc/stat")?).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "/proc/stat does not begin with the time of all CPUs")
        })?;
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let own = own.tv_sec as f64 + own.tv_nsec as f64 / 1e9;
        Ok(Self { all: all / ticks_per_second, idle: idle / ticks_per_second, own })
    }
}

/// The time of all CPUs in `/proc/stat`, and how much of it they did nothing, in ticks.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    // user nice system idle iowait irq softirq steal; what guests take is part of the first two.
    let mut fields = [0.0; 8];
    let mut words = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    for field in &mut fields {
        *field = words.next()?.parse().ok()?;
    }
    Some((fields.iter().sum(), fields[3] + fields[4]))
}

/// Decides how much is left out.
#[derive(Debug)]
struct Governor {
    /// Of a busy machine the agent may take so much; of one that is not, what would be idle too.
    most: f64,
    told: Shedding,
    /// Looks in a row that said that less is to be read, or that more is, and how much all of them allow.
    less: (u32, f64),
    more: (u32, f64),
    looks: u32,
}

impl Governor {
    const fn new(most: f64) -> Self {
        Self { most, told: Shedding { parts: 0, round: 0 }, less: (0, 0.0), more: (0, 0.0), looks: 0 }
    }

    /// What is left out from now on, if that is something else. `idle` and `own` are shares of the machine's time.
    fn look(&mut self, idle: f64, own: f64) -> Option<Shedding> {
        let read = PARTS - self.told.parts;
        let allowed = self.most.max(own + idle - SPARE);
        let can_read = if own > 0.0 { f64::from(read) * allowed / own } else { f64::from(PARTS) };
        let is_less = can_read < f64::from(read) * (1.0 - SLACK);
        let is_more = can_read >= (f64::from(read) * (1.0 + SLACK)).max(f64::from(read + 1));
        self.less = if is_less { (self.less.0 + 1, can_read.max(self.less.1)) } else { (0, 0.0) };
        self.more = match self.more {
            _ if !is_more => (0, 0.0),
            (0, _) => (1, can_read),
            (looks, least) => (looks + 1, can_read.min(least)),
        };
        self.looks += 1;
        let mut told = self.told;
        if self.less.0 >= LOOKS_FOR_LESS {
            told.parts = PARTS - (self.less.1 as u32).clamp(1, PARTS);
        } else if self.more.0 >= LOOKS_FOR_MORE {
            // What more costs is a guess.
            told.parts = PARTS - (self.more.1 as u32).clamp(1, PARTS).min(2 * read);
        }
        if self.looks >= LOOKS_PER_ROUND && told.parts > 0 {
            told.round = told.round.wrapping_add(1);
        }
        if told == self.told {
            return None;
        }
        if told.round != self.told.round || self.told.parts == 0 {
            self.looks = 0;
        }
        self.told = told;
        (self.less, self.more) = ((0, 0.0), (0, 0.0));
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many parts are read after so many looks at a machine whose agent takes `cost` when it reads everything.
    fn reads_after(governor: &mut Governor, looks: u32, idle: impl Fn(f64) -> f64, cost: f64) -> u32 {
        for _ in 0..looks {
            let own = cost * f64::from(PARTS - governor.told.parts) / f64::from(PARTS);
            governor.look(idle(own), own);
        }
        PARTS - governor.told.parts
    }

    #[test]
    fn a_busy_machine_gives_no_more_than_is_allowed() {
        let mut governor = Governor::new(0.02);
        let busy = |_| 0.0;
        assert_eq!(reads_after(&mut governor, 1, busy, 0.10), PARTS, "it may be over at once");
        assert_eq!(reads_after(&mut governor, 1, busy, 0.10), 12, "a fifth of it");
        assert_eq!(reads_after(&mut governor, 100, busy, 0.10), 12, "and stays so");
        assert_eq!(reads_after(&mut governor, 100, busy, 0.11), 12, "a little more or less is no reason");
        assert_eq!(reads_after(&mut governor, 100, busy, 0.01), PARTS);
        assert_eq!(reads_after(&mut Governor::new(0.0), 100, busy, 0.10), 1, "one is always read");
    }

    #[test]
    fn what_would_be_idle_may_be_taken() {
        let mut governor = Governor::new(0.02);
        let rest = |own: f64| 0.4 - own;
        assert_eq!(reads_after(&mut governor, 100, rest, 0.10), PARTS, "0.3 are left");
        let rest = |own: f64| 0.32 - own;
        assert_eq!(reads_after(&mut governor, 100, rest, 0.10), 44, "with 0.07 of it a quarter of the machine is left");
        assert_eq!(reads_after(&mut governor, LOOKS_FOR_MORE - 1, |_| 0.9, 0.10), 44);
        assert_eq!(reads_after(&mut governor, 1, |_| 0.9, 0.10), PARTS, "the load is gone");
    }

    #[test]
    fn more_is_read_step_by_step() {
        let mut governor = Governor::new(0.0);
        reads_after(&mut governor, 2, |_| 0.0, 0.2);
        for reads in [2, 4, 8, 16, 32, PARTS] {
            assert_eq!(reads_after(&mut governor, LOOKS_FOR_MORE, |_| 1.0, 0.0), reads);
        }
    }

    #[test]
    fn each_round_leaves_others_out_and_there_is_none_while_all_is_read() {
        let mut governor = Governor::new(0.02);
        reads_after(&mut governor, 10 * LOOKS_PER_ROUND, |_| 1.0, 0.1);
        assert_eq!(governor.told, Shedding::default());
        reads_after(&mut governor, 3, |_| 0.0, 0.1);
        let first = governor.told;
        reads_after(&mut governor, LOOKS_PER_ROUND, |_| 0.0, 0.1);
        assert_eq!(governor.told, Shedding { round: first.round + 1, ..first });
    }

    #[test]
    fn it_is_said_when_something_is_left_out_and_when_nothing_is_any_more() {
        let mut load = Load::new(1);
        assert_eq!(load.news(0), None);
        reads_after(&mut load.governor, 2, |_| 0.0, 0.1);
        assert_eq!(load.news(0), None, "there is nobody with very many requests");
        assert!(load.news(5).is_some_and(|said| said.contains("no time to spare")));
        assert_eq!(load.news(9), None, "once");
        reads_after(&mut load.governor, 100, |_| 0.9, 0.0);
        assert!(load.news(12).is_some_and(|said| said.contains("over")));
        reads_after(&mut load.governor, 2, |_| 0.0, 0.1);
        assert_eq!(load.news(12), None);
        assert!(load.news(13).is_some());
    }

    #[test]
    fn the_kernels_account_is_read() {
        let stat = "cpu  10 1 20 300 5 2 3 4 100 100\ncpu0 1 1 1 1 1 1 1 1 0 0\nintr 1\n";
        assert_eq!(ticks(stat), Some((345.0, 305.0)));
        for other in ["", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3", "cpu  1 2 3 4 5 6 7 x"] {
            assert_eq!(ticks(other), None, "{other}");
        }
        let spent = Spent::so_far().expect("this machine has /proc");
        assert!(spent.all >= spent.idle && spent.own > 0.0, "{spent:?}");
    }
}
