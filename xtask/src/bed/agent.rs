//! The agent as a child: started, waited for, asked, stopped.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::cpu;
use crate::command::command;
use crate::workspace;

/// How long the agent may take to load its programs and to list old sockets.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A running agent. Ends when dropped.
pub(crate) struct Agent {
    child: Mortal,
    lines: Receiver<String>,
    spans: JoinHandle<String>,
}

/// What an agent left behind.
pub(crate) struct Remains {
    /// Its standard output.
    pub(crate) spans: String,
    /// The account of the kernel's records.
    pub(crate) records: Records,
}

/// `ledger: records: observed N = delivered N + dropped N + in flight N`, and what was dropped where and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) observed: u64,
    /// Dropped for another reason than that nobody wants them.
    pub(crate) lost: u64,
    /// Requests that were left out, so that there are no records of them.
    pub(crate) shed_requests: u64,
}

/// Reasons of the ledger for records that nobody wants: of the agent's own connections, of deselected ones, and of those whose
/// requests are left out.
const UNWANTED: [&str; 3] = ["own", "deselected", "shed"];

/// A child that does not outlive a bench that failed.
struct Mortal(Child);

impl Drop for Mortal {
    fn drop(&mut self) {
        // Both do nothing to a child that has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Agent {
    /// Starts the agent and returns when it traces.
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        Self::start_verb("run", arguments, environment)
    }

    /// Starts an agent that writes a recording, and returns when it sees everything.
    pub(crate) fn record(file: &Path, arguments: &[&str]) -> Result<Self> {
        let file = file.to_str().context("the recording's path is no text")?;
        Self::start_verb("record", &[&[file], arguments].concat(), &[])
    }

    fn start_verb(verb: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let mut agent = command(workspace::agent());
        agent.arg(verb).args(arguments).envs(environment.iter().copied());
        agent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Mortal(agent.spawn().context("the agent cannot be started")?);
        let stderr = child.0.stderr.take().context("the agent's standard error was taken")?;
        let mut stdout = child.0.stdout.take().context("the agent's standard output was taken")?;
        let (send, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| send.send(line))
        });
        let spans = thread::spawn(move || {
            let mut text = String::new();
            // What is no text ends the spans: they are then too few, which is what the figure shows.
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let agent = Self { child, lines, spans };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// Bytes of memory that it holds now.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        cpu::resident_bytes(self.pid())
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn stop(mut self) -> Result<Remains> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::INT).context("the agent cannot be told to end")?;
        let status = self.child.0.wait().context("the agent cannot be waited for")?;
        // The channel ends with the agent's standard error.
        let said: Vec<_> = self.lines.iter().collect();
        if !status.success() {
            bail!("the agent failed ({status}): {}", said.join("\n"));
        }
        let records = records(&said);
        let records = records.with_context(|| format!("the agent printed no ledger: {}", said.join("\n")))?;
        Ok(Remains { spans: self.spans.join().unwrap_or_default(), records })
    }

    fn wait_until_ready(&self) -> Result<()> {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(READY_LIMIT) {
                Ok(line) if line.starts_with("ready:") => return Ok(()),
                Ok(line) => said.push(line),
                Err(error) => bail!("the agent is not ready ({error}); it said:\n{}", said.join("\n")),
            }
        }
    }
}

fn records(said: &[String]) -> Option<Records> {
    let mut lines = said.iter().skip_while(|line| !line.starts_with("ledger: records: "));
    let account = lines.next()?.strip_prefix("ledger: records: observed ")?;
    let number_after = |label: &str| account.split_once(label)?.1.split(' ').next()?.parse::<u64>().ok();
    let unwanted = lines
        .map_while(|line| line.trim_start().strip_prefix("dropped at "))
        .filter_map(|line| line.split_once(", ")?.1.split_once(": "))
        .filter(|(reason, _)| UNWANTED.contains(reason))
        .filter_map(|(_, number)| number.parse::<u64>().ok())
        .sum::<u64>();
    let observed = account.split(' ').next()?.parse().ok()?;
    let shed_requests = said.iter().find_map(|line| line.strip_prefix("ledger: shed_requests: ")?.parse().ok());
    let lost = number_after("dropped ")?.checked_sub(unwanted)?;
    Some(Records { observed, lost, shed_requests: shed_requests.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_wants_is_not_lost() {
        let said = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let lines = said(&[
            "ready: 3 processes",
            "ledger: records: observed 20 = delivered 8 + dropped 12 + in flight 0",
            "    dropped at kernel, ring_full: 3",
            "    dropped at trace, own: 6",
            "    dropped at trace, deselected: 2",
            "    dropped at trace, shed: 1",
            "ledger: spans to console: observed 9 = delivered 8 + dropped 1 + in flight 0",
            "    dropped at trace, own: 1",
            "ledger: shed_requests: 70",
        ]);
        assert_eq!(records(&lines), Some(Records { observed: 20, lost: 3, shed_requests: 70 }));
        assert_eq!(records(&said(&["ledger: garbage: 1"])), None);
    }
}
