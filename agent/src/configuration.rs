//! `wirespan config`: what may be set, what is set and by whom, and whether a file is good.

use std::io::Write;

use wirespan::config::show;

use crate::cli::{ConfigAction, RunArgs};
use crate::exit::Failure;
use crate::notice::say;
use crate::run::check_files;
use crate::settings::Sources;

/// `wirespan config`.
pub(crate) fn config(action: &ConfigAction) -> Result<(), Failure> {
    let load = |args: &RunArgs| {
        let sources = Sources::new(args.flags(), args.trace.config.as_deref());
        sources.load().map(|settings| (sources, settings))
    };
    match action {
        ConfigAction::Schema => print(&show::schema()),
        ConfigAction::Print(args) => print(&show::yaml(&load(args)?.1.resolved)),
        ConfigAction::Check(args) => {
            let (sources, settings) = load(args)?;
            check_files(&settings.resolved)?;
            settings.otlp.map_err(|problem| Failure::Usage(problem.to_string()))?;
            let name = sources.file().map_or_else(|| "no file".to_owned(), |path| path.display().to_string());
            say(&format_args!("the configuration is good ({name})"));
            Ok(())
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::Output(format!("standard output failed: {error}")))
}
