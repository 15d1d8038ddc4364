//! Spans straight to the bytes of an OTLP request (opentelemetry-proto 1.x; the numbers are those of its `.proto` files).
//!
//! Nothing is built in between, and nothing is allocated per attribute: at 20 000 spans a second that was most of what
//! the exporter did. A message's length stands before it and is known only after it. Of an attribute it is computed
//! first, which is a few additions; room for that of a larger message is left open by a guess, and the message moved by
//! a byte in the rare case that the guess was wrong. The bytes are those of the reference encoder, which the tests use.

use super::groups::{self, SCOPE_VERSION, STATUS_ERROR};
use crate::trace::link::Tie;
use crate::trace::span::{Attribute, Span, SpanId, Status, TraceId, Value};

/// Wire types (Protocol Buffers, "Encoding").
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// Bytes of the length of a span or resource: 128 to 16 383 bytes.
const USUAL_WIDTH: usize = 2;
/// Bytes of the length of a group of spans: 16 KiB to 2 MiB.
const GROUP_WIDTH: usize = 3;

/// A field's tag where it fits into a byte.
const fn tag(field: u8, wire: u8) -> u8 {
    assert!(field < 16);
    field << 3 | wire
}

/// Appends the spans as one `ExportTraceServiceRequest`, which has the bytes of a `TracesData` too.
pub fn write_request<'a>(spans: impl IntoIterator<Item = &'a Span>, out: &mut Vec<u8>) {
    for group in groups::by_resource(spans) {
        out.push(tag(1, BYTES)); // ExportTraceServiceRequest.resource_spans
        nested(GROUP_WIDTH, out, |out| {
            out.push(tag(1, BYTES)); // ResourceSpans.resource
            nested(USUAL_WIDTH, out, |out| attributes(tag(1, BYTES), &group.resource.attributes, out));
            for (scope, spans) in &group.scopes {
                out.push(tag(2, BYTES)); // ResourceSpans.scope_spans
                nested(GROUP_WIDTH, out, |out| {
                    out.push(tag(1, BYTES)); // ScopeSpans.scope
                    nested(1, out, |out| {
                        text(tag(1, BYTES), scope.name(), out);
                        text(tag(2, BYTES), SCOPE_VERSION, out);
                    });
                    for span in spans {
                        out.push(tag(2, BYTES)); // ScopeSpans.spans
                        nested(USUAL_WIDTH, out, |out| write_span(span, out));
                    }
                });
            }
        });
    }
}

/// `opentelemetry.proto.trace.v1.Span`
fn write_span(span: &Span, out: &mut Vec<u8>) {
    ids(span.trace_id, span.span_id, out);
    text(tag(3, BYTES), &span.trace_state, out);
    if let Some(SpanId(parent)) = span.parent {
        out.extend_from_slice(&[tag(4, BYTES), 8]);
        out.extend_from_slice(&parent);
    }
    text(tag(5, BYTES), &span.name, out);
    out.extend_from_slice(&[tag(6, VARINT), span.kind as u8]);
    for (tag, time) in
        [(tag(7, FIXED64), span.start_unix_ns), (tag(8, FIXED64), span.end_unix_ns.max(span.start_unix_ns))]
    {
        if time != 0 {
            fixed64(tag, time, out);
        }
    }
    attributes(tag(9, BYTES), &span.attributes, out);
    for link in span.links() {
        out.push(tag(13, BYTES));
        nested(1, out, |out| write_link(link, out));
    }
    if span.status == Status::Error {
        out.extend_from_slice(&[tag(15, BYTES), 2, tag(3, VARINT), STATUS_ERROR]); // Status.code
    }
    let flags = groups::flags(span);
    if flags != 0 {
        out.extend_from_slice(&[FLAGS_TAG[0], FLAGS_TAG[1]]);
        out.extend_from_slice(&flags.to_le_bytes());
    }
}

/// The tag of `Span.flags`, field 16, as a varint of two bytes.
const FLAGS_TAG: [u8; 2] = [0x80 | FIXED32, 16 << 3 >> 7];

/// `opentelemetry.proto.trace.v1.Span.Link`
fn write_link(link: &Tie, out: &mut Vec<u8>) {
    ids(link.trace_id, link.span_id, out);
    attributes(tag(4, BYTES), &link.attributes(), out);
}

/// Fields 1 and 2 of a span and of a link.
fn ids(TraceId(trace): TraceId, SpanId(span): SpanId, out: &mut Vec<u8>) {
    let mut bytes = [0; 28];
    bytes[..2].copy_from_slice(&[tag(1, BYTES), 16]);
    bytes[2..18].copy_from_slice(&trace);
    bytes[18..20].copy_from_slice(&[tag(2, BYTES), 8]);
    bytes[20..].copy_from_slice(&span);
    out.extend_from_slice(&bytes);
}

fn attributes(tag: u8, attributes: &[Attribute], out: &mut Vec<u8>) {
    for attribute in attributes {
        key_value(tag, attribute, out);
    }
}

