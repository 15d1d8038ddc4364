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
        let span = &line["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        insta::assert_snapshot!(serde_json::to_string_pretty(&line).unwrap());
        assert_eq!(span["traceId"], "01".repeat(16));
        assert_eq!(span["parentSpanId"], "ab".repeat(8));
        assert_eq!(span["kind"], 3);
        assert_eq!(span["flags"], 0x301);
        assert_eq!(span["startTimeUnixNano"], "1700000000000000000");
        assert_eq!(span["endTimeUnixNano"], "1700000000001320000");
        assert_eq!(span["status"]["code"], 2);
        assert_eq!(span["attributes"][1]["value"]["intValue"], "9007199254740993");
        assert_eq!(span["attributes"][2]["value"]["doubleValue"], 0.25);
        assert_eq!(span["attributes"][3]["value"]["boolValue"], true);
        assert_eq!(span["attributes"][4]["value"]["arrayValue"]["values"][1]["stringValue"], "y");
        assert_eq!(span["links"][0]["spanId"], "ef".repeat(8));
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
