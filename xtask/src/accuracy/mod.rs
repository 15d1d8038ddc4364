//! `cargo xtask accuracy`: how many links within processes are right, per runtime and number of requests in flight.

mod runtimes;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::accuracy::runtimes::{RUNTIMES, Runtime};
use crate::step::Steps;

/// What to run, and where it is written.
#[derive(Clone, Debug, Args)]
pub(crate) struct Arguments {
    /// Runtimes to run; an unknown name lists them. All of them if none is named.
    #[arg(value_name = "RUNTIME")]
    runtimes: Vec<String>,
    /// Requests in flight, on average.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,4,16,64,256", value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: Vec<u32>,
    /// Connections to the backends that the applications may keep; 0 is as many as they like.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "8,0")]
    pool: Vec<u32>,
    /// How often each level is run.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    /// Requests of each level and repeat.
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    requests: u32,
    /// End a load after so many seconds, whatever is still missing.
    #[arg(long, value_name = "N", default_value_t = 120)]
    seconds: u64,
    /// Print JSON lines to standard output instead of tables.
    #[arg(long)]
    json: bool,
    /// Save a recording of a small load per runtime into this folder, and measure nothing.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

/// Runs the runtimes.
pub(crate) fn accuracy(arguments: &Arguments, _steps: &mut Steps) -> Result<()> {
    let runtimes = selected(&arguments.runtimes)?;
    bail!("{} runtimes", runtimes.len())
}

fn selected(names: &[String]) -> Result<Vec<&'static Runtime>> {
    let known: Vec<_> = RUNTIMES.iter().map(|runtime| runtime.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no runtime `{unknown}`; known: {}", known.join(", "));
    }
    Ok(RUNTIMES.iter().filter(|runtime| names.is_empty() || names.iter().any(|name| name == runtime.name)).collect())
}
