//! The root of cgroup v2, wherever it is.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// The root of the cgroup v2 hierarchy, open.
#[derive(Debug)]
pub struct Root {
    /// Its directory.
    pub directory: OwnedFd,
    /// Where it is, in words.
    pub place: String,
    /// Whether it is the root of the machine. In a cgroup namespace it may be that of the namespace: what runs outside is
    /// not below it.
    pub is_whole: bool,
}

/// Every cgroup but the root of the machine has this file (Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files").
const NOT_OF_THE_ROOT: &str = "cgroup.events";

/// Opens the root of cgroup v2: where it is mounted, else by a mount of our own that nobody else sees. That of a namespace
/// is the last resort.
///
/// # Errors
/// If it is not mounted and the kernel refuses to mount it.
pub fn root() -> io::Result<Root> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut mounted = mounted_roots(&mounts).filter_map(|path| Root::open(&path).ok()).collect::<Vec<_>>();
    if let Some(whole) = mounted.iter().position(|root| root.is_whole) {
        return Ok(mounted.swap_remove(whole));
    }
    match (private(), mounted.pop()) {
        (Ok(root), None) => Ok(root),
        (Ok(root), Some(_)) if root.is_whole => Ok(root),
        (_, Some(of_namespace)) => Ok(of_namespace),
        (Err(error), None) => Err(error),
    }
}

impl Root {
    fn open(path: &Path) -> io::Result<Self> {
        Self::new(File::open(path)?.into(), path.display().to_string())
    }

    fn new(directory: OwnedFd, place: String) -> io::Result<Self> {
        let is_whole = match rustix::fs::statat(&directory, NOT_OF_THE_ROOT, AtFlags::empty()) {
            Ok(_) => false,
            Err(rustix::io::Errno::NOENT) => true,
            Err(error) => return Err(error.into()),
        };
        Ok(Self { directory, place, is_whole })
    }
}

/// A mount that nobody else sees.
fn private() -> io::Result<Root> {
    let fs = rustix::mount::fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&fs)?;
    let mount = rustix::mount::fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let directory =
        rustix::fs::openat(&mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Root::new(directory, "a private mount".to_owned())
}

/// Mount points of cgroup v2 in the text of `/proc/self/mountinfo` (proc(5)) that may be of the whole hierarchy: those of its
/// root, which from inside of a namespace looks like `/..`.
fn mounted_roots(mounts: &str) -> impl Iterator<Item = PathBuf> + '_ {
    mounts.lines().filter_map(|line| {
        let (mount, fs) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let is_root = root.split('/').all(|part| part.is_empty() || part == "..");
        (fs.split(' ').next()? == "cgroup2" && is_root).then(|| PathBuf::from(unescape(point)))
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
        assert_eq!(mounted_roots(mounts).collect::<Vec<_>>(), Vec::from_iter(expected.map(PathBuf::from)));
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
    fn the_root_of_the_machine_as_a_namespace_sees_it() {
        check("30 23 0:26 /../../.. /host/cgroup rw - cgroup2 cgroup2 rw\n", Some("/host/cgroup"));
    }

    #[test]
    fn a_directory_with_the_file_of_a_part_is_not_whole() {
        let is_whole = |path: &str| Root::open(Path::new(path)).expect("a directory").is_whole;
        assert!(is_whole("/proc"), "there is no such file");
        let folder = std::env::temp_dir().join(format!("wirespan-cgroup-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(NOT_OF_THE_ROOT), "populated 1\n").expect("a file");
        assert!(!is_whole(&folder.to_string_lossy()));
        std::fs::remove_dir_all(&folder).expect("removed");
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
