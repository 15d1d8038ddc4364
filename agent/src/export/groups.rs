//! Spans as OTLP wants them: by resource, and within a resource by scope.

use std::sync::Arc;

use crate::trace::span::{Resource, Scope, Span};

/// Version of both instrumentation scopes.
pub(super) const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Spans that share a resource (the same allocation).
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) resource: &'a Arc<Resource>,
    pub(super) scopes: Vec<(Scope, Vec<&'a Span>)>,
}

/// Groups spans. Groups and scopes come in the order of their first appearance, so that the same spans give the same
/// bytes. A group is looked for from the first on: a batch is of few processes, and of 2 048 spans at most.
pub(super) fn by_resource<'a>(spans: impl IntoIterator<Item = &'a Span>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for span in spans {
        let at = groups.iter().position(|group| Arc::ptr_eq(group.resource, &span.resource)).unwrap_or_else(|| {
            groups.push(Group { resource: &span.resource, scopes: Vec::new() });
            groups.len() - 1
        });
        let scopes = &mut groups[at].scopes;
        let at = scopes.iter().position(|(scope, _)| *scope == span.scope).unwrap_or_else(|| {
            scopes.push((span.scope, Vec::new()));
            scopes.len() - 1
        });
        scopes[at].1.push(span);
    }
    groups
}

/// `Span.flags` of OTLP: the W3C flags, and where a parent exists whether it is remote. Without one the question has no
/// answer.
pub(super) fn flags(span: &Span) -> u32 {
    /// `SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` of trace.proto.
    const HAS_IS_REMOTE: u32 = 0x100;
    /// `SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK` of trace.proto.
    const IS_REMOTE: u32 = 0x200;
    let remote = match (span.parent, span.parent_is_remote) {
        (None, _) => 0,
        (Some(_), false) => HAS_IS_REMOTE,
        (Some(_), true) => HAS_IS_REMOTE | IS_REMOTE,
    };
    u32::from(span.flags) | remote
}

/// `Status.STATUS_CODE_ERROR` of trace.proto.
pub(super) const STATUS_ERROR: u8 = 2;
