//! Daemons that outlive this command: started once, found again by their pid and their start time, stopped.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::place::Place;
use crate::command;

/// How often is looked whether something that is waited for is there.
const LOOK: Duration = Duration::from_millis(200);

/// How long a daemon may take to end before it is killed.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How many of its last lines a daemon that failed is shown with.
const TAIL_LINES: usize = 12;

/// A script of bash that closes what this command was started with and becomes the daemon: the file of a lock, say, would be held for
/// as long as that lives.
const BEGIN: &str =
    r#"for file in /proc/self/fd/*; do n=${file##*/}; [ "$n" -gt 2 ] && eval "exec $n<&-"; done; exec "$@""#;

/// A daemon of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Daemon<'a> {
    place: &'a Place,
    name: &'static str,
}

impl<'a> Daemon<'a> {
    /// The one of this name, whether or not it runs.
    pub(crate) const fn new(place: &'a Place, name: &'static str) -> Self {
        Self { place, name }
    }

    /// Starts it in a session of its own, unless it runs.
    pub(crate) fn start(&self, program: &str, arguments: &[String]) -> Result<()> {
        if self.pid().is_some() {
            return Ok(());
        }
        let log = self.place.log(self.name);
        let log = fs::File::options().append(true).create(true).open(&log).context(log.display().to_string())?;
        let program = command::which(program).unwrap_or_else(|| program.into());
        let mut command = Command::new("setsid");
        command.args(["bash", "-c", BEGIN, self.name]).arg(program).args(arguments).current_dir(&self.place.run);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{} cannot be started", self.name))?;
        let (_, begin) = state(child.id()).with_context(|| format!("{} was gone at once", self.name))?;
        let file = self.pid_file();
        fs::write(&file, format!("{} {begin}", child.id())).with_context(|| file.display().to_string())
    }

    /// Its pid, if it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        let (pid, begin) = text.split_once(' ')?;
        let pid = pid.parse().ok()?;
        // A number that another process has got since, or one that nobody has waited for yet, is no daemon.
        state(pid).filter(|(letter, began)| *letter != 'Z' && began == begin).map(|_| pid)
    }

    /// Ends it, if it runs, and returns when it is gone.
    pub(crate) fn stop(&self) -> Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) else { break };
            // It may be gone since.
            let _ = kill_process(pid, signal);
            let begin = Instant::now();
            while self.pid().is_some() && begin.elapsed() < END_LIMIT {
                thread::sleep(LOOK);
            }
        }
        if self.pid().is_some() {
            bail!("{} does not end", self.name);
        }
        // It need not be there.
        let _ = fs::remove_file(self.pid_file());
        Ok(())
    }

    /// Waits until something holds; fails when the time is over or when the daemon ends before.
    pub(crate) fn wait(&self, what: &str, limit: Duration, holds: impl Fn() -> bool) -> Result<()> {
        let begin = Instant::now();
        while !holds() {
            if self.pid().is_none() {
                bail!("{} ended before {what}; its last lines:\n{}", self.name, self.last_lines());
            }
            if begin.elapsed() > limit {
                let seconds = limit.as_secs();
                bail!("{what} did not come within {seconds} s; {}'s last lines:\n{}", self.name, self.last_lines());
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = fs::read(self.place.log(self.name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
        tail.map(|line| format!("    {line}\n")).collect()
    }

    fn pid_file(&self) -> PathBuf {
        self.place.run.join("pid").join(self.name)
    }
}

/// State and start time of a process.
fn state(pid: u32) -> Option<(char, String)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(stat: &str) -> Option<(char, String)> {
    // The name may hold anything, also parentheses: the fields that follow it do not.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // `proc_pid_stat(5)`: the state is field 3, the start time field 22.
    Some((state, fields.nth(22 - 3 - 1)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_start_time_are_read_behind_a_strange_name() {
        let stat = "7 (a) R b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 100";
        assert_eq!(parse_stat(stat), Some(('S', "4711".to_owned())));
        assert_eq!(parse_stat("7 (x) S 1"), None);
    }

    #[test]
    fn a_pid_that_another_process_has_got_is_not_the_daemons() {
        let run = std::env::temp_dir().join(format!("wirespan-xtask-daemon-{}", std::process::id()));
        let place = Place { run: run.clone() };
        fs::create_dir_all(run.join("pid")).unwrap();
        let own = std::process::id();
        let (_, begin) = state(own).unwrap();
        let daemon = Daemon::new(&place, "x");
        fs::write(daemon.pid_file(), format!("{own} {begin}")).unwrap();
        assert_eq!(daemon.pid(), Some(own));
        fs::write(daemon.pid_file(), format!("{own} {begin}1")).unwrap();
        assert_eq!(daemon.pid(), None);
        fs::remove_dir_all(run).unwrap();
    }

    #[test]
    fn a_daemon_holds_nothing_of_whoever_started_it() {
        let run = std::env::temp_dir().join(format!("wirespan-xtask-holds-{}", std::process::id()));
        let place = Place { run: run.clone() };
        for folder in ["pid", "log"] {
            fs::create_dir_all(run.join(folder)).unwrap();
        }
        let lock = fs::File::create(run.join("lock")).unwrap();
        rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).unwrap();
        let daemon = Daemon::new(&place, "x");
        daemon.start("sleep", &["60".to_owned()]).unwrap();
        let process = PathBuf::from(format!("/proc/{}", daemon.pid().unwrap()));
        let is_sleep = || fs::read_to_string(process.join("comm")).is_ok_and(|name| name == "sleep\n");
        daemon.wait("it slept", END_LIMIT, is_sleep).unwrap();
        let mut held: Vec<_> =
            fs::read_dir(process.join("fd")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        held.sort();
        daemon.stop().unwrap();
        fs::remove_dir_all(run).unwrap();
        assert_eq!(held, ["0", "1", "2"]);
    }
}
