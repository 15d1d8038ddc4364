//! Spans on their way to the outputs, shared rather than copied: each output has its own view of the same spans.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::trace::span::Span;

/// Some spans. A clone is another view of the same ones.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    spans: Arc<Vec<Span>>,
    range: Range<usize>,
}

impl Batch {
    /// Takes the first `count` spans off, or all of them if there are fewer.
    pub(super) fn split_front(&mut self, count: usize) -> Self {
        let cut = self.range.start + count.min(self.len());
        let front = Self { spans: Arc::clone(&self.spans), range: self.range.start..cut };
        self.range.start = cut;
        front
    }

    /// The first `count` spans alone. They are copied, so that a queue that is nearly full holds what it counts and not
    /// also the spans that it had no room for.
    pub(super) fn only_first(self, count: usize) -> Self {
        if count >= self.len() { self } else { self[..count].to_vec().into() }
    }
}

impl From<Vec<Span>> for Batch {
    fn from(spans: Vec<Span>) -> Self {
        let range = 0..spans.len();
        Self { spans: Arc::new(spans), range }
    }
}

impl Deref for Batch {
    type Target = [Span];

    fn deref(&self) -> &[Span] {
        self.spans.get(self.range.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixture;

    fn names(spans: &[Span]) -> Vec<u8> {
        spans.iter().map(|span| span.trace_id.0[0]).collect()
    }

    #[test]
    fn views_are_of_the_same_spans_and_a_remainder_is_its_own() {
        let curl = fixture::resource("curl");
        let mut batch = Batch::from((0..5).map(|n| fixture::client(n, &curl)).collect::<Vec<_>>());
        let other = batch.clone();
        let front = batch.split_front(2);
        assert_eq!((names(&front), names(&batch)), (vec![0, 1], vec![2, 3, 4]));
        assert!(std::ptr::eq(&front[0], &other[0]), "nothing is copied");
        assert_eq!((names(&batch.split_front(9)), names(&batch)), (vec![2, 3, 4], vec![]));
        drop((front, batch));
        let first = other.clone().only_first(1);
        assert_eq!((names(&first), Arc::strong_count(&other.spans)), (vec![0], 1));
        assert!(std::ptr::eq(&other.clone().only_first(5)[0], &other[0]));
    }
}
