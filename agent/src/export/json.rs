//! OTLP/JSON: one `TracesData` object per line (OTLP specification, "JSON Protobuf Encoding").
//!
//! Written straight from the spans. Escapes and numbers are left to serde_json; the fields, their order, and those that are
//! written although they are empty are those of the reference structs, which the tests compare with.

use std::io;

use super::groups::{self, Group, SCOPE_VERSION, STATUS_ERROR};
use crate::trace::link::Tie;
use crate::trace::span::{Attribute, Span, SpanId, Status, Value};

/// Spans in one line at most: a reader that works line by line keeps a bounded buffer (about 1 KiB a span).
pub const MAX_LINE_SPANS: usize = 512;

/// Appends the spans as lines. The same spans give the same bytes.
///
/// # Errors
///
/// Never: a buffer takes everything. The signature is the serialiser's.
pub fn write_lines(spans: &[Span], out: &mut Vec<u8>) -> io::Result<()> {
    for line in spans.chunks(MAX_LINE_SPANS) {
        write_object(line, out)?;
        out.push(b'\n');
    }
    Ok(())
}

/// Appends the spans as one `TracesData` object, which reads as an `ExportTraceServiceRequest` too.
pub(super) fn write_object<'a>(spans: impl IntoIterator<Item = &'a Span>, out: &mut Vec<u8>) -> io::Result<()> {
    raw("{\"resourceSpans\":", out);
    array(&groups::by_resource(spans), out, write_group)?;
    raw("}", out);
    Ok(())
}

fn write_group(group: &Group<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    raw("{\"resource\":{\"attributes\":", out);
    attributes(&group.resource.attributes, out)?;
    raw(",\"droppedAttributesCount\":0,\"entityRefs\":[]},\"scopeSpans\":", out);
    array(&group.scopes, out, |(scope, spans), out| {
        raw("{\"scope\":{\"name\":", out);
        text(scope.name(), out)?;
        raw(",\"version\":", out);
        text(SCOPE_VERSION, out)?;
        raw(",\"attributes\":[],\"droppedAttributesCount\":0},\"spans\":", out);
        array(spans, out, |span, out| write_span(span, out))?;
        raw(",\"schemaUrl\":\"\"}", out);
        Ok(())
    })?;
    raw(",\"schemaUrl\":\"\"}", out);
    Ok(())
}

fn write_span(span: &Span, out: &mut Vec<u8>) -> io::Result<()> {
    raw("{\"traceId\":", out);
    hex(&span.trace_id.0, out);
    raw(",\"spanId\":", out);
    hex(&span.span_id.0, out);
    raw(",\"traceState\":", out);
    text(&span.trace_state, out)?;
    raw(",\"parentSpanId\":", out);
    hex(span.parent.as_ref().map_or(&[], |SpanId(parent)| parent), out);
    raw(",\"flags\":", out);
    number(groups::flags(span).into(), out)?;
    raw(",\"name\":", out);
    text(&span.name, out)?;
    raw(",\"kind\":", out);
    number(span.kind as i64, out)?;
    raw(",\"startTimeUnixNano\":\"", out);
    serde_json::to_writer(&mut *out, &span.start_unix_ns)?;
    raw("\",\"endTimeUnixNano\":\"", out);
    serde_json::to_writer(&mut *out, &span.end_unix_ns.max(span.start_unix_ns))?;
    raw("\",\"attributes\":", out);
    attributes(&span.attributes, out)?;
    raw(",\"droppedAttributesCount\":0,\"events\":[],\"droppedEventsCount\":0,\"links\":", out);
    array(span.links(), out, write_link)?;
    raw(",\"droppedLinksCount\":0,\"status\":", out);
    match span.status {
        Status::Unset => raw("null}", out),
        Status::Error => {
            raw("{\"message\":\"\",\"code\":", out);
            number(STATUS_ERROR.into(), out)?;
            raw("}}", out);
        }
    }
    Ok(())
}

fn write_link(link: &Tie, out: &mut Vec<u8>) -> io::Result<()> {
    raw("{\"traceId\":", out);
    hex(&link.trace_id.0, out);
    raw(",\"spanId\":", out);
    hex(&link.span_id.0, out);
    raw(",\"traceState\":\"\",\"attributes\":", out);
    attributes(&link.attributes(), out)?;
    raw(",\"droppedAttributesCount\":0,\"flags\":0}", out);
    Ok(())
}

/// A number that is not finite is left out: JSON has no word for it.
fn attributes(attributes: &[Attribute], out: &mut Vec<u8>) -> io::Result<()> {
    let sayable = |attribute: &&Attribute| !matches!(attribute.value, Value::Double(number) if !number.is_finite());
    array(attributes.iter().filter(sayable), out, |Attribute { key, value }, out| {
        raw("{\"key\":", out);
        text(key, out)?;
        raw(",\"value\":", out);
        write_value(value, out)?;
        raw("}", out);
        Ok(())
    })
}