/// `opentelemetry.proto.common.v1.KeyValue`. A number that is not finite is left out: OTLP/JSON has no word for it, and
/// no receiver can use it.
fn key_value(field: u8, Attribute { key, value }: &Attribute, out: &mut Vec<u8>) {
    if matches!(value, Value::Double(number) if !number.is_finite()) {
        return;
    }
    let value_len = value_len(value);
    let key_len = if key.is_empty() { 0 } else { field_len(key.len()) };
    let len = key_len + field_len(value_len);
    // Nearly all are so short that their lengths are bytes: four at once are cheaper than one by one.
    let is_short = len < 0x80;
    if is_short && key_len > 0 {
        out.extend_from_slice(&[field, len as u8, tag(1, BYTES), key.len() as u8]);
        out.extend_from_slice(key.as_bytes());
    } else {
        out.push(field);
        varint(len as u64, out);
        text(tag(1, BYTES), key, out);
    }
    if is_short && let Value::Str(value) = value {
        out.extend_from_slice(&[tag(2, BYTES), value_len as u8, tag(1, BYTES), value.len() as u8]);
        out.extend_from_slice(value.as_bytes());
        return;
    }
    out.push(tag(2, BYTES));
    varint(value_len as u64, out);
    match value {
        Value::Str(value) => string_value(value, out),
        Value::Bool(truth) => out.extend_from_slice(&[tag(2, VARINT), u8::from(*truth)]),
        Value::Int(number) => {
            out.push(tag(3, VARINT));
            varint(number.cast_unsigned(), out);
        }
        Value::Double(number) => fixed64(tag(4, FIXED64), number.to_bits(), out),
        Value::Strs(texts) => {
            out.push(tag(5, BYTES));
            varint(array_len(texts) as u64, out);
            for text in &**texts {
                out.push(tag(1, BYTES)); // ArrayValue.values
                varint(field_len(text.len()) as u64, out);
                string_value(text, out);
            }
        }
    }
}

/// Bytes of a value as `opentelemetry.proto.common.v1.AnyValue`.
fn value_len(value: &Value) -> usize {
    match value {
        Value::Str(text) => field_len(text.len()),
        Value::Bool(_) => 2,
        Value::Int(number) => 1 + varint_len(number.cast_unsigned()),
        Value::Double(_) => 1 + 8,
        Value::Strs(texts) => field_len(array_len(texts)),
    }
}

/// Bytes of texts as `opentelemetry.proto.common.v1.ArrayValue`.
fn array_len(texts: &[String]) -> usize {
    texts.iter().map(|text| field_len(field_len(text.len()))).sum()
}

/// `AnyValue.string_value`, which is written even when it is empty: it says which kind of value it is.
fn string_value(value: &str, out: &mut Vec<u8>) {
    out.push(tag(1, BYTES));
    varint(value.len() as u64, out);
    out.extend_from_slice(value.as_bytes());
}

/// A field of text, left out when empty.
fn text(tag: u8, text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() {
        out.push(tag);
        varint(text.len() as u64, out);
        out.extend_from_slice(text.as_bytes());
    }
}

/// A field of eight bytes.
fn fixed64(tag: u8, value: u64, out: &mut Vec<u8>) {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&value.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// Appends a message with its length before it, for which `width` bytes are kept.
fn nested(width: usize, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.resize(at + width, 0);
    write(out);
    let length = out.len() - at - width;
    let needed = varint_len(length as u64);
    if needed != width {
        out.resize(at + width.max(needed) + length, 0);
        out.copy_within(at + width..at + width + length, at + needed);
        out.truncate(at + needed + length);
    }
    let mut rest = length;
    for (position, byte) in out[at..at + needed].iter_mut().enumerate() {
        let more = if position + 1 < needed { 0x80 } else { 0 };
        *byte = (rest & 0x7f) as u8 | more;
        rest >>= 7;
    }
}

#[inline]
fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8); // below 0x80
}

/// Bytes of a varint: one for every seven bits.
#[inline]
const fn varint_len(value: u64) -> usize {
    if value < 0x80 { 1 } else { ((63 - value.leading_zeros()) / 7 + 1) as usize }
}

/// Bytes of a field of so many bytes with its tag and length.
#[inline]
const fn field_len(bytes: usize) -> usize {
    1 + varint_len(bytes as u64) + bytes
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::export::{convert, fixture};

    /// Our bytes must mean what the reference structs mean, and be the same ones.
    fn check(spans: &[Span]) {
        let mut bytes = Vec::new();
        write_request(spans, &mut bytes);
        let expected = ExportTraceServiceRequest { resource_spans: convert::resource_spans(spans.to_vec()) };
        assert_eq!(ExportTraceServiceRequest::decode(&bytes[..]).unwrap(), expected);
        assert!(bytes == expected.encode_to_vec(), "the same meaning in other bytes");
    }

    #[test]
    fn every_kind_of_span_is_what_the_reference_encoder_makes_of_it() {
        for spans in fixture::every_kind() {
            check(&spans);
        }
    }

    #[test]
    fn lengths_are_right_on_both_sides_of_every_width() {
        let curl = fixture::resource("curl");
        for length in (0..300).chain(16_000..16_400).chain([2_097_000, 2_097_152, 2_098_000]) {
            let mut span = fixture::client(1, &curl);
            span.attributes = vec![Attribute::new("a", "x".repeat(length))];
            check(&[span]);
        }
    }

    proptest! {
        #[test]
        fn any_spans_are_what_the_reference_encoder_makes_of_them(spans in fixture::any_spans()) {
            check(&spans);
        }

        #[test]
        fn a_varint_is_as_long_as_it_was_said_to_be(value in any::<u64>(), shift in 0_u32..64) {
            let mut out = Vec::new();
            varint(value >> shift, &mut out);
            prop_assert_eq!(out.len(), varint_len(value >> shift));
            prop_assert_eq!(prost::encoding::decode_varint(&mut &out[..]), Ok(value >> shift));
        }
    }
}
