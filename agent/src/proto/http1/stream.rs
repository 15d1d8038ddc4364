//! One direction of a connection, cut into messages: heads, bodies, and what is neither.

use std::borrow::Cow;
use std::mem;

use super::HEAD_BYTES;
use super::chunked::{Chunked, Next, Progress, Tail};
use super::framing::Framing;
use super::guess::guess;
use super::head::EndScan;
use crate::flow::{At, Chunk, Nanos, Side};
use crate::proto::Guess;

/// Reads one direction. Whoever reads calls [`Stream::step`] until a chunk is used up, and [`Stream::enter`] after each
/// head.
pub(super) struct Stream {
    side: Side,
    state: State,
    /// Beginning of a head whose end was not in the same chunk. Empty between heads: an idle connection holds nothing.
    buffer: Vec<u8>,
    /// When the last byte passed.
    pub(super) last: Option<Nanos>,
    /// When the last byte passed that may have belonged to a message that was never seen.
    pub(super) lost: Option<Nanos>,
}

/// What a step found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The first byte of a message.
    Began(At),
    /// A head. [`Stream::enter`] must be called next.
    Head(Cow<'a, [u8]>, Cut),
    /// Some of a body.
    Body {
        /// Its bytes, without framing.
        bytes: u64,
        /// Framing may be counted in, because it could not be told from content.
        estimated: bool,
        /// Whether that was the last of the message.
        over: bool,
    },
    /// The message was of unknown end, and the next one begins here.
    Superseded,
    /// After so many bytes of content the framing of a body breaks the rules. What follows belongs to it until the next
    /// message is recognised.
    Broken(u64),
    /// What began is no message of this protocol; the chunk is skipped.
    Garbage,
    /// Bytes are missing where a message should begin.
    Hole,
}

/// Why a head is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Its empty line is there.
    Whole,
    /// It is too long; the rest of it is skipped.
    TooLong,
    /// What comes next is missing.
    Gap,
}

#[derive(Debug)]
enum State {
    /// Between messages, or in a head.
    Head(Head),
    /// In the rest of a head that is too long.
    Rest(EndScan, Framing),
    /// In a body of known framing.
    Body(Body),
    /// In a message of which the framing is not known (any more).
    Unframed {
        /// So many bytes can still be body.
        left: u64,
        /// For a chunked body: what may show its end.
        tail: Option<Tail>,
    },
    /// In bytes of unknown meaning, until a message is recognised at the beginning of a chunk.
    Adrift,
    /// Not this protocol any more.
    Over,
}

#[derive(Debug, Default)]
struct Head {
    /// Where it began.
    began: Option<At>,
    /// [`Part::Began`] was returned.
    announced: bool,
    /// [`guess`] was sure.
    recognised: bool,
    /// Begun after bytes of unknown meaning: if it is no message, nothing has happened.
    tentative: bool,
    scan: EndScan,
    /// The buffer holds as much as will be read.
    ready: Option<Cut>,
}

#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Chunked, bool),
    UntilClose,
}

impl Stream {
    /// `joined`: the next byte may be anywhere in a message.
    pub(super) fn new(side: Side, joined: bool) -> Self {
        let state = if joined { State::Adrift } else { State::Head(Head::default()) };
        Self { side, state, buffer: Vec::new(), last: None, lost: None }
    }

