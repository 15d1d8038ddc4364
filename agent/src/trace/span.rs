//! The model of a span: what every exporter is given.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::key::Key;
use super::link::Tie;
use super::mesh::Mesh;
use super::peers::Question;
use crate::flow::Nanos;
use crate::text::Text;

/// 16 bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// 8 bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// Spans that a span refers to, at most: of a request, its connection and the client's span.
pub const MAX_LINKS: usize = 2;

/// A finished span.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent; a root has none.
    pub parent: Option<SpanId>,
    /// Whether the parent is in another process (its id came over the wire).
    pub parent_is_remote: bool,
    /// W3C trace flags (bit 0 sampled).
    pub flags: u8,
    /// `tracestate` of the context that was adopted, as received; empty if none.
    pub trace_state: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name: low in cardinality.
    pub name: Cow<'static, str>,
    /// Nanoseconds since 1970.
    pub start_unix_ns: u64,
    /// Nanoseconds since 1970; never before the start.
    pub end_unix_ns: u64,
    /// What is said about it.
    pub attributes: Vec<Attribute>,
    /// Spans it refers to, from the front on; in place, because most spans have one.
    pub links: [Option<Tie>; MAX_LINKS],
    /// Whether it failed.
    pub status: Status,
    /// The process it belongs to.
    pub resource: Arc<Resource>,
    /// What it is a span of.
    pub scope: Scope,
    /// What it waits for before it is given away.
    pub awaits: Option<Box<Awaits>>,
}

/// Who a span is of or speaks to is still to be found out.
#[derive(Clone, Debug, PartialEq)]
pub struct Awaits {
    /// The process that it is of.
    pub tgid: u32,
    /// Its birth.
    pub start_ns: u64,
    /// The process at the other end, 0 for unknown.
    pub partner: u32,
    /// Who is at the other end, if that is asked.
    pub question: Option<Question>,
    /// It waits no longer than until then.
    pub until: Nanos,
}

/// OTLP span kinds, with OTLP's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Kind {
    /// Neither side of a call.
    Internal = 1,
    /// Answers.
    Server = 2,
    /// Asks.
    Client = 3,
}

/// Which layer a span describes: the instrumentation scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A TCP connection.
    L4,
    /// A request.
    L7,
}

impl Scope {
    /// Name of the instrumentation scope.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L4 => "wirespan.l4",
            Self::L7 => "wirespan.l7",
        }
    }
}

/// OTLP status codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nothing said.
    #[default]
    Unset,
    /// It failed; `error.type` says how.
    Error,
}

/// A key and a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// By the semantic conventions, or `wirespan.*`.
    pub key: Key,
    /// Of the type that the conventions ask for.
    pub value: Value,
}

/// A span has so many that its list is among the small allocations only if they are small.
const _: () = assert!(size_of::<Attribute>() == 5 * size_of::<usize>());

/// Values of attributes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Str(Text),
    /// Integer.
    Int(i64),
    /// Floating point; finite.
    Double(f64),
    /// Truth.
    Bool(bool),
    /// Several texts.
    Strs(Box<[String]>),
}

/// What a span's process is: one OTLP resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// `service.name`, also among the attributes.
    pub service: String,
    /// What is still to be found out.
    pub lacks: Option<Lack>,
    /// Whether it is a proxy of a mesh.
    pub mesh: Option<Mesh>,
    /// All attributes.
    pub attributes: Vec<Attribute>,
}

/// What is not known of who somebody is, though there must be something to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Its pod: only the uid is known.
    Pod,
    /// Which container of its pod it is in.
    Container,
}

impl Lack {
    /// As it is written.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Container => "container",
        }
    }
}

impl Attribute {
    /// An attribute whose key is known at compile time.
    pub fn new(key: &'static str, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl Span {
    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
    }

    /// Spans it refers to.
    pub fn links(&self) -> impl Iterator<Item = &Tie> {
        self.links.iter().flatten()
    }
}

impl SpanId {
    /// As it is written: 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn text(&self) -> Text {
        Text::new(text_of(&hex::<16>(&self.0)))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Str(text.into())
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text_of(&hex::<32>(&self.0)))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(text_of(&hex::<16>(&self.0)))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lower-case digits of as many bytes as `DIGITS` has room for.
fn hex<const DIGITS: usize>(bytes: &[u8]) -> [u8; DIGITS] {
    const DIGIT: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; DIGITS];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGIT[usize::from(byte >> 4)];
        pair[1] = DIGIT[usize::from(byte & 15)];
    }
    digits
}

/// Digits are ASCII: the check does not fail.
fn text_of(digits: &[u8]) -> &str {
    str::from_utf8(digits).unwrap_or_default()
}
