//! One sans-IO parser per protocol: chunks in, exchanges out.
//!
//! A parser never fails and never panics: what it can't understand becomes a count and it waits for the next place
//! where a message may begin. Its state is bounded. A new protocol is one file (or folder) here and one line in
//! [`PROTOCOLS`].

pub mod ask;
pub mod http1;
pub mod tls;

use crate::flow::{At, Chunk, Ending, Nanos, Side};

/// What the first bytes of a connection say about a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// It is this protocol.
    Yes,
    /// It can't be.
    No,
    /// More bytes are needed.
    Unsure,
}

/// A row of the table of protocols.
pub struct Protocol {
    /// `network.protocol.name`.
    pub name: &'static str,
    /// Looks at the first bytes that `Side` sent in a message.
    pub guess: fn(Side, &[u8]) -> Guess,
    /// Makes a parser for a connection; `joined` says that its stream is not known from the beginning.
    pub parser: fn(joined: bool) -> Box<dyn Parser>,
}

/// The protocols we know, in the order in which they are tried.
pub static PROTOCOLS: &[Protocol] = &[http1::PROTOCOL, tls::PROTOCOL];

/// Reads one connection.
pub trait Parser: Send {
    /// Takes the next piece of what `side` sends, and writes what it learned to `out`.
    fn push(&mut self, side: Side, at: At, chunk: Chunk<'_>, out: &mut Vec<Event>);

    /// `side` has sent its FIN.
    fn finished(&mut self, side: Side, time: Nanos, out: &mut Vec<Event>);

    /// The connection is over; ends what is still open.
    fn ended(&mut self, ending: Ending, time: Nanos, out: &mut Vec<Event>);

    /// How much the kernel should go on copying.
    fn appetite(&self) -> Appetite;
}

/// What a parser needs of the rest of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    /// The head of each message.
    Heads {
        /// Of messages that the server sends, so many bytes are enough; 0 where that is not known.
        response_bytes: u16,
    },
    /// Nothing more: counters will do.
    Nothing,
}

/// What a parser learned.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "every other event is an exchange, and the list of events is kept for its memory"
)]
pub enum Event {
    /// The first byte of a request passed. Its exchange has this number and follows once it is over.
    Began {
        /// Counts the exchanges of the connection from 0.
        number: u64,
        /// Where the request begins; `time` is when its first byte passed.
        at: At,
    },
    /// The head of a request is complete: what it asks, and the ids that it carries.
    Asked {
        /// The number of its [`Event::Began`].
        number: u64,
        /// What the head says.
        ask: ask::Ask,
    },
    /// A request and what became of it.
    Exchange(Exchange),
    /// A response to a request that was never seen; it need not be seen either.
    Stray {
        /// When bytes passed that were not seen and may have been the request, if any did.
        asked: Option<Nanos>,
        /// First byte of the response, or the last one if nothing of it was seen.
        answered: Nanos,
    },
    /// The TLS handshake showed something.
    Tls(Box<tls::Handshake>),
    /// Something that is worth a count.
    Oddity(Oddity),
}

/// What went wrong in a stream without ending the parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oddity {
    /// Bytes that are not of this protocol where a message should begin.
    Garbage,
    /// A message head that breaks the protocol's rules.
    Malformed,
    /// Bytes missing where they were needed.
    Hole,
    /// Reading went on at a later message.
    Resynchronised,
    /// More requests open at once than are kept.
    TooManyOpen,
}

/// One request, its response if there was one, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The number of its [`Event::Began`].
    pub number: u64,
    /// First byte of the request: time and stream offset (client side).
    pub began: At,
    /// Last byte of the request, where it was seen.
    pub request_end: Option<Nanos>,
    /// First byte of the (final) response.
    pub response_began: Option<Nanos>,
    /// Last byte of the response, or the FIN where that is what ends it; else when it became clear that there is none.
    pub end: Nanos,
    /// How it ended.
    pub outcome: Outcome,
    /// What is not as sure as it could be.
    pub marks: Marks,
    /// What was said, by protocol.
    pub detail: Detail,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole response was seen.
    Complete,
    /// The connection ended before the response was complete (or before it began).
    Cut(Ending),
    /// The end is not known: bytes are missing, or the parser had to give up on it.
    Unknown,
}

/// What is not as sure as it could be; each becomes an attribute of the span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The head was longer than what is copied of it.
    pub truncated: bool,
    /// The first exchange after a place where the stream was joined or bytes were missing.
    pub resynchronised: bool,
    /// The end time is the last byte seen before the next message began; the end itself was not recognised.
    pub end_estimated: bool,
    /// Framing that could not be told from content may be counted in the sizes of bodies.
    pub body_estimated: bool,
}

/// What was said, by protocol.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// HTTP/1.0 or HTTP/1.1.
    Http(http1::Http),
}
