//! The machine: kernel, type information, control groups, capabilities, clocks.

use std::fs;

use rustix::thread::CapabilitySet;
use wirespan::probe::{cgroup, survey};
use wirespan::rights::capability::{self, CAPABILITIES, Need};
use wirespan::system;

use super::report::{Item, State};

/// The first kernel with a ring buffer.
const FIRST_KERNEL: (u32, u32) = (5, 8);
/// Clocks that cost a visit to a device, about a microsecond, each time that a record is stamped.
const SLOW_CLOCKS: &[&str] = &["acpi_pm", "hpet", "jiffies", "refined-jiffies"];

/// The running kernel.
pub(super) fn kernel() -> Item {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let shown =
        format!("{} {} {}, {cpus} CPUs for us", text(name.sysname()), text(name.release()), text(name.machine()));
    match kernel_version() {
        None => Item::new("kernel", State::Unknown, format!("{shown}; its version is not of the usual form")),
        Some(version) if version < FIRST_KERNEL => {
            Item::new("kernel", State::Missing, format!("{shown}; 5.8 is the first with a ring buffer"))
        }
        Some(_) => Item::new("kernel", State::Ok, shown),
    }
}

/// What the kernel keeps from root.
pub(super) fn lockdown() -> Item {
    let name = "lockdown";
    match fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(modes) => {
            let mode = modes.split(['[', ']']).nth(1).unwrap_or("none").to_owned();
            let state = if mode == "confidentiality" { State::Missing } else { State::Ok };
            Item::new(name, state, mode)
        }
        Err(error) => Item::new(name, State::Unknown, format!("/sys/kernel/security/lockdown: {error}")),
    }
}

/// The kernel's type information.
pub(super) fn btf() -> Item {
    match survey::fields() {
        Ok(fields) if fields.missing.is_empty() => {
            Item::new("btf", State::Ok, format!("{}, {} KiB, with every field", fields.path, fields.bytes >> 10))
        }
        Ok(fields) => {
            let says = format!("{}: not in this kernel: {}", fields.path, fields.missing.join(", "));
            Item::new("btf", State::Degraded, says)
        }
        Err(error) => Item::new("btf", State::Missing, error.to_string()),
    }
}

/// The root of cgroup v2.
pub(super) fn cgroup() -> Item {
    match cgroup::root() {
        Ok(root) if root.is_whole => Item::new("cgroup2", State::Ok, root.place),
        Ok(root) => Item::new(
            "cgroup2",
            State::Degraded,
            format!("{}: the root of this cgroup namespace only; what runs outside of it is unseen", root.place),
        ),
        Err(error) => Item::new(
            "cgroup2",
            State::Missing,
            format!(
                "not mounted, and a private mount is refused ({error}): mount -t cgroup2 none /sys/fs/cgroup/unified"
            ),
        ),
    }
}

/// The capabilities that are held, of those that there is a use for.
pub(super) fn capabilities() -> Item {
    let held = held();
    let missing = capability::missing(held);
    let names: Vec<_> = CAPABILITIES.iter().filter(|one| capability::covers(held, one)).map(|one| one.name).collect();
    let held = if names.is_empty() { "none held".to_owned() } else { format!("held: {}", names.join(", ")) };
    if missing.is_empty() {
        Item::new("capabilities", State::Ok, held)
    } else {
        Item::new("capabilities", State::Missing, format!("{held}; missing: {}", missing.join(", ")))
    }
}

/// What each helpful capability that is not held would be for.
pub(super) fn lost() -> Vec<Item> {
    let held = held();
    let lost = CAPABILITIES.iter().filter(|one| one.need != Need::Required && !capability::covers(held, one));
    lost.map(|one| {
        let Need::Helpful { without, .. } = one.need else { return Item::new(one.name, State::Missing, one.purpose) };
        Item::new(one.name, State::Degraded, format!("not held: {without}"))
    })
    .collect()
}

/// The clocks: what a time stamp costs, and whether times can be compared with those of other machines.
pub(super) fn clock() -> Item {
    let source = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned());
    let synchronised = if system::clock_is_synchronised() {
        "the time of day is synchronised"
    } else {
        "nothing synchronises the time of day: spans of several machines may be out of step"
    };
    if SLOW_CLOCKS.contains(&source.as_str()) {
        let says = format!("{source}, which is slow: each record costs about 1 µs more; {synchronised}");
        Item::new("clock", State::Degraded, says)
    } else {
        Item::new("clock", State::Ok, format!("{source}; {synchronised}"))
    }
}

/// Major and minor number of the running kernel.
pub(super) fn kernel_version() -> Option<(u32, u32)> {
    version(&rustix::system::uname().release().to_string_lossy())
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn held() -> CapabilitySet {
    capability::held().unwrap_or(CapabilitySet::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_first_two_numbers() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.10.0-28-amd64"), Some((5, 10)));
        assert_eq!(version("6.19-rc3"), Some((6, 19)));
        assert_eq!(version("plan9"), None);
        assert!(kernel_version().is_some_and(|version| version >= (3, 0)));
    }
}
