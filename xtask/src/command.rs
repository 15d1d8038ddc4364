//! Child processes: found, run, and reported by the command line that failed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Variables that the outer cargo and rustup set for `xtask` and that would bend another cargo to their toolchain or to
/// this package. What a person sets (`RUST_LOG`, `RUST_BACKTRACE`, `CARGO_HOME`, `CARGO_NET_*`, `CARGO_HTTP_*`) stays.
const INHERITED: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUST_RECURSION_COUNT",
];

/// Prefixes of variables like [`INHERITED`].
const INHERITED_PREFIXES: &[&str] = &["CARGO_BIN_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_"];

/// A command that runs in the workspace's folder, free of what the outer cargo left in the environment.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace::root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_inherited) {
            command.env_remove(name);
        }
    }
    if let Some(paths) = env::var_os("LD_LIBRARY_PATH") {
        set_library_path(&mut command, &paths);
    }
    command
}

/// The cargo that runs `xtask`, with the toolchain that the user chose for it.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end, its output where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("`{}` cannot be started", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Replaces this process, so that signals and the exit code are the command's. Comes back only if it cannot be started.
#[cfg(unix)]
pub(crate) fn become_it(command: &mut Command) -> Result<()> {
    let error = std::os::unix::process::CommandExt::exec(command);
    Err(error).with_context(|| format!("`{}` cannot be started", line(command)))
}

#[cfg(not(unix))]
pub(crate) fn become_it(command: &mut Command) -> Result<()> {
    run(command)
}

/// Runs a command to its end and returns what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{}` cannot be started", line(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` printed something that is no text", line(command)))
}

/// Whether a command ends well; what it prints is of no interest.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// The executable of that name in `PATH`, or where Debian keeps those of the superuser.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let superuser = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(superuser).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

/// Whether a file is there and may be executed.
pub(crate) fn is_executable(file: &Path) -> bool {
    let Ok(metadata) = fs::metadata(file) else { return false };
    #[cfg(unix)]
    let may_run = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let may_run = true;
    metadata.is_file() && may_run
}

/// A command as a person would type it, without quotes.
pub(crate) fn line(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

fn is_inherited(name: &str) -> bool {
    INHERITED.contains(&name) || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// `cargo run` puts its own library folders in front: another compiler must not load this one's libraries.
fn set_library_path(command: &mut Command, paths: &OsStr) {
    let of_cargo =
        |folder: &PathBuf| folder.starts_with(workspace::target()) || folder.ends_with("lib") && is_rustup(folder);
    let kept: Vec<_> = env::split_paths(paths).filter(|folder| !of_cargo(folder)).collect();
    match env::join_paths(kept) {
        Ok(paths) if !paths.is_empty() => command.env("LD_LIBRARY_PATH", paths),
        _ => command.env_remove("LD_LIBRARY_PATH"),
    };
}

fn is_rustup(folder: &Path) -> bool {
    folder.components().any(|component| component.as_os_str() == "toolchains")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_outer_cargo_set_does_not_reach_a_child_and_the_users_settings_do() {
        for name in ["RUSTC", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO"] {
            assert!(is_inherited(name), "{name}");
        }
        for name in ["RUST_LOG", "RUST_BACKTRACE", "CARGO_HOME", "CARGO_HTTP_PROXY", "PATH", "RUSTUP_HOME"] {
            assert!(!is_inherited(name), "{name}");
        }
    }

    #[test]
    fn library_folders_of_cargo_go_and_others_stay() {
        let mut command = Command::new("true");
        let deps = workspace::target().join("debug/deps");
        let paths =
            env::join_paths([deps.as_path(), Path::new("/opt/x"), Path::new("/home/u/.rustup/toolchains/s/lib")]);
        set_library_path(&mut command, &paths.unwrap());
        let kept = command.get_envs().find(|(name, _)| *name == "LD_LIBRARY_PATH").and_then(|(_, value)| value);
        assert_eq!(kept, Some(OsStr::new("/opt/x")));
    }

    #[test]
    fn a_command_reads_as_it_would_be_typed() {
        let mut command = Command::new("apt-get");
        command.args(["install", "wrk"]);
        assert_eq!(line(&command), "apt-get install wrk");
    }

    #[test]
    fn a_failure_names_its_command() {
        let error = run(&mut command("no-such-program")).unwrap_err();
        assert!(error.to_string().contains("`no-such-program` cannot be started"), "{error}");
    }
}
