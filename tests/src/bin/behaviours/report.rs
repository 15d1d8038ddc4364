//! What the suite found out, as lines of JSON on standard output.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use wirespan_tests::child::Lines;
use wirespan_tests::watch::Watch;

/// Something that must hold, and how it is shown.
pub(crate) struct Behaviour<S> {
    /// Name of its row in the table.
    pub(crate) name: &'static str,
    /// Fails by a panic.
    pub(crate) shows: fn(&S) -> Outcome,
}

/// How a behaviour that did not fail was found.
pub(crate) enum Outcome {
    /// As it must be.
    Holds,
    /// As it must be; by which of several ways it was shown.
    HoldsBy(String),
    /// It cannot be so here; the agent says it, and why.
    Verdict(String),
}

/// Writes lines.
pub(crate) struct Report {
    panicked: &'static Mutex<String>,
    failed: RefCell<usize>,
}

impl Report {
    /// From now on a panic is remembered instead of printed.
    pub(crate) fn new() -> Self {
        static PANICKED: Mutex<String> = Mutex::new(String::new());
        panic::set_hook(Box::new(|info| {
            let message = info.to_string();
            eprintln!("{message}");
            *PANICKED.lock().unwrap_or_else(PoisonError::into_inner) = message;
        }));
        Self { panicked: &PANICKED, failed: RefCell::new(0) }
    }

    /// Which machine this is.
    pub(crate) fn machine(&self) {
        let uname = rustix::system::uname();
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        line(&json!({
            "release": uname.release().to_string_lossy(),
            "version": uname.version().to_string_lossy(),
            "lockdown": chosen(&text("/sys/kernel/security/lockdown")),
            "cgroups": cgroups(&text("/proc/self/mountinfo")),
        }));
    }

    /// What the agent says of its probes.
    pub(crate) fn probes(&self, err: &Watch<Lines>) {
        let lines = err.read(|err| err.lines.clone());
        for verdict in lines.iter().filter_map(|line| line.strip_prefix("probe: ")) {
            line(&json!({ "probe": verdict }));
        }
    }

    /// Finds out whether something holds.
    pub(crate) fn behaviour(&self, name: &str, shows: impl FnOnce() -> Outcome) {
        let begin = Instant::now();
        eprintln!("==> {name}");
        let outcome = panic::catch_unwind(AssertUnwindSafe(shows));
        let (result, reason) = match outcome {
            Ok(Outcome::Holds) => ("ok", String::new()),
            Ok(Outcome::HoldsBy(way)) => ("ok", way),
            Ok(Outcome::Verdict(why)) => ("verdict", why),
            Err(_) => {
                *self.failed.borrow_mut() += 1;
                ("failed", self.panicked.lock().unwrap_or_else(PoisonError::into_inner).clone())
            }
        };
        let seconds = begin.elapsed().as_secs_f64();
        line(&json!({ "behaviour": name, "result": result, "reason": reason, "seconds": seconds }));
    }

    /// The suite came to its end.
    pub(crate) fn end(&self) {
        line(&json!({ "end": true, "failed": *self.failed.borrow() }));
    }
}

#[allow(clippy::print_stdout, reason = "standard output is the report")]
fn line(value: &Value) {
    println!("{value}");
    // Whoever reads it may end this machine at any time.
    let _ = std::io::stdout().flush();
}

/// The word in brackets, as sysfs marks what is chosen.
fn chosen(modes: &str) -> &str {
    modes.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("unknown", |(mode, _)| mode)
}

/// Which versions of cgroups are mounted.
fn cgroups(mounts: &str) -> &'static str {
    let kinds: Vec<_> = mounts.lines().filter_map(|line| line.split_once(" - ")?.1.split(' ').next()).collect();
    match (kinds.contains(&"cgroup"), kinds.contains(&"cgroup2")) {
        (true, true) => "hybrid",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none",
    }
}
