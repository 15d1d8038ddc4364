//! `cargo xtask run`: builds the agent and becomes it.

use anyhow::{Context, Result};

use crate::command::{become_it, command};
use crate::step::Steps;
use crate::{build, workspace};

/// Builds what is not fresh, then runs the agent with these arguments. Comes back only if it cannot be started.
///
/// Rights and kernel are the agent's own business: it says what it lacks and ends with its documented exit code.
pub(crate) fn run(arguments: &[String], steps: &mut Steps) -> Result<()> {
    build::build(steps)?;
    let mut agent = command(workspace::agent());
    // The user's folder, not the workspace's: arguments may name files.
    agent.current_dir(std::env::current_dir().context("the current folder cannot be read")?);
    agent.arg("run").args(arguments);
    become_it(&mut agent)
}
