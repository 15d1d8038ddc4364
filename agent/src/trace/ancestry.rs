//! Who is whose parent, while that may still change: requests have their span's id from their first byte on, and learn
//! their trace from their ancestors when their span is given away.
//!
//! Bounded: requests that are over are kept for children that come later, the oldest go first.

use std::collections::VecDeque;

use super::span::{SpanId, TraceId};
use crate::slots::{Key, Slots};

/// A request, as one of its ends sees it. Never names another one, also when its own is forgotten.
pub type Node = Key;

/// What is known of a request's parent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Parent {
    /// It has none.
    None,
    /// Not decided yet.
    Undecided,
    /// The application named it: only its trace matters here.
    Told(TraceId),
    /// Another request of this machine.
    Request(Node),
}

/// All requests that are not over, and those that were lately.
#[derive(Debug)]
pub struct Ancestry {
    people: Slots<Person>,
    /// Those that are over, the oldest first.
    over: VecDeque<Node>,
    max_over: usize,
}

#[derive(Clone, Copy, Debug)]
struct Person {
    span_id: SpanId,
    /// Its trace, if nothing else is found out; the final one once its span was given away.
    trace_id: TraceId,
    parent: Parent,
    /// The process that answered it, 0 for unknown.
    answered_by: u32,
}

/// Requests that are over and kept for children that come later, about 50 bytes each.
pub const MAX_OVER: usize = 16_384;
/// Longest line of ancestors that is followed. A call that passes more processes of one machine is cut in two traces.
const MAX_DEPTH: usize = 64;

impl Default for Ancestry {
    fn default() -> Self {
        Self::with_room_for(MAX_OVER)
    }
}

impl Ancestry {
    /// An ancestry that keeps so many requests that are over.
    #[must_use]
    pub const fn with_room_for(max_over: usize) -> Self {
        Self { people: Slots::new(), over: VecDeque::new(), max_over }
    }

    /// A request begins. `trace_id` is its trace unless it has a parent.
    pub fn born(&mut self, span_id: SpanId, trace_id: TraceId) -> Node {
        self.people.insert(Person { span_id, trace_id, parent: Parent::None, answered_by: 0 })
    }

    /// Its parent is known, or known to be undecided.
    pub fn set_parent(&mut self, node: Node, parent: Parent) {
        if let Some(person) = self.people.get_mut(node) {
            person.parent = parent;
        }
    }

    /// A process of this machine received it.
    pub fn set_answered_by(&mut self, node: Node, tgid: u32) {
        if let Some(person) = self.people.get_mut(node).filter(|_| tgid != 0) {
            person.answered_by = tgid;
        }
    }

    /// The process of this machine that received it, 0 for unknown.
    #[must_use]
    pub fn answered_by(&self, node: Node) -> u32 {
        self.people.get(node).map_or(0, |person| person.answered_by)
    }

    /// Its parent as far as it is known; `None` if the request is forgotten.
    #[must_use]
    pub fn parent(&self, node: Node) -> Option<Parent> {
        self.people.get(node).map(|person| person.parent)
    }

    /// The id of its span.
    #[must_use]
    pub fn span_id(&self, node: Node) -> Option<SpanId> {
        self.people.get(node).map(|person| person.span_id)
    }

    /// The first of the request and its ancestors whose parent is not decided.
    #[must_use]
    pub fn undecided(&self, node: Node) -> Option<Node> {
        let mut at = node;
        for _ in 0..MAX_DEPTH {
            match self.parent(at)? {
                Parent::Undecided => return Some(at),
                Parent::Request(parent) => at = parent,
                Parent::None | Parent::Told(_) => return None,
            }
        }
        None
    }

    /// Its trace, by what is known now.
    #[must_use]
    pub fn trace_id(&self, node: Node) -> Option<TraceId> {
        let mut person = self.people.get(node)?;
        for _ in 0..MAX_DEPTH {
            match person.parent {
                Parent::Told(trace_id) => return Some(trace_id),
                Parent::None | Parent::Undecided => break,
                Parent::Request(parent) => match self.people.get(parent) {
                    Some(parent) => person = parent,
                    None => break,
                },
            }
        }
        Some(person.trace_id)
    }

    /// Its span is given away: its trace stays as it is, for its children too.
    pub fn settle(&mut self, node: Node) {
        let Some(trace_id) = self.trace_id(node) else { return };
        if let Some(person) = self.people.get_mut(node) {
            person.trace_id = trace_id;
            person.parent = Parent::None;
        }
        self.over(node);
    }

    /// It is over and needs no ancestors any more.
    pub fn over(&mut self, node: Node) {
        self.over.push_back(node);
        if self.over.len() > self.max_over
            && let Some(oldest) = self.over.pop_front()
        {
            self.people.remove(oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn born(ancestry: &mut Ancestry, id: u8) -> Node {
        ancestry.born(SpanId([id; 8]), TraceId([id; 16]))
    }

    #[test]
    fn a_request_belongs_to_the_trace_of_its_first_ancestor() {
        let mut ancestry = Ancestry::default();
        let nodes: Vec<Node> = (1..=4).map(|id| born(&mut ancestry, id)).collect();
        for pair in nodes.windows(2) {
            ancestry.set_parent(pair[1], Parent::Request(pair[0]));
        }
        assert_eq!(ancestry.trace_id(nodes[3]), Some(TraceId([1; 16])));
        ancestry.set_parent(nodes[1], Parent::Undecided);
        assert_eq!((ancestry.undecided(nodes[3]), ancestry.undecided(nodes[0])), (Some(nodes[1]), None));
        ancestry.set_parent(nodes[0], Parent::Told(TraceId([9; 16])));
        ancestry.set_parent(nodes[1], Parent::Request(nodes[0]));
        assert_eq!(ancestry.trace_id(nodes[3]), Some(TraceId([9; 16])));
    }

    #[test]
    fn what_was_given_away_stays() {
        let mut ancestry = Ancestry::default();
        let (parent, child) = (born(&mut ancestry, 1), born(&mut ancestry, 2));
        ancestry.set_parent(child, Parent::Request(parent));
        ancestry.settle(child);
        ancestry.set_parent(parent, Parent::Told(TraceId([9; 16])));
        assert_eq!(ancestry.trace_id(child), Some(TraceId([1; 16])));
    }

    #[test]
    fn the_oldest_that_are_over_are_forgotten_and_nobody_takes_their_name() {
        let mut ancestry = Ancestry::with_room_for(1);
        let (first, second) = (born(&mut ancestry, 1), born(&mut ancestry, 2));
        ancestry.settle(first);
        assert_eq!(ancestry.span_id(first), Some(SpanId([1; 8])));
        ancestry.settle(second);
        assert_eq!(ancestry.span_id(first), None);
        let third = born(&mut ancestry, 3);
        assert_eq!((ancestry.span_id(first), ancestry.span_id(third)), (None, Some(SpanId([3; 8]))));
    }

    #[test]
    fn a_circle_ends() {
        let mut ancestry = Ancestry::default();
        let (one, other) = (born(&mut ancestry, 1), born(&mut ancestry, 2));
        ancestry.set_parent(one, Parent::Request(other));
        ancestry.set_parent(other, Parent::Request(one));
        assert!(ancestry.trace_id(one).is_some());
        assert_eq!(ancestry.undecided(one), None);
    }
}
