//! Under which conditions a model runs.

use clap::ValueEnum;

/// What is special about a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Condition {
    /// Nothing.
    Plain,
    /// The machine's processors have other work: threads do not run when they could, nor in the order in which they were woken.
    Busy,
    /// `traceparent` comes in and is passed on.
    Traceparent,
}

impl Condition {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Busy, Self::Traceparent];

    /// Whether the application passes `traceparent` on.
    pub(super) const fn passes(self) -> bool {
        matches!(self, Self::Traceparent)
    }

    /// What it is called in a table, after the pool; `None` where there is nothing to say.
    pub(super) const fn words(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Busy => Some("busy machine"),
            Self::Traceparent => Some("`traceparent` passed on"),
        }
    }

    /// The same in few letters.
    pub(super) const fn short(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Busy => "busy",
            Self::Traceparent => "tp",
        }
    }
}
