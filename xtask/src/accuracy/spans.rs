//! The agent's spans, as far as links are judged by them: OTLP/JSON, one `TracesData` object per line.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::accuracy::token::{Place, Token};

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT` (opentelemetry-proto 1.x, `Span.SpanKind`).
const KINDS: [(u64, Kind); 2] = [(2, Kind::Server), (3, Kind::Client)];

/// Attributes that hold a path.
const PATHS: [&str; 2] = ["url.path", "url.full"];

/// What kind of span it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request that came into a process.
    Server,
    /// A request that left it.
    Client,
    /// Anything else.
    Other,
}

/// A span.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    /// Its trace, as it is written.
    pub(super) trace: String,
    /// Its parent; 0 if it has none.
    pub(super) parent: u64,
    /// Its kind.
    pub(super) kind: Kind,
    /// The first segment of its path, and its token; none if its path has no token.
    pub(super) place: Option<(String, Token)>,
    /// How its parent was found, and how sure that is.
    pub(super) link: Option<(String, f64)>,
}

/// All spans of an agent by their ids.
pub(super) type Spans = HashMap<u64, Span>;

/// Reads what an agent printed.
pub(super) fn read(lines: &str) -> Result<Spans> {
    let mut spans = Spans::new();
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let object: Value = serde_json::from_str(line).context("the agent printed a line that is no JSON")?;
        let resources = items(&object, "resourceSpans");
        for span in resources.flat_map(|resource| items(resource, "scopeSpans")).flat_map(|scope| items(scope, "spans"))
        {
            let (id, span) =
                read_span(span).with_context(|| format!("the agent printed a span without an id: {span}"))?;
            spans.insert(id, span);
        }
    }
    Ok(spans)
}

fn read_span(span: &Value) -> Option<(u64, Span)> {
    let id = |name: &str| span.get(name)?.as_str().and_then(|text| u64::from_str_radix(text, 16).ok());
    let number = span.get("kind")?.as_u64()?;
    let text = |name: &str| attribute(span, name)?.get("stringValue")?.as_str();
    let place = PATHS.iter().find_map(|name| text(name)).and_then(Place::read);
    let method = text("wirespan.link.method");
    let confidence = || attribute(span, "wirespan.link.confidence")?.get("doubleValue")?.as_f64();
    let read = Span {
        trace: span.get("traceId")?.as_str()?.to_owned(),
        parent: id("parentSpanId").unwrap_or(0),
        kind: KINDS.iter().find(|(known, _)| *known == number).map_or(Kind::Other, |(_, kind)| *kind),
        place: place.map(|place| (place.call.to_owned(), place.token)),
        // What says nothing of how sure it is has no place in the calibration.
        link: method.map(|method| (method.to_owned(), confidence().unwrap_or(f64::NAN))),
    };
    Some((id("spanId")?, read))
}

fn attribute<'a>(span: &'a Value, name: &str) -> Option<&'a Value> {
    items(span, "attributes").find(|attribute| attribute.get("key").and_then(Value::as_str) == Some(name))?.get("value")
}

fn items<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.get(name).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_far_as_it_is_of_interest() {
        let line = r#"{"resourceSpans":[{"resource":{},"scopeSpans":[{"scope":{},"spans":[
            {"traceId":"aa","spanId":"00000000000000ff","parentSpanId":"","kind":2,"attributes":[
                {"key":"url.path","value":{"stringValue":"/work/0000000000000007"}}]},
            {"traceId":"aa","spanId":"0000000000000001","parentSpanId":"00000000000000ff","kind":3,"attributes":[
                {"key":"url.full","value":{"stringValue":"http://h:1/a/0000000000000007"}},
                {"key":"wirespan.link.confidence","value":{"doubleValue":0.9}},
                {"key":"wirespan.link.method","value":{"stringValue":"thread"}}]}]}]}]}"#;
        let spans = read(&line.replace('\n', "")).unwrap();
        let server = Span {
            trace: "aa".to_owned(),
            parent: 0,
            kind: Kind::Server,
            place: Some(("work".to_owned(), Token(7))),
            link: None,
        };
        assert_eq!(spans[&255], server);
        let client = Span {
            parent: 255,
            kind: Kind::Client,
            place: Some(("a".to_owned(), Token(7))),
            link: Some(("thread".to_owned(), 0.9)),
            ..server
        };
        assert_eq!(spans[&1], client);
        read("{").unwrap_err();
    }
}