    /// Takes some of a piece and says how much, and what it was. `at` is where the piece begins; `start` says that a
    /// chunk begins there. Ends when it takes everything and returns nothing.
    pub(super) fn step<'a>(&mut self, at: At, piece: Chunk<'a>, start: bool) -> (u64, Option<Part<'a>>) {
        let (used, part) = self.take(at, piece, start);
        if used > 0 {
            self.last = Some(at.time);
        }
        (used, part)
    }

    /// What follows the head that was just returned. Returns [`Part::Body`] with `over` if the message has no body.
    pub(super) fn enter(&mut self, framing: Framing, cut: Cut) -> Option<Part<'static>> {
        match cut {
            Cut::Whole => self.body(framing),
            Cut::TooLong => {
                self.state = State::Rest(self.rest_scan(), framing);
                None
            }
            Cut::Gap => {
                self.unframe(framing);
                None
            }
        }
    }

    /// Nothing is known about what follows, until a message begins. `lost`: a message may be hidden in it.
    pub(super) fn adrift(&mut self, lost: bool) {
        if !matches!(self.state, State::Over) {
            self.buffer = Vec::new();
            self.state = State::Adrift;
            self.lost = if lost { self.last } else { None };
        }
    }

    /// This direction is not read any more.
    pub(super) fn close(&mut self) {
        self.buffer = Vec::new();
        self.state = State::Over;
    }

    /// The other side speaks: what looked as if it might become a message is none.
    pub(super) fn answered(&mut self) {
        if matches!(&self.state, State::Head(head) if head.tentative && !head.announced) {
            self.adrift(true);
        }
    }

    /// The beginning of a head that will not be continued.
    pub(super) fn take_partial(&mut self) -> Option<Vec<u8>> {
        let partial = matches!(&self.state, State::Head(head) if head.announced);
        (partial && !self.buffer.is_empty()).then(|| mem::take(&mut self.buffer))
    }

    /// In a message whose end can't be told from its bytes.
    pub(super) fn is_unframed(&self) -> bool {
        matches!(self.state, State::Unframed { .. })
    }

    /// In a body that ends with the direction.
    pub(super) fn is_until_close(&self) -> bool {
        matches!(self.state, State::Body(Body::UntilClose))
    }

    /// In bytes of unknown meaning.
    pub(super) fn is_adrift(&self) -> bool {
        matches!(self.state, State::Adrift)
    }

    /// In a message of which all the body has passed that there can be.
    pub(super) fn is_satisfied(&self) -> bool {
        matches!(self.state, State::Unframed { left: 0, tail: None })
    }

    /// Not read any more.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Whether the last message is over, and nothing of the next one was seen.
    pub(super) fn is_between_messages(&self) -> bool {
        matches!(&self.state, State::Head(head) if !head.tentative) && self.buffer.is_empty()
    }

    /// Bytes kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.buffer.capacity()
    }

    fn take<'a>(&mut self, at: At, piece: Chunk<'a>, start: bool) -> (u64, Option<Part<'a>>) {
        let len = piece.len();
        match (&mut self.state, piece) {
            (State::Over, _) => (len, None),
            (State::Head(head), _) if head.ready.is_some() => (0, self.ready()),
            (_, Chunk::Bytes([]) | Chunk::Gap(0)) => (0, None),
            (State::Head(_), Chunk::Bytes(bytes)) => self.head(at, bytes),
            (State::Head(_), Chunk::Gap(_)) => self.head_gap(at, len),
            (State::Rest(scan, framing), Chunk::Bytes(bytes)) => match scan.feed(bytes) {
                None => (len, None),
                Some(used) => {
                    let framing = *framing;
                    (used as u64, self.body(framing))
                }
            },
            (State::Rest(_, framing), Chunk::Gap(_)) => {
                let framing = *framing;
                self.unframe(framing);
                (0, None)
            }
            (State::Body(Body::UntilClose), _) => (len, Some(Part::Body { bytes: len, estimated: false, over: false })),
            (State::Body(Body::Length(left)), _) => {
                let bytes = len.min(*left);
                *left -= bytes;
                let over = *left == 0;
                if over {
                    self.state = State::Head(Head::default());
                }
                (bytes, Some(Part::Body { bytes, estimated: false, over }))
            }
            (State::Body(Body::Chunked(..)), _) => self.chunked(piece),
            (State::Unframed { .. }, _) => self.unframed(at, piece, start),
            (State::Adrift, Chunk::Bytes(bytes)) if start && guess(self.side, bytes) != Guess::No => {
                self.state = State::Head(Head { tentative: true, ..Head::default() });
                (0, None)
            }
            (State::Adrift, _) => {
                self.lost = Some(at.time);
                (len, None)
            }
        }
    }

    fn head<'a>(&mut self, at: At, bytes: &'a [u8]) -> (u64, Option<Part<'a>>) {
        let State::Head(head) = &mut self.state else { return (0, None) };
        if head.began.is_none() {
            let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            if empty > 0 {
                return (empty as u64, None);
            }
            let verdict = guess(self.side, &bytes[..bytes.len().min(HEAD_BYTES)]);
            if verdict == Guess::No {
                return self.garbage(at, bytes.len());
            }
            head.began = Some(at);
            head.recognised = verdict == Guess::Yes;
            if head.recognised || !head.tentative {
                head.announced = true;
                return (0, Some(Part::Began(at)));
            }
        }
        let window = &bytes[..bytes.len().min(HEAD_BYTES - self.buffer.len())];
        let end = head.scan.feed(window);
        let taken = &window[..end.unwrap_or(window.len())];
        let cut = if end.is_some() {
            Some(Cut::Whole)
        } else {
            (self.buffer.len() + taken.len() == HEAD_BYTES).then_some(Cut::TooLong)
        };
        if let (true, Some(cut), true) = (self.buffer.is_empty(), cut, head.announced && head.recognised) {
            return (taken.len() as u64, Some(Part::Head(Cow::Borrowed(taken), cut)));
        }
        self.buffer.extend_from_slice(taken);
        if !head.recognised {
            match guess(self.side, &self.buffer) {
                Guess::No => return self.garbage(at, bytes.len()),
                Guess::Yes => head.recognised = true,
                Guess::Unsure => (),
            }
        }
        head.ready = cut;
        if let (true, false, Some(began)) = (head.recognised, head.announced, head.began) {
            head.announced = true;
            return (taken.len() as u64, Some(Part::Began(began)));
        }
        (taken.len() as u64, None)
    }

    /// The head in the buffer is as whole as it will be.
    fn ready<'a>(&mut self) -> Option<Part<'a>> {
        let State::Head(head) = &mut self.state else { return None };
        let cut = head.ready?;
        if !head.announced {
            self.adrift(true);
            return None;
        }
        // Kept until `enter`, which needs to know how the scan ended.
        head.ready = None;
        Some(Part::Head(Cow::Owned(mem::take(&mut self.buffer)), cut))
    }

    fn head_gap<'a>(&mut self, at: At, len: u64) -> (u64, Option<Part<'a>>) {
        let State::Head(head) = &mut self.state else { return (0, None) };
        if head.announced && !self.buffer.is_empty() {
            head.ready = Some(Cut::Gap);
            return (0, None);
        }
        let tentative = head.tentative;
        self.adrift(true);
        self.lost = Some(at.time);
        (len, (!tentative).then_some(Part::Hole))
    }

    /// Skips the chunk.
    fn garbage<'a>(&mut self, at: At, len: usize) -> (u64, Option<Part<'a>>) {
        let silent = matches!(&self.state, State::Head(head) if head.tentative && !head.announced);
        self.adrift(true);
        self.lost = Some(at.time);
        (len as u64, (!silent).then_some(Part::Garbage))
    }

    fn rest_scan(&self) -> EndScan {
        match &self.state {
            State::Head(head) => head.scan,
            _ => EndScan::default(),
        }
    }

    fn body<'a>(&mut self, framing: Framing) -> Option<Part<'a>> {
        let over = Part::Body { bytes: 0, estimated: false, over: true };
        let (state, part) = match framing {
            Framing::None => (State::Head(Head::default()), Some(over)),
            Framing::Length(len) => (State::Body(Body::Length(len)), None),
            Framing::Chunked { trailers } => (State::Body(Body::Chunked(Chunked::default(), trailers)), None),
            Framing::UntilClose => (State::Body(Body::UntilClose), None),
            Framing::Unknown => (State::Unframed { left: u64::MAX, tail: None }, None),
        };
        self.state = state;
        part
    }

    fn unframe(&mut self, framing: Framing) {
        let (left, tail) = match framing {
            Framing::None => (0, None),
            Framing::Length(len) => (len, None),
            Framing::Chunked { trailers } => (u64::MAX, Some(Tail::new(trailers))),
            Framing::UntilClose | Framing::Unknown => (u64::MAX, None),
        };
        self.state = State::Unframed { left, tail };
    }

    fn chunked<'a>(&mut self, piece: Chunk<'a>) -> (u64, Option<Part<'a>>) {
        let State::Body(Body::Chunked(chunked, trailers)) = &mut self.state else { return (0, None) };
        let trailers = *trailers;
        let Progress { used, content, next } = match piece {
            Chunk::Bytes(bytes) => chunked.bytes(bytes),
            Chunk::Gap(len) => chunked.gap(len),
        };
        let mut part = Part::Body { bytes: content, estimated: false, over: next == Next::Over };
        match next {
            Next::More => (),
            Next::Over => self.state = State::Head(Head::default()),
            Next::Lost => {
                self.unframe(Framing::Chunked { trailers });
                if matches!(piece, Chunk::Bytes(_)) {
                    part = Part::Broken(content);
                }
            }
        }
        (used, Some(part))
    }

    fn unframed<'a>(&mut self, at: At, piece: Chunk<'a>, start: bool) -> (u64, Option<Part<'a>>) {
        if let Chunk::Bytes(bytes) = piece
            && start
            && guess(self.side, bytes) == Guess::Yes
        {
            self.state = State::Head(Head::default());
            return (0, Some(Part::Superseded));
        }
        let State::Unframed { left, tail } = &mut self.state else { return (0, None) };
        let mut bytes = piece.len().min(*left);
        *left -= bytes;
        let end = match (tail, piece) {
            (Some(tail), Chunk::Bytes(bytes)) => tail.bytes(bytes),
            (Some(tail), Chunk::Gap(_)) => {
                tail.gap();
                None
            }
            (None, _) => None,
        };
        if let Some(framing) = end {
            bytes = bytes.saturating_sub(framing as u64);
            self.lost = None;
            self.state = State::Head(Head::default());
        } else {
            self.lost = Some(at.time);
        }
        (piece.len(), Some(Part::Body { bytes, estimated: true, over: end.is_some() }))
    }
}
