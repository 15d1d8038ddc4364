//! The `wirespan` binary: reads the command line, hands over to the command, and ends with its exit code.

#[cfg(target_os = "linux")]
mod check;
#[cfg(target_os = "linux")]
mod cli;
#[cfg(target_os = "linux")]
mod configuration;
#[cfg(target_os = "linux")]
mod exit;
#[cfg(target_os = "linux")]
mod notice;
#[cfg(target_os = "linux")]
mod replay;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod settings;

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    use clap::Parser;

    use self::cli::Cli;

    match carry_out(&Cli::parse().command) {
        Ok(code) => code,
        Err(failure) => {
            notice::say(&format_args!("wirespan: {failure}"));
            ExitCode::from(&failure)
        }
    }
}

/// Does what is asked for, with messages as asked for.
#[cfg(target_os = "linux")]
fn carry_out(command: &cli::Command) -> Result<std::process::ExitCode, exit::Failure> {
    use std::process::ExitCode;

    use self::cli::Command;
    use self::settings::Sources;

    match command {
        Command::Run(args) => {
            let sources = Sources::new(args.flags(), args.trace.config.as_deref());
            let settings = sources.load()?;
            start_logging(&settings.filter);
            run::run(sources, settings)?;
        }
        Command::Record(args) => {
            let sources = Sources::new(args.trace.flags(), args.trace.config.as_deref());
            let settings = sources.load()?;
            start_logging(&settings.filter);
            run::record(args, sources, settings)?;
        }
        Command::Replay(args) => {
            start_logging(&args.log.filter.clone().unwrap_or_default());
            replay::replay(args)?;
        }
        Command::Check(args) => {
            start_logging(&args.log.filter.clone().unwrap_or_default());
            return Ok(check::check(args));
        }
        Command::Config(args) => configuration::config(&args.action)?,
    }
    Ok(ExitCode::SUCCESS)
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
