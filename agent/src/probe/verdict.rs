//! What became of each probe, in words that a person can act on.

use std::fmt;

/// How well a probe works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As intended.
    Active,
    /// In a weaker form; the reason says what is lost.
    Degraded,
    /// The running kernel does not have what it needs.
    Unsupported,
    /// It should work here, and does not.
    Broken,
}

/// What became of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the probe is for.
    pub probe: &'static str,
    /// How well it works.
    pub standing: Standing,
    /// How it is attached, or why it is not and what is lost by that.
    pub reason: String,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Unsupported => "unsupported",
            Self::Broken => "broken",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18} {:<11} {}", self.probe, self.standing, self.reason)
    }
}
