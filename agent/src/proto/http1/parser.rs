//! Pairs the requests of a connection with their responses.
//!
//! The two directions are cut into messages by a [`Stream`] each; `requests` and `responses` take their parts. The n-th
//! response belongs to the n-th request (RFC 9112, 9.3.2). Where bytes are missing that can hide messages, requests that
//! may have been answered unseen are given up rather than paired with a later response.

mod requests;
mod responses;

use std::collections::VecDeque;
use std::mem;

use super::head::Usual;
use super::heads::Heads;
use super::open::Open;
use super::stream::{Part, Stream};
use super::{OPEN_BYTES, OPEN_REQUESTS};
use crate::flow::{At, Chunk, Ending, Nanos, Side};
use crate::proto::{Appetite, Event, Oddity, Outcome, Parser};
use crate::text::Text;

/// Reads one HTTP/1 connection.
pub struct Http1 {
    client: Stream,
    server: Stream,
    /// Requests in order; the front one is answered next.
    open: VecDeque<Open>,
    /// Text held by `open`, bytes.
    text: usize,
    /// Texts of the latest request.
    usual: Usual,
    /// Requests after those in `open` that are not kept, because there were too many.
    untracked: u64,
    /// Whose bytes the client sends.
    sending: Sending,
    /// Whose response the server sends.
    answering: Answering,
    /// The first byte of the response that the server sends.
    response_began: Nanos,
    /// The number of the next request.
    next: u64,
    /// Messages may have passed unseen since the last request.
    astray: bool,
    /// The heads of the responses so far.
    heads: Heads,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Nothing,
    Open(u64),
    Untracked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answering {
    Nothing,
    Front,
    Untracked,
}

impl Http1 {
    /// `joined`: the connection is not known from its beginning.
    #[must_use]
    pub fn new(joined: bool) -> Self {
        Self {
            client: Stream::new(Side::Client, joined),
            server: Stream::new(Side::Server, joined),
            // Few clients ask for more before they are answered.
            open: VecDeque::with_capacity(1),
            text: 0,
            usual: Usual::default(),
            untracked: 0,
            sending: Sending::Nothing,
            answering: Answering::Nothing,
            response_began: Nanos(0),
            next: 0,
            astray: joined,
            heads: Heads::default(),
        }
    }

    /// Emits the exchanges that are over, in order.
    fn settle(&mut self, out: &mut Vec<Event>) {
        while let Some(front) = self.open.front()
            && front.request_over
            && let Some((end, outcome)) = front.response_over
        {
            self.close_front(end, outcome, out);
        }
    }

    fn close_front(&mut self, end: Nanos, outcome: Outcome, out: &mut Vec<Event>) {
        if let Some(front) = self.open.front_mut() {
            self.text = self.text.saturating_sub(front.text);
            if self.sending == Sending::Open(front.number) {
                self.sending = Sending::Nothing;
            }
            out.push(Event::Exchange(front.close(end, outcome)));
            self.open.pop_front();
        }
    }

    /// Ends everything that is open: no more responses can come.
    fn close_all(&mut self, ending: Ending, time: Nanos, out: &mut Vec<Event>) {
        self.partial_response(time, out);
        self.partial_request(out);
        let in_order = ending == Ending::Closed;
        let lost = self.server.lost.filter(|_| self.server.is_adrift());
        if self.answering == Answering::Front
            && let Some(front) = self.open.front_mut()
        {
            if self.server.is_until_close() && in_order {
                front.response_over = Some((time, Outcome::Complete));
            } else if self.server.is_unframed() {
                let outcome = if self.server.is_satisfied() { Outcome::Complete } else { Outcome::Unknown };
                front.marks.end_estimated = true;
                front.response_over = Some((self.server.last.unwrap_or(time), outcome));
            }
        }
        while let Some(front) = self.open.front_mut() {
            let unseen = lost.filter(|lost| front.began.time <= *lost);
            front.marks.end_estimated |= unseen.is_some() && front.response_over.is_none();
            let (end, outcome) = match (front.response_over, unseen) {
                (Some(over), _) => over,
                (None, Some(lost)) => (lost, Outcome::Unknown),
                (None, None) => (time, Outcome::Cut(ending)),
            };
            self.close_front(end, outcome, out);
        }
        self.client.close();
        self.server.close();
    }

