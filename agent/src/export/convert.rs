//! Spans of our model as the reference structs of OTLP (opentelemetry-proto, `trace/v1/trace.proto`): what the bytes that
//! [`super::protobuf`] and [`super::json`] write must mean. For tests only.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status as OtlpStatus, span};

use crate::trace::link::Tie;
use crate::trace::span::{Attribute, Resource, Scope, Span, Status, Value};

/// `SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK` of trace.proto.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK` of trace.proto.
const IS_REMOTE: u32 = 0x200;
/// `Status.STATUS_CODE_ERROR` of trace.proto.
const STATUS_ERROR: i32 = 2;

/// Groups spans by the resource they share (the same allocation) and by scope, both in the order of first appearance,
/// so that the same spans give the same bytes.
pub(super) fn resource_spans(spans: Vec<Span>) -> Vec<ResourceSpans> {
    let mut groups: Vec<ResourceSpans> = Vec::new();
    // The value keeps each resource alive: a freed one's address could come back as another resource's.
    let mut places: HashMap<*const Resource, (usize, Arc<Resource>)> = HashMap::new();
    for span in spans {
        let (at, _) = *places.entry(Arc::as_ptr(&span.resource)).or_insert_with(|| {
            groups.push(ResourceSpans {
                resource: Some(OtlpResource {
                    attributes: span.resource.attributes.iter().cloned().filter_map(key_value).collect(),
                    ..OtlpResource::default()
                }),
                ..ResourceSpans::default()
            });
            (groups.len() - 1, Arc::clone(&span.resource))
        });
        if let Some(group) = groups.get_mut(at) {
            scope_of(group, span.scope).spans.push(otlp_span(span));
        }
    }
    groups
}

fn scope_of(group: &mut ResourceSpans, scope: Scope) -> &mut ScopeSpans {
    let known = group
        .scope_spans
        .iter()
        .position(|candidate| candidate.scope.as_ref().is_some_and(|known| known.name == scope.name()));
    let at = known.unwrap_or_else(|| {
        group.scope_spans.push(ScopeSpans {
            scope: Some(InstrumentationScope {
                name: scope.name().to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            }),
            ..ScopeSpans::default()
        });
        group.scope_spans.len() - 1
    });
    &mut group.scope_spans[at]
}

fn otlp_span(span: Span) -> OtlpSpan {
    OtlpSpan {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        trace_state: span.trace_state,
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        flags: flags(span.flags, span.parent.is_some(), span.parent_is_remote),
        name: span.name.into_owned(),
        kind: span.kind as i32,
        start_time_unix_nano: span.start_unix_ns,
        end_time_unix_nano: span.end_unix_ns.max(span.start_unix_ns),
        attributes: span.attributes.into_iter().filter_map(key_value).collect(),
        links: span.links.iter().flatten().map(otlp_link).collect(),
        status: match span.status {
            Status::Unset => None,
            Status::Error => Some(OtlpStatus { message: String::new(), code: STATUS_ERROR }),
        },
        ..OtlpSpan::default()
    }
}

/// The W3C flags, and where a parent exists whether it is remote: without one the question has no answer.
fn flags(w3c: u8, has_parent: bool, parent_is_remote: bool) -> u32 {
    let mut flags = u32::from(w3c);
    if has_parent {
        flags |= HAS_IS_REMOTE;
        if parent_is_remote {
            flags |= IS_REMOTE;
        }
    }
    flags
}

fn otlp_link(link: &Tie) -> span::Link {
    span::Link {
        trace_id: link.trace_id.0.to_vec(),
        span_id: link.span_id.0.to_vec(),
        attributes: link.attributes().into_iter().filter_map(key_value).collect(),
        ..span::Link::default()
    }
}

/// `None` for a number that is not finite: JSON has no word for it, and no receiver can use it.
fn key_value(attribute: Attribute) -> Option<KeyValue> {
    let value = match attribute.value {
        Value::Str(text) => any_value::Value::StringValue(text.into_owned()),
        Value::Int(number) => any_value::Value::IntValue(number),
        Value::Double(number) if number.is_finite() => any_value::Value::DoubleValue(number),
        Value::Double(_) => return None,
        Value::Bool(truth) => any_value::Value::BoolValue(truth),
        Value::Strs(texts) => any_value::Value::ArrayValue(ArrayValue {
            values: texts
                .into_iter()
                .map(|text| AnyValue { value: Some(any_value::Value::StringValue(text)) })
                .collect(),
        }),
    };
    Some(KeyValue {
        key: attribute.key.to_string(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixture;
    use crate::trace::span::SpanId;

    #[test]
    fn spans_are_grouped_by_resource_and_scope_in_order_of_appearance() {
        let (curl, nginx) = (fixture::resource("curl"), fixture::resource("nginx"));
        let spans = vec![
            fixture::client(1, &curl),
            fixture::server(1, &nginx),
            fixture::connection(1, &curl),
            fixture::client(2, &curl),
        ];
        let groups = resource_spans(spans);
        let shape: Vec<(usize, Vec<(String, usize)>)> = groups
            .iter()
            .map(|group| {
                let scopes = group
                    .scope_spans
                    .iter()
                    .map(|scope| (scope.scope.clone().unwrap_or_default().name, scope.spans.len()))
                    .collect();
                (group.resource.as_ref().map_or(0, |resource| resource.attributes.len()), scopes)
            })
            .collect();
        assert_eq!(
            shape,
            [
                (2, vec![("wirespan.l7".to_owned(), 2), ("wirespan.l4".to_owned(), 1)]),
                (2, vec![("wirespan.l7".to_owned(), 1)]),
            ]
        );
    }

    #[test]
    fn flags_say_whether_a_parent_is_remote_only_where_there_is_one() {
        assert_eq!(flags(1, false, false), 0x001);
        assert_eq!(flags(1, false, true), 0x001);
        assert_eq!(flags(1, true, false), 0x101);
        assert_eq!(flags(3, true, true), 0x303);
    }

    #[test]
    fn a_number_that_is_not_finite_is_left_out() {
        let mut span = fixture::client(1, &fixture::resource("curl"));
        span.attributes = vec![
            Attribute::new("nan", f64::NAN),
            Attribute::new("infinite", f64::INFINITY),
            Attribute::new("fine", 0.5),
        ];
        let span = otlp_span(span);
        let keys: Vec<_> = span.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        assert_eq!(keys, ["fine"]);
    }

    #[test]
    fn a_root_has_an_empty_parent_and_an_end_never_comes_before_its_start() {
        let mut span = fixture::client(1, &fixture::resource("curl"));
        span.end_unix_ns = span.start_unix_ns - 1;
        let root = otlp_span(span.clone());
        assert!(root.parent_span_id.is_empty());
        assert_eq!(root.end_time_unix_nano, root.start_time_unix_nano);
        span.parent = Some(SpanId([7; 8]));
        assert_eq!(otlp_span(span).parent_span_id, [7; 8]);
    }
}
