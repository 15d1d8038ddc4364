//! Memory: what may be locked, and what the control group allows.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::host::kernel_version;
use super::report::{Item, State};

/// What the agent and its maps are held to with 20 000 connections (SPECIFICATION.md), bytes.
const NEEDED_BYTES: u64 = 200 << 20;
/// Maps of kernels before this count as locked memory; those of later ones as memory of the control group.
const COUNTED_BY_CGROUP: (u32, u32) = (5, 11);
/// cgroup v1 shows a number near the largest one where there is no limit.
const NO_LIMIT_BYTES: u64 = 1 << 60;

/// How much memory may be locked.
pub(super) fn lock() -> Item {
    let limit = getrlimit(Resource::Memlock);
    let shown = limit.maximum.map_or_else(|| "no limit".to_owned(), |bytes| format!("{} KiB at most", bytes >> 10));
    let name = "locked memory";
    match (kernel_version(), limit.maximum) {
        (Some(version), _) if version >= COUNTED_BY_CGROUP => {
            Item::new(name, State::Ok, format!("{shown}; since 5.11 maps do not count as such"))
        }
        (_, Some(bytes)) if bytes < NEEDED_BYTES => Item::new(
            name,
            State::Degraded,
            format!(
                "{shown}, and maps count as such: raise it (LimitMEMLOCK=infinity, ulimit -l), or grant CAP_SYS_RESOURCE"
            ),
        ),
        _ => Item::new(name, State::Ok, shown),
    }
}

/// What the control groups that we are in allow.
pub(super) fn limit() -> Item {
    let name = "memory limit";
    let read = |path: &str| fs::read_to_string(path);
    let (Ok(groups), Ok(mounts)) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo")) else {
        return Item::new(name, State::Unknown, "/proc/self/cgroup or mountinfo can't be read: mount /proc");
    };
    let limits = places(&groups, &mounts).into_iter().flat_map(|place| place.files()).filter_map(|file| {
        let bytes: u64 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        (bytes < NO_LIMIT_BYTES).then_some((bytes, file))
    });
    match limits.min() {
        None => Item::new(name, State::Ok, "none"),
        Some((bytes, file)) => {
            let shown = format!("{} MiB ({})", bytes >> 20, file.display());
            if bytes < NEEDED_BYTES {
                let says = format!("{shown}: with many connections up to {} MiB are needed", NEEDED_BYTES >> 20);
                Item::new(name, State::Degraded, says)
            } else {
                Item::new(name, State::Ok, shown)
            }
        }
    }
}

/// A control group that may limit memory.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The group, below that.
    group: PathBuf,
    /// The name of the file with the limit.
    file: &'static str,
}

impl Place {
    /// The limits of the group and of those that it is part of.
    fn files(&self) -> Vec<PathBuf> {
        self.group.ancestors().map(|group| self.mount.join(group).join(self.file)).collect()
    }
}

/// Where our limits are, by the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn places(groups: &str, mounts: &str) -> Vec<Place> {
    let place = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (kind, file) = match controllers {
            "" => ("cgroup2", "memory.max"),
            list if list.split(',').any(|one| one == "memory") => ("cgroup", "memory.limit_in_bytes"),
            _ => return None,
        };
        mounts.lines().find_map(|line| {
            let (mount, fs) = line.split_once(" - ")?;
            let (mut mount, mut fs) = (mount.split(' ').skip(3), fs.split(' '));
            let (root, point) = (mount.next()?, mount.next()?);
            let is_it =
                fs.next()? == kind && (kind == "cgroup2" || fs.nth(1)?.split(',').any(|option| option == "memory"));
            // A container sees a part of the hierarchy; its own group lies at or below its root.
            let group = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
            is_it.then(|| Place { mount: PathBuf::from(point), group: group.to_owned(), file })
        })
    };
    groups.lines().filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(groups: &str, mounts: &str, files: &[&str]) {
        let found: Vec<_> = places(groups, mounts).iter().flat_map(Place::files).collect();
        assert_eq!(found, files.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn limits_are_looked_for_in_the_group_and_all_above_it() {
        check(
            "0::/system.slice/wirespan.service\n",
            "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            &[
                "/sys/fs/cgroup/system.slice/wirespan.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max",
            ],
        );
        check(
            "5:cpu:/\n4:memory:/a\n0::/\n",
            "31 30 0:27 / /cg/cpu rw - cgroup cgroup rw,cpu\n32 30 0:28 / /cg/memory rw - cgroup cgroup rw,memory\n",
            &["/cg/memory/a/memory.limit_in_bytes", "/cg/memory/memory.limit_in_bytes"],
        );
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        check(
            "4:memory:/docker/id/inner\n",
            "32 30 0:28 /docker/id /cg/memory ro - cgroup cgroup rw,memory\n",
            &["/cg/memory/inner/memory.limit_in_bytes", "/cg/memory/memory.limit_in_bytes"],
        );
        check("0::/../other\n", "32 30 0:28 /docker/id /cg ro - cgroup2 cgroup rw\n", &["/cg/memory.max"]);
    }

    #[test]
    fn what_is_not_of_the_known_form_has_no_limit() {
        check("", "", &[]);
        check("nonsense\n0::/\n", "nonsense\n - \n1 2 3 4 5 - cgroup\n", &[]);
    }
}