    /// The connection goes on in another protocol: after the current exchange nothing is known.
    fn switch(&mut self, to: Text, time: Nanos, out: &mut Vec<Event>) {
        if self.answering == Answering::Front
            && let Some(front) = self.open.front_mut()
        {
            front.http.upgraded = Some(to);
            self.close_front(time, Outcome::Complete, out);
        }
        while !self.open.is_empty() {
            self.close_front(time, Outcome::Unknown, out);
        }
        self.client.close();
        self.server.close();
    }

    /// Gives up the requests at the front that may have been answered in bytes that were not understood.
    fn give_up(&mut self, lost: Nanos, keep: usize, out: &mut Vec<Event>) {
        while self.open.len() > keep
            && let Some(front) = self.open.front_mut()
            && front.began.time <= lost
            && front.response_over.is_none()
        {
            front.marks.end_estimated = true;
            self.close_front(lost, Outcome::Unknown, out);
        }
    }

    /// The first exchange after a loss says so.
    fn mark_resynchronised(open: &mut Open, out: &mut Vec<Event>) {
        if !mem::replace(&mut open.marks.resynchronised, true) {
            out.push(Event::Oddity(Oddity::Resynchronised));
        }
    }

    fn is_full(&self) -> bool {
        self.untracked > 0 || self.open.len() >= OPEN_REQUESTS || self.text > OPEN_BYTES
    }

    /// Bytes kept, without the fixed size of the parser.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.client.kept() + self.server.kept() + self.text
    }
}

impl Parser for Http1 {
    fn push(&mut self, side: Side, at: At, chunk: Chunk<'_>, out: &mut Vec<Event>) {
        if chunk.is_empty() {
            return;
        }
        let is_unasked = self.open.is_empty() && self.untracked == 0 && self.server.is_between_messages();
        if side == Side::Server && is_unasked && matches!(chunk, Chunk::Gap(_)) {
            out.push(Event::Stray { asked: self.client.lost.take(), answered: at.time });
        }
        let (mut piece, mut start, mut here) = (chunk, true, at);
        match side {
            Side::Client => self.server.answered(),
            Side::Server => self.client.answered(),
        }
        loop {
            let stream = match side {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            let (used, part) = stream.step(here, piece, start);
            here.pos = here.pos.saturating_add(used);
            piece = after(piece, used);
            // Only the beginning of a chunk can be the beginning of a message that nothing leads to.
            start &= used == 0 && !matches!(part, Some(Part::Began(_)));
            match (part, side) {
                (Some(part), Side::Client) => self.request_part(part, at.time, out),
                (Some(part), Side::Server) => self.response_part(part, at.time, out),
                (None, _) if used == 0 && piece.is_empty() => break,
                (None, _) => (),
            }
        }
    }

    fn finished(&mut self, side: Side, time: Nanos, out: &mut Vec<Event>) {
        match side {
            Side::Client => {
                self.partial_request(out);
                let end = self.client.last.filter(|_| self.client.is_unframed());
                if let Some(open) = self.asking() {
                    open.request_end = open.request_end.or(end);
                    open.request_over = true;
                }
                self.sending = Sending::Nothing;
                self.client.close();
                self.settle(out);
            }
            Side::Server => self.close_all(Ending::Closed, time, out),
        }
    }

    fn ended(&mut self, ending: Ending, time: Nanos, out: &mut Vec<Event>) {
        self.close_all(ending, time, out);
    }

    fn appetite(&self) -> Appetite {
        if self.server.is_closed() {
            Appetite::Nothing
        } else {
            Appetite::Heads { response_bytes: self.heads.enough() }
        }
    }
}

fn after(piece: Chunk<'_>, used: u64) -> Chunk<'_> {
    match piece {
        Chunk::Bytes(bytes) => Chunk::Bytes(&bytes[bytes.len().min(used as usize)..]),
        Chunk::Gap(len) => Chunk::Gap(len.saturating_sub(used)),
    }
}
