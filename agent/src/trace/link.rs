//! How a span was tied to another: every tie says by which evidence it was found, and how sure it is.

use super::span::{Attribute, SpanId, TraceId};

/// The evidence behind a tie: `wirespan.link.method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// The application sent a `traceparent`.
    Traceparent,
    /// The application sent a `b3`.
    B3,
    /// The same well-known id came with the request and left with the call.
    SameId,
    /// A value that looks like an id, of a header that proved to carry ids, came with the request and left with the call.
    LearntId,
    /// The process answers each request on a thread of its own, and that thread made the call, or waited for the one that did.
    Thread,
    /// A goroutine made the call that answers the request, or that one of its children is.
    Goroutine,
    /// What requests of this kind do and when, compared with everything else that was open.
    Alignment,
    /// Both ends of a connection are on this machine: the bytes have the same TCP sequence numbers.
    TcpSeq,
    /// A request was seen on its connection.
    Connection,
    /// A segment of a connection that is reported in segments.
    Segment,
}

impl Method {
    /// As it is exported.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Traceparent => "traceparent",
            Self::B3 => "b3",
            Self::SameId => "same-id",
            Self::LearntId => "learnt-id",
            Self::Thread => "thread",
            Self::Goroutine => "goroutine",
            Self::Alignment => "alignment",
            Self::TcpSeq => "tcp-seq",
            Self::Connection => "connection",
            Self::Segment => "segment",
        }
    }
}

/// A tie to another span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tie {
    /// The trace of the other span.
    pub trace_id: TraceId,
    /// The other span.
    pub span_id: SpanId,
    /// How it was found.
    pub method: Method,
    /// How sure it is: 0 to 1.
    pub confidence: f64,
}

/// How sure we are of what is known rather than inferred.
pub const CERTAIN: f64 = 1.0;

/// Attribute that says how the parent (or, on a link, the other span) was found.
pub const METHOD_KEY: &str = "wirespan.link.method";
/// Attribute that says how sure that is, 0 to 1.
pub const CONFIDENCE_KEY: &str = "wirespan.link.confidence";

impl Tie {
    /// The tie as attributes.
    #[must_use]
    pub fn attributes(&self) -> [Attribute; 2] {
        [Attribute::new(METHOD_KEY, self.method.label()), Attribute::new(CONFIDENCE_KEY, self.confidence)]
    }
}
