//! T0: an id that came with a request and leaves with a call.
//!
//! A value says whose call it is only if it came with one request. Names of headers whose values turn out to come with
//! several are no evidence any more.

use std::collections::VecDeque;

use foldhash::HashMap;

use crate::proto::ask::{Token, Trust};
use crate::trace::ancestry::Node;

/// Values remembered per process, about 60 bytes each.
const MAX_VALUES: usize = 2_048;
/// Names of headers remembered per process.
const MAX_NAMES: usize = 64;
/// Of an unknown header so many values must have come, each with one request only, before it is believed.
const PROVEN_VALUES: u32 = 8;
/// One value in so many may come twice (a client that tries again) before a header is believed no more.
const REPEATED_SHARE: u32 = 50;

/// Ids that came with the requests of a process.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    values: HashMap<Token, Origin>,
    order: VecDeque<Token>,
    names: HashMap<u32, Name>,
}

#[derive(Clone, Copy, Debug)]
struct Origin {
    node: Node,
    is_shared: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Name {
    values: u32,
    repeated: u32,
}

impl Tokens {
    /// A request came with this.
    pub(super) fn came(&mut self, token: Token, node: Node) {
        if self.names.len() >= MAX_NAMES && !self.names.contains_key(&token.name) {
            return;
        }
        let name = self.names.entry(token.name).or_default();
        name.values = name.values.saturating_add(1);
        if let Some(origin) = self.values.get_mut(&token) {
            name.repeated = name.repeated.saturating_add(1);
            origin.is_shared |= origin.node != node;
            return;
        }
        self.values.insert(token, Origin { node, is_shared: false });
        self.order.push_back(token);
        if self.order.len() > MAX_VALUES
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
    }

    /// With which request this came, if that is certain.
    #[must_use]
    pub(super) fn origin(&self, token: Token) -> Option<Node> {
        let origin = self.values.get(&token).filter(|origin| !origin.is_shared)?;
        let name = self.names.get(&token.name)?;
        let is_believed = match token.trust {
            Trust::Context | Trust::Known => name.repeated * 2 <= name.values,
            Trust::Learnt => name.values >= PROVEN_VALUES && name.repeated * REPEATED_SHARE <= name.values,
        };
        is_believed.then_some(origin.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots::Slots;

    fn nodes(n: usize) -> Vec<Node> {
        let mut slots = Slots::new();
        (0..n).map(|_| slots.insert(())).collect()
    }

    const fn known(value: u64) -> Token {
        Token { name: 1, value, trust: Trust::Known }
    }

    #[test]
    fn an_id_names_the_request_it_came_with() {
        let (mut tokens, nodes) = (Tokens::default(), nodes(2));
        tokens.came(known(7), nodes[0]);
        tokens.came(known(8), nodes[1]);
        assert_eq!((tokens.origin(known(7)), tokens.origin(known(9))), (Some(nodes[0]), None));
    }

    #[test]
    fn an_id_that_several_share_names_nobody() {
        let (mut tokens, nodes) = (Tokens::default(), nodes(4));
        for (at, &node) in nodes.iter().enumerate() {
            tokens.came(known(if at < 2 { 7 } else { at as u64 }), node);
        }
        assert_eq!((tokens.origin(known(7)), tokens.origin(known(3))), (None, Some(nodes[3])));
    }

    #[test]
    fn a_header_that_never_changes_is_believed_no_more() {
        let (mut tokens, nodes) = (Tokens::default(), nodes(9));
        for &node in &nodes[..8] {
            tokens.came(known(7), node);
        }
        tokens.came(known(8), nodes[8]);
        assert_eq!(tokens.origin(known(8)), None);
    }

    #[test]
    fn an_unknown_header_is_believed_once_its_values_have_proven_to_be_ids() {
        let (mut tokens, nodes) = (Tokens::default(), nodes(PROVEN_VALUES as usize));
        let learnt = |value| Token { name: 2, value, trust: Trust::Learnt };
        for (at, &node) in nodes.iter().enumerate() {
            assert_eq!(tokens.origin(learnt(0)), None);
            tokens.came(learnt(at as u64), node);
        }
        assert_eq!(tokens.origin(learnt(3)), Some(nodes[3]));
        tokens.came(learnt(3), nodes[4]);
        assert_eq!(tokens.origin(learnt(2)), None, "one repetition in nine");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut tokens, nodes) = (Tokens::default(), nodes(1));
        for value in 0..3 * MAX_VALUES as u64 {
            tokens.came(known(value), nodes[0]);
            tokens.came(Token { name: value as u32, value, trust: Trust::Learnt }, nodes[0]);
        }
        assert_eq!((tokens.values.len(), tokens.order.len(), tokens.names.len()), (MAX_VALUES, MAX_VALUES, MAX_NAMES));
        assert_eq!((tokens.origin(known(0)), tokens.origin(known(3 * MAX_VALUES as u64 - 1))), (None, Some(nodes[0])));
    }
}
