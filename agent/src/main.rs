//! The `wirespan` binary: reads the command line, hands over to the command, and ends with its exit code.

#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod cli;
#[cfg(target_os = "linux")]
mod exit;
#[cfg(target_os = "linux")]
mod replay;
#[cfg(target_os = "linux")]
mod run;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    use clap::Parser;

    use self::cli::{Cli, Command};

    let cli = Cli::parse();
    start_logging(match &cli.command {
        Command::Run(args) => &args.trace.log.filter,
        Command::Record(args) => &args.trace.log.filter,
        Command::Replay(args) => &args.log.filter,
        Command::Check(args) => &args.log.filter,
    });
    let done = match &cli.command {
        Command::Run(args) => run::run(args),
        Command::Record(args) => run::record(args),
        Command::Replay(args) => replay::replay(args),
        Command::Check(args) => return check::check(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            run::say(&format_args!("wirespan: {failure}"));
            ExitCode::from(&failure)
        }
    }
}

/// Messages go to standard error, without the time: whoever keeps them (journald, a container runtime) adds it.
#[cfg(target_os = "linux")]
fn start_logging(filter: &cli::LogFilter) {
    use std::io::{IsTerminal, stderr};

    let coloured = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter.to_filter())
        .with_writer(stderr)
        .without_time()
        .with_target(false)
        .with_ansi(coloured)
        .init();
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("wirespan: traces Linux machines only; here only its library can be built and tested");
    std::process::ExitCode::from(3)
}
