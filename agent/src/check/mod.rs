//! `wirespan check`: what would work here and why not, in one screen.
//!
//! Nothing is predicted that can be tried: the programs are loaded and attached as `run` does it, and detached at once. An
//! agent that runs meanwhile is not disturbed, because each has programs, maps and places in the kernel's lists of its own.

mod host;
mod memory;
mod probes;
mod report;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use wirespan::export::otlp;
use wirespan::k8s;

use self::report::{Item, Report, State};
use crate::cli::{CheckArgs, CheckFormat};
use crate::exit::{self, Failure};
use crate::notice::say;
use crate::run::check_files;
use crate::settings::{Settings, Sources};

/// How long the receiver may take to answer.
const REACH: Duration = Duration::from_secs(5);

/// Tries everything and prints what came of it. The exit code says it in short.
pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let report = examine(args);
    let mut out = io::stdout().lock();
    let written = match args.format {
        CheckFormat::Text => writeln!(out, "{report}"),
        CheckFormat::Json => serde_json::to_writer(&mut out, &report).map_err(io::Error::from).and(writeln!(out)),
    };
    match written.and_then(|()| out.flush()) {
        Ok(()) => ExitCode::from(report.result().exit_code()),
        Err(error) => {
            let failure = Failure::Output(format!("standard output failed: {error}"));
            say(&format_args!("wirespan: {failure}"));
            ExitCode::from(exit::OUTPUT_FAILED)
        }
    }
}

fn examine(args: &CheckArgs) -> Report {
    let attempt = probes::attempt();
    let mut host = vec![host::kernel(), host::lockdown(), host::btf(), host::cgroup(), host::capabilities()];
    host.extend(host::lost());
    host.extend([memory::lock(), memory::limit(), host::clock()]);
    let settings = match Sources::new(Vec::new(), args.config.as_deref()).load() {
        Ok(settings) => settings,
        Err(failure) => {
            let item = Item::new("configuration", State::Missing, failure.to_string());
            return Report::new(host, attempt, vec![item]);
        }
    };
    Report::new(host, attempt, vec![configuration(&settings), exporter(&settings), kubernetes(&settings)])
}

/// `run` refuses to start with files that anybody may change.
fn configuration(settings: &Settings) -> Item {
    match check_files(&settings.resolved) {
        Ok(0) => Item::new("configuration", State::Ok, "no file is named"),
        Ok(1) => Item::new("configuration", State::Ok, "the file that is named is not for everybody to write"),
        Ok(files) => Item::new(
            "configuration",
            State::Ok,
            format!("the {files} files that are named are not for everybody to write"),
        ),
        Err(failure) => Item::new("configuration", State::Missing, failure.to_string()),
    }
}

/// What the exporter can reach.
fn exporter(settings: &Settings) -> Item {
    let config = match &settings.otlp {
        Ok(Some(config)) => config,
        Ok(None) => return Item::new("exporter", State::Ok, "not asked for: OTEL_EXPORTER_OTLP_ENDPOINT is not set"),
        Err(problem) => return Item::new("exporter", State::Missing, problem.to_string()),
    };
    let place = format!("{} by {}", config.shown_endpoint(), config.protocol);
    match otlp::reach(config, REACH) {
        Ok(()) => Item::new("exporter", State::Ok, format!("{place} took an empty request")),
        Err(why) => Item::new("exporter", State::Degraded, format!("{place}: {why}")),
    }
}

/// What the API server lets the agent ask, if it is to be asked.
fn kubernetes(settings: &Settings) -> Item {
    let item = |state, says: String| Item::new("kubernetes", state, says);
    let Some(config) = &settings.kubernetes else {
        let why = match settings.resolved.text("kubernetes.enabled") {
            Some("off") => "kubernetes.enabled is off",
            _ => "there is no service account here, and no kubernetes.kubeconfig",
        };
        return item(State::Ok, format!("not asked for: {why}"));
    };
    let findings = match k8s::check(config) {
        Ok(findings) => findings,
        Err(error) => return item(State::Degraded, error.to_string()),
    };
    let problems: Vec<String> = findings
        .iter()
        .filter_map(|finding| Some(format!("{}: {}", finding.kind, finding.problem.as_deref()?)))
        .collect();
    if problems.is_empty() {
        let kinds: Vec<&str> = findings.iter().map(|finding| finding.kind).collect();
        return item(State::Ok, format!("node {}; may ask for {}", config.node, kinds.join(", ")));
    }
    item(State::Degraded, format!("node {}; {}", config.node, problems.join("; ")))
}
