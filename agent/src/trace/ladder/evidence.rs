//! What speaks for a parent.

use crate::trace::ancestry::Node;
use crate::trace::link::Method;

/// A parent, by which tier it was found, and how sure that is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// The request that the call was made for.
    pub parent: Node,
    /// The tier.
    pub tier: Method,
    /// 0 to 1: how often such evidence is right.
    pub strength: f64,
}

/// What was decided about a call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decision {
    /// Whose child it is.
    pub parent: Option<Evidence>,
    /// Whose child it may be, where that is not sure enough.
    pub candidate: Option<Evidence>,
    /// The parent was answered before the call was made.
    pub is_background: bool,
}

/// What speaks against a link, as odds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    /// Against this link.
    pub(super) here: f64,
    /// Against those of the next calls of the same request, by what would take them along: the first of them, the second, and so on;
    /// the last number stands for all that are further away, too.
    pub(super) after: [f64; NEXT],
}

/// Calls after one that are told apart by what casts doubt on them.
pub(super) const NEXT: usize = 4;
