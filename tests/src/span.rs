//! A received span, whatever way it came, in a form that is easy to compare field by field.

use std::fmt;

use opentelemetry_proto::tonic::trace::v1 as otlp;

use crate::names;

pub use crate::attributes::{Attributes, Value, Want, is};

/// A span as its receiver sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The parent's id; a root has none.
    pub parent: Option<String>,
    /// OTLP's flags: W3C's in the low byte, then `HAS_IS_REMOTE` and `IS_REMOTE`.
    pub flags: u32,
    /// `tracestate`.
    pub trace_state: String,
    /// Its kind.
    pub kind: Kind,
    /// Which layer: the name of the instrumentation scope.
    pub layer: Layer,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub start_ns: u64,
    /// Nanoseconds since 1970.
    pub end_ns: u64,
    /// What is said about it.
    pub attributes: Attributes,
    /// Spans that it refers to.
    pub links: Vec<Link>,
    /// Whether it says that it failed.
    pub failed: bool,
    /// What is said about its process.
    pub resource: Attributes,
}

/// Span kinds that Wirespan makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Neither side of a call.
    Internal,
    /// Answers.
    Server,
    /// Asks.
    Client,
}

/// Which layer a span describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A TCP connection (or a segment of one).
    L4,
    /// A request.
    L7,
}

/// A reference to another span.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Why it is referred to.
    pub attributes: Attributes,
}

impl Span {
    /// All spans of an export request or of a line of the console's JSON.
    pub fn all(data: impl IntoIterator<Item = otlp::ResourceSpans>) -> Result<Vec<Self>, String> {
        let mut spans = Vec::new();
        for of_resource in data {
            let resource = Attributes::read(of_resource.resource.unwrap_or_default().attributes)?;
            for of_scope in of_resource.scope_spans {
                let layer = match of_scope.scope.unwrap_or_default().name.as_str() {
                    "wirespan.l4" => Layer::L4,
                    "wirespan.l7" => Layer::L7,
                    other => return Err(format!("instrumentation scope `{other}` is not ours")),
                };
                for span in of_scope.spans {
                    spans.push(Self::from_otlp(span, layer, resource.clone())?);
                }
            }
        }
        Ok(spans)
    }

