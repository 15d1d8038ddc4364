//! OTLP/JSON: one `TracesData` object per line (OTLP specification, "JSON Protobuf Encoding").

use std::io;

use opentelemetry_proto::tonic::trace::v1::TracesData;

use super::convert;
use crate::trace::span::Span;

/// Spans in one line at most: a reader that works line by line keeps a bounded buffer (about 1 KiB a span).
pub const MAX_LINE_SPANS: usize = 512;

/// Appends the spans as lines. The same spans give the same bytes.
///
/// # Errors
///
/// Never for spans made by [`convert::resource_spans`]; the signature is the serialiser's.
pub fn write_lines(mut spans: Vec<Span>, out: &mut Vec<u8>) -> io::Result<()> {
    while !spans.is_empty() {
        let rest = spans.split_off(spans.len().min(MAX_LINE_SPANS));
        let line = TracesData { resource_spans: convert::resource_spans(std::mem::replace(&mut spans, rest)) };
        serde_json::to_writer(&mut *out, &line)?;
        out.push(b'\n');
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::export::fixture;
    use crate::trace::span::{Attribute, Link, SpanId, Status, TraceId, Value};

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
            Attribute { key: "texts".into(), value: Value::Strs(vec!["x".to_owned(), "y".to_owned()]) },
        ];
        span.links = vec![Link {
            trace_id: TraceId([0xcd; 16]),
            span_id: SpanId([0xef; 8]),
            attributes: vec![Attribute::new("wirespan.link.method", "connection")],
        }];
        let mut out = Vec::new();
        write_lines(vec![span], &mut out).unwrap();
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
                "attributes": [attribute("wirespan.link.method", json!({ "stringValue": "connection" }))],
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
        let spans = (0..=MAX_LINE_SPANS).map(|_| fixture::client(1, &curl)).collect();
        let mut out = Vec::new();
        write_lines(spans, &mut out).unwrap();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 2);
    }
}
