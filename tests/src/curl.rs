//! `curl`, and what it says about its transfer: an opinion to compare spans with.

use serde_json::Value;

use crate::child::Program;

/// What `curl -w '%{json}'` tells.
#[derive(Debug)]
pub struct Transfer {
    /// Its exit code.
    pub code: i32,
    /// Its process id.
    pub pid: u32,
    told: Value,
}

/// Runs curl to the end.
#[must_use]
#[track_caller]
pub fn curl(args: &[&str]) -> Transfer {
    run(Program::new("curl"), args)
}

/// Runs a program that is curl (a copy, or curl in a namespace).
#[must_use]
#[track_caller]
pub fn run(program: Program, args: &[&str]) -> Transfer {
    let child = program.args(["--silent", "--output", "/dev/null", "--write-out", "%{json}", "--max-time", "15"]);
    let child = child.args(args).start();
    let ended = child.wait();
    let told = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("curl {args:?}: {error}: {ended:?}"));
    Transfer { code: ended.code().unwrap_or(-1), pid: child.pid(), told }
}

impl Transfer {
    /// A number it tells, by curl's name.
    #[must_use]
    #[track_caller]
    pub fn number(&self, name: &str) -> i64 {
        self.told[name].as_i64().unwrap_or_else(|| panic!("curl tells no {name}: {}", self.told))
    }

    /// A text it tells, by curl's name.
    #[must_use]
    #[track_caller]
    pub fn told(&self, name: &str) -> &str {
        self.told[name].as_str().unwrap_or_else(|| panic!("curl tells no {name}: {}", self.told))
    }

    /// Seconds that it tells, as nanoseconds.
    #[must_use]
    #[track_caller]
    pub fn nanoseconds(&self, name: &str) -> u64 {
        let seconds = self.told[name].as_f64().unwrap_or_else(|| panic!("curl tells no {name}: {}", self.told));
        (seconds * 1e9) as u64
    }
}
