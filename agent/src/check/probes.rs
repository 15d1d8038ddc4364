//! The probes: attached as `run` does it, and detached at once.

use wirespan::probe::{LoadError, Plane, Settings, survey};

use super::report::{Attempt, Item, State};

/// Attaches everything and detaches it.
pub(super) fn attempt() -> Attempt {
    match Plane::load(Settings::default()) {
        // Dropping the plane detaches it.
        Ok(plane) => Attempt { probes: plane.verdicts().iter().map(Item::from).collect(), failed: None },
        Err(error) => {
            let probes = match &error {
                LoadError::NothingWorks { verdicts, .. } => verdicts.iter().map(Item::from).collect(),
                _ => survey::survey().iter().map(foretold).collect(),
            };
            let failed = match error {
                // It holds every verdict, which are in the list.
                LoadError::NothingWorks { .. } => "no packet probe could be attached".to_owned(),
                other => other.to_string(),
            };
            Attempt { probes, failed: Some(failed) }
        }
    }
}

/// What can be told without trying.
fn foretold(hook: &survey::Hook) -> Item {
    match hook.exists {
        Some(true) => Item::new(hook.probe, State::Unknown, format!("not tried; the kernel has {}", hook.event)),
        Some(false) => {
            Item::new(hook.probe, State::Unsupported, format!("the kernel has no {}; {}", hook.event, hook.without))
        }
        None => Item::new(hook.probe, State::Unknown, "not tried"),
    }
}