    fn from_otlp(span: otlp::Span, layer: Layer, resource: Attributes) -> Result<Self, String> {
        let kind = match span.kind {
            1 => Kind::Internal,
            2 => Kind::Server,
            3 => Kind::Client,
            other => return Err(format!("span kind {other}")),
        };
        let failed = match span.status.map_or(0, |status| status.code) {
            0 => false,
            2 => true,
            other => return Err(format!("status code {other}")),
        };
        let links = span.links.into_iter().map(|link| {
            Ok(Link {
                trace_id: id(&link.trace_id, 16)?,
                span_id: id(&link.span_id, 8)?,
                attributes: Attributes::read(link.attributes)?,
            })
        });
        if span.end_time_unix_nano < span.start_time_unix_nano {
            return Err(format!("span {} ends before it starts", span.name));
        }
        Ok(Self {
            trace_id: id(&span.trace_id, 16)?,
            span_id: id(&span.span_id, 8)?,
            parent: if span.parent_span_id.is_empty() { None } else { Some(id(&span.parent_span_id, 8)?) },
            flags: span.flags,
            trace_state: span.trace_state,
            kind,
            layer,
            name: span.name,
            start_ns: span.start_time_unix_nano,
            end_ns: span.end_time_unix_nano,
            attributes: Attributes::read(span.attributes)?,
            links: links.collect::<Result<_, String>>()?,
            failed,
            resource,
        })
    }

    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.0.get(key)
    }

    /// A text attribute that must be there.
    #[must_use]
    #[track_caller]
    pub fn str(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Value::Str(text)) => text,
            other => panic!("{key} should be text, it is {other:?} on\n{self}"),
        }
    }

    /// An integer attribute that must be there.
    #[must_use]
    #[track_caller]
    pub fn int(&self, key: &str) -> i64 {
        match self.get(key) {
            Some(&Value::Int(number)) => number,
            other => panic!("{key} should be an integer, it is {other:?} on\n{self}"),
        }
    }

    /// A floating-point attribute that must be there.
    #[must_use]
    #[track_caller]
    pub fn double(&self, key: &str) -> f64 {
        match self.get(key) {
            Some(&Value::Double(number)) => number,
            other => panic!("{key} should be a floating-point number, it is {other:?} on\n{self}"),
        }
    }

    /// The process it belongs to, which must be known.
    #[must_use]
    #[track_caller]
    pub fn process(&self) -> u32 {
        let pid = match self.resource.0.get("process.pid") {
            Some(&Value::Int(pid)) => u32::try_from(pid).ok(),
            _ => None,
        };
        pid.unwrap_or_else(|| panic!("no process.pid on the resource of\n{self}"))
    }

    /// Duration, nanoseconds.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }

    /// Path of the request, from `url.path` (server) or `url.full` (client); empty where there is none.
    #[must_use]
    pub fn path(&self) -> &str {
        if let Some(Value::Str(path)) = self.get("url.path") {
            return path;
        }
        let Some(Value::Str(url)) = self.get("url.full") else { return "" };
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let path = rest.find('/').map_or("", |at| &rest[at..]);
        path.split(['?', '#']).next().unwrap_or_default()
    }

    /// Whether the span's connection has this port at either end.
    #[must_use]
    pub fn is_on(&self, port: u16) -> bool {
        ["network.peer.port", "network.local.port", "server.port"]
            .iter()
            .any(|key| self.get(key) == Some(&Value::Int(port.into())))
    }

    /// Whether it is a connection's span, at the end that asks (`Client`) or answers (`Server`).
    #[must_use]
    pub fn is_connection(&self, end: Kind) -> bool {
        let role = if end == Kind::Client { "client" } else { "server" };
        self.layer == Layer::L4 && self.get(names::ROLE) == Some(&role.into())
    }

    /// Compares attributes; says all that differ at once.
    #[track_caller]
    pub fn expect<'a>(&self, wanted: impl IntoIterator<Item = (&'a str, Want)>) {
        let wrong = self.attributes.differences(wanted);
        assert!(wrong.is_empty(), "{}\non {self}", wrong.join("\n"));
    }

    /// Compares attributes of its resource; says all that differ at once.
    #[track_caller]
    pub fn expect_resource<'a>(&self, wanted: impl IntoIterator<Item = (&'a str, Want)>) {
        let wrong = self.resource.differences(wanted);
        assert!(wrong.is_empty(), "{}\non the resource of {self}", wrong.join("\n"));
    }

    /// The link to that span.
    #[must_use]
    #[track_caller]
    pub fn link_to(&self, other: &Self) -> &Link {
        let link = self.links.iter().find(|link| link.span_id == other.span_id && link.trace_id == other.trace_id);
        link.unwrap_or_else(|| panic!("no link to\n{other}\non\n{self}"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent = self.parent.as_deref().unwrap_or("root");
        writeln!(
            f,
            "{:?} {:?} `{}` trace {} span {} parent {parent} flags {:#x}{}, {} us",
            self.layer,
            self.kind,
            self.name,
            self.trace_id,
            self.span_id,
            self.flags,
            if self.failed { " FAILED" } else { "" },
            self.duration_ns() / 1000
        )?;
        writeln!(f, "    {:?}", self.attributes)?;
        for link in &self.links {
            writeln!(f, "    link {} {} {:?}", link.trace_id, link.span_id, link.attributes)?;
        }
        write!(f, "    of {:?}", self.resource)
    }
}

/// An id must have its length and must not be zero.
fn id(bytes: &[u8], len: usize) -> Result<String, String> {
    if bytes.len() != len || bytes.iter().all(|&byte| byte == 0) {
        return Err(format!("bad id {bytes:02x?}: wanted {len} bytes, not all zero"));
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::TracesData;

    use super::*;

    const LINE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"nginx"}}]},
        "scopeSpans":[{"scope":{"name":"wirespan.l7"},"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10",
        "spanId":"0102030405060708","name":"GET","kind":2,"startTimeUnixNano":"1000","endTimeUnixNano":"3000",
        "attributes":[{"key":"http.response.status_code","value":{"intValue":"200"}},
        {"key":"url.path","value":{"stringValue":"/a"}}],"status":{}}]}]}]}"#;

    fn span() -> Span {
        let data: TracesData = serde_json::from_str(LINE).expect("OTLP/JSON");
        Span::all(data.resource_spans).expect("good spans").remove(0)
    }

    #[test]
    fn a_line_of_json_becomes_a_span() {
        let span = span();
        assert_eq!((span.kind, span.layer, span.path(), span.duration_ns()), (Kind::Server, Layer::L7, "/a", 2000));
        span.expect([("http.response.status_code", is(200)), ("error.type", Want::Absent)]);
        span.expect_resource([("service.name", is("nginx"))]);
    }

    #[test]
    fn an_id_of_zeros_is_refused() {
        assert!(id(&[0; 8], 8).is_err() && id(&[1; 7], 8).is_err() && id(&[1; 8], 8).is_ok());
    }
}