fn write_value(value: &Value, out: &mut Vec<u8>) -> io::Result<()> {
    match value {
        Value::Str(value) => return string_value(value, out),
        Value::Int(value) => {
            // A string, because 64 bits are more than a number of JavaScript holds.
            raw("{\"intValue\":\"", out);
            number(*value, out)?;
            raw("\"}", out);
        }
        Value::Double(value) => {
            raw("{\"doubleValue\":", out);
            serde_json::to_writer(&mut *out, value)?;
            raw("}", out);
        }
        Value::Bool(true) => raw("{\"boolValue\":true}", out),
        Value::Bool(false) => raw("{\"boolValue\":false}", out),
        Value::Strs(texts) => {
            raw("{\"arrayValue\":{\"values\":", out);
            array(&**texts, out, |text, out| string_value(text, out))?;
            raw("}}", out);
        }
    }
    Ok(())
}

fn string_value(value: &str, out: &mut Vec<u8>) -> io::Result<()> {
    raw("{\"stringValue\":", out);
    text(value, out)?;
    raw("}", out);
    Ok(())
}

fn array<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    out.push(b'[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(b']');
    Ok(())
}

/// What is JSON already.
fn raw(json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(json.as_bytes());
}

fn text(text: &str, out: &mut Vec<u8>) -> io::Result<()> {
    // Nearly every text can stay as it is. To look at all bytes without stopping takes many at a time.
    if text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\')) {
        return Ok(serde_json::to_writer(out, text)?);
    }
    out.push(b'"');
    raw(text, out);
    out.push(b'"');
    Ok(())
}

fn number(number: i64, out: &mut Vec<u8>) -> io::Result<()> {
    Ok(serde_json::to_writer(out, &number)?)
}

/// Bytes as OTLP/JSON has its ids: in hexadecimal, lower case.
fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::TracesData;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::export::{convert, fixture};
    use crate::trace::link::Method;
    use crate::trace::span::TraceId;

    /// Our text must be the one that the reference structs give.
    fn check(spans: &[Span]) {
        let mut out = Vec::new();
        write_object(spans, &mut out).unwrap();
        let reference = TracesData { resource_spans: convert::resource_spans(spans.to_vec()) };
        assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&reference).unwrap());
    }

    #[test]
    fn every_kind_of_span_is_what_the_reference_structs_make_of_it() {
        for spans in fixture::every_kind() {
            check(&spans);
        }
    }

    proptest! {
        #[test]
        fn any_spans_are_what_the_reference_structs_make_of_them(spans in fixture::any_spans()) {
            check(&spans);
        }
    }

    #[test]
    fn every_field_is_written_as_otlp_json_asks() {
        let mut span = fixture::client(1, &fixture::resource("curl"));
        span.parent = Some(SpanId([0xab; 8]));
        span.parent_is_remote = true;
        span.trace_state = "ot=th:8".to_owned();
        span.status = Status::Error;
        span.attributes = vec![
            Attribute::new("text", "a\"b"),
            Attribute::new("int", 9_007_199_254_740_993),
            Attribute::new("double", 0.25),
            Attribute::new("bool", true),
            Attribute { key: "texts".into(), value: Value::Strs(["x".to_owned(), "y".to_owned()].into()) },
        ];
        span.links[0] = Some(Tie {
            trace_id: TraceId([0xcd; 16]),
            span_id: SpanId([0xef; 8]),
            method: Method::Connection,
            confidence: 1.0,
        });
        let mut out = Vec::new();
        write_lines(&[span], &mut out).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let attribute = |key: &str, value: serde_json::Value| json!({ "key": key, "value": value });
        let expected = json!({
            "traceId": "01010101010101010101010101010101",
            "spanId": "0101000000000001",
            "parentSpanId": "abababababababab",
            "traceState": "ot=th:8",
            "flags": 0x301,
            "name": "GET",
            "kind": 3,
            "startTimeUnixNano": "1700000000000000000",
            "endTimeUnixNano": "1700000000001320000",
            "attributes": [
                attribute("text", json!({ "stringValue": "a\"b" })),
                attribute("int", json!({ "intValue": "9007199254740993" })),
                attribute("double", json!({ "doubleValue": 0.25 })),
                attribute("bool", json!({ "boolValue": true })),
                attribute("texts", json!({ "arrayValue": { "values": [{ "stringValue": "x" }, { "stringValue": "y" }] } })),
            ],
            "droppedAttributesCount": 0,
            "events": [],
            "droppedEventsCount": 0,
            "links": [{
                "traceId": "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd",
                "spanId": "efefefefefefefef",
                "traceState": "",
                "attributes": [
                    attribute("wirespan.link.method", json!({ "stringValue": "connection" })),
                    attribute("wirespan.link.confidence", json!({ "doubleValue": 1.0 })),
                ],
                "droppedAttributesCount": 0,
                "flags": 0,
            }],
            "droppedLinksCount": 0,
            "status": { "message": "", "code": 2 },
        });
        let group = &line["resourceSpans"][0];
        assert_eq!(group["scopeSpans"][0]["spans"], json!([expected]));
        assert_eq!(group["scopeSpans"][0]["scope"]["name"], "wirespan.l7");
        assert_eq!(group["resource"]["attributes"][1], attribute("process.pid", json!({ "intValue": "4711" })));
    }

    #[test]
    fn a_line_has_a_bounded_number_of_spans() {
        let curl = fixture::resource("curl");
        let spans: Vec<Span> = (0..=MAX_LINE_SPANS).map(|_| fixture::client(1, &curl)).collect();
        let mut out = Vec::new();
        write_lines(&spans, &mut out).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2);
    }
}
