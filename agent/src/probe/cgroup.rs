//! The root of cgroup v2, wherever it is.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// The root of the cgroup v2 hierarchy, open.
#[derive(Debug)]
pub struct Root {
    /// Its directory.
    pub directory: OwnedFd,
    /// Where it is, in words.
    pub place: String,
}

/// Opens the root of cgroup v2: where it is mounted, else by a mount of our own that nobody else sees.
///
/// # Errors
/// If it is not mounted and the kernel refuses to mount it.
pub fn root() -> io::Result<Root> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    if let Some(path) = mounted_root(&mounts) {
        let place = path.display().to_string();
        return Ok(Root { directory: File::open(path)?.into(), place });
    }
    let fs = rustix::mount::fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&fs)?;
    let mount = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let directory =
        rustix::fs::openat(&mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(Root { directory, place: "a private mount".to_owned() })
}

/// Mount point of the whole cgroup v2 hierarchy in the text of `/proc/self/mountinfo` (proc(5)).
fn mounted_root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, fs) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (fs.split(' ').next()? == "cgroup2" && root == "/").then(|| PathBuf::from(unescape(point)))
    })
}

/// Spaces and the like stand as octal escapes in mountinfo.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mounts: &str, expected: Option<&str>) {
        assert_eq!(mounted_root(mounts), expected.map(PathBuf::from));
    }

    #[test]
    fn unified_hierarchy() {
        check("30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n", Some("/sys/fs/cgroup"));
    }

    #[test]
    fn hybrid_hierarchy() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        check(mounts, Some("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_the_root() {
        check("30 23 0:26 /kubepods/pod1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", None);
    }

    #[test]
    fn version_1_only_and_garbage() {
        check("31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\nnonsense\n - \n", None);
    }

    #[test]
    fn a_mount_point_with_a_space() {
        check("30 23 0:26 / /mnt/c\\0402 rw - cgroup2 none rw\n", Some("/mnt/c 2"));
    }
}
