//! Files that decide what the agent does: nobody but their owner and group may change them.
//!
//! The agent sees the traffic of everybody. Whoever can write to a file that says where spans go, or whom to trust at the
//! other end, would have it send them there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// Everybody may write.
const WRITABLE_BY_ALL: u32 = 0o002;
/// In such a directory only the owner of a file may replace it.
const STICKY: u32 = 0o1000;
/// How many symbolic links are followed, as in the kernel (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A file that can't be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// Anybody may change it.
    #[error(
        "{setting} names {}, but {} can be written by everybody (mode {mode:04o}): take that right away, with `chmod o-w {}`",
        path.display(), culprit.display(), culprit.display()
    )]
    WritableByAll {
        /// The option or environment variable.
        setting: String,
        /// The file that it names.
        path: PathBuf,
        /// The file or the directory that gives it away.
        culprit: PathBuf,
        /// The rights of that.
        mode: u32,
    },
    /// It can't be looked at.
    #[error("{setting} names {}, which cannot be looked at: {source}", path.display())]
    Unknown {
        /// The option or environment variable.
        setting: String,
        /// The file that it names.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Fails if anybody may change the file that a setting names: the file itself, a directory on the way to it, or a symbolic
/// link's target.
///
/// # Errors
///
/// If so, or if it can't be looked at.
pub fn check(setting: &str, path: &Path) -> Result<(), Untrusted> {
    let unknown = |source| Untrusted::Unknown { setting: setting.to_owned(), path: path.to_owned(), source };
    match culprit(path).map_err(unknown)? {
        None => Ok(()),
        Some((culprit, mode)) => {
            Err(Untrusted::WritableByAll { setting: setting.to_owned(), path: path.to_owned(), culprit, mode })
        }
    }
}

/// The first thing on the way to the file, or the file, that everybody may write, and its rights.
fn culprit(path: &Path) -> io::Result<Option<(PathBuf, u32)>> {
    let mut reached = PathBuf::new();
    // Parts that are still to be walked, the next one last.
    let mut ahead = parts(&std::path::absolute(path)?);
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part == Component::ParentDir.as_os_str() {
            reached.pop();
            continue;
        }
        let here = reached.join(&part);
        let status = fs::symlink_metadata(&here)?;
        if status.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(rustix::io::Errno::LOOP.into());
            }
            // An absolute target takes the place of what was reached.
            ahead.extend(parts(&fs::read_link(&here)?));
            continue;
        }
        let mode = status.permissions().mode() & 0o7777;
        let is_shielded = (status.is_dir() && mode & STICKY != 0) || is_device(&status);
        if mode & WRITABLE_BY_ALL != 0 && !is_shielded && !is_read_only(&here) {
            return Ok(Some((here, mode)));
        }
        reached = here;
    }
    Ok(None)
}

/// The parts of a path, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether it lies on a mount that nobody can write to, as Kubernetes gives a container its ConfigMaps: their directory is for
/// everybody by its mode, and what it is elsewhere on the machine lies in a directory that only root may enter.
fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|mount| mount.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Whoever writes to `/dev/null` changes nothing.
fn is_device(status: &fs::Metadata) -> bool {
    status.file_type().is_char_device()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of our own in the system's directory for such things, which is writable by all and sticky.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("wirespan-trusted-{}-{name}", std::process::id()));
            fs::create_dir_all(path.join("inner")).expect("a temporary directory");
            Self::set(&path, 0o755);
            Self::set(&path.join("inner"), 0o755);
            Self(path)
        }

        fn set(path: &Path, mode: u32) {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, "x").expect("it is ours");
            Self::set(&path, mode);
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_for_its_owner_and_group_is_trusted() {
        let directory = Directory::new("good");
        for mode in [0o400, 0o600, 0o644, 0o664] {
            check("--config", &directory.file("file", mode)).expect("nobody else may write it");
        }
        check("--config", Path::new("/dev/null")).expect("a device");
    }

    #[test]
    fn a_file_for_everybody_is_refused_and_named() {
        let directory = Directory::new("file");
        let file = directory.file("ca.pem", 0o666);
        let error = check("OTEL_EXPORTER_OTLP_CERTIFICATE", &file).expect_err("everybody may write it").to_string();
        for words in ["OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem", "0666", "chmod o-w"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_directory_for_everybody_gives_its_files_away_unless_it_is_sticky() {
        let directory = Directory::new("directory");
        let file = directory.file("inner/file", 0o600);
        Directory::set(&directory.0.join("inner"), 0o777);
        let error = check("--config", &file).expect_err("everybody may replace it").to_string();
        assert!(error.contains("inner can be written by everybody (mode 0777)"), "{error}");
        Directory::set(&directory.0.join("inner"), 0o1777);
        check("--config", &file).expect("only its owner may replace it");
    }

    #[test]
    fn a_link_is_followed() {
        let directory = Directory::new("link");
        let file = directory.file("inner/real", 0o666);
        let link = directory.0.join("link");
        symlink("inner/real", &link).expect("a link");
        let error = check("--config", &link).expect_err("everybody may write the target").to_string();
        assert!(error.contains("inner/real can be written"), "{error}");
        Directory::set(&file, 0o600);
        check("--config", &link).expect("the target is fine");
        Directory::set(&directory.0.join("inner"), 0o777);
        check("--config", &link).expect_err("the target's directory counts, too");
        let elsewhere = directory.file("safe", 0o600);
        symlink(&elsewhere, directory.0.join("inner/again")).expect("a link");
        let twice = directory.0.join("twice");
        symlink("inner/again", &twice).expect("a link");
        check("--config", &twice).expect_err("everybody may replace the second link");
        let around = directory.0.join("around");
        symlink("around", &around).expect("a link");
        let error = check("--config", &around).expect_err("it goes in circles").to_string();
        assert!(error.contains("cannot be looked at"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = check("--config", Path::new("/nowhere/file")).expect_err("it is not there").to_string();
        assert!(error.contains("--config names /nowhere/file, which cannot be looked at"), "{error}");
    }
}
