//! What the client sends.

use std::collections::VecDeque;

use super::super::Http;
use super::super::framing::Framing;
use super::super::head::Request;
use super::super::open::Open;
use super::super::stream::{Cut, Part};
use super::{Answering, Http1, Sending};
use crate::flow::{At, Nanos};
use crate::proto::{Event, Oddity, Outcome};

impl Http1 {
    pub(super) fn request_part(&mut self, part: Part<'_>, time: Nanos, out: &mut Vec<Event>) {
        match part {
            Part::Began(at) => self.request_began(at, out),
            Part::Head(head, cut) => self.request_head(&head, cut, time, out),
            Part::Body { bytes, estimated, over } => {
                if let Some(open) = self.asking() {
                    open.http.request_body = open.http.request_body.saturating_add(bytes);
                    open.marks.body_estimated |= estimated && bytes > 0;
                }
                if over {
                    self.request_over(Some(time), out);
                }
            }
            Part::Superseded => self.request_over(self.client.last, out),
            Part::Broken(bytes) => {
                if let Some(open) = self.asking() {
                    open.http.request_body = open.http.request_body.saturating_add(bytes);
                }
                out.push(Event::Oddity(Oddity::Malformed));
            }
            Part::Garbage => {
                self.withdraw(out);
                self.astray = true;
                out.push(Event::Oddity(Oddity::Garbage));
            }
            Part::Hole => {
                self.astray = true;
                out.push(Event::Oddity(Oddity::Hole));
            }
        }
    }

    /// The request that the client sends, if it is kept.
    pub(super) fn asking(&mut self) -> Option<&mut Open> {
        asking(&mut self.open, self.sending)
    }

    /// Reads the beginning of a head that nothing will follow.
    pub(super) fn partial_request(&mut self, out: &mut Vec<Event>) {
        if let Some(head) = self.client.take_partial()
            && self.read(&head, Cut::Whole).is_none()
        {
            out.push(Event::Oddity(Oddity::Malformed));
            self.withdraw(out);
        }
    }

    fn request_began(&mut self, at: At, out: &mut Vec<Event>) {
        self.response_must_be_over(out);
        if self.is_full() {
            self.untracked = self.untracked.saturating_add(1);
            self.sending = Sending::Untracked;
            out.push(Event::Oddity(Oddity::TooManyOpen));
            return;
        }
        let number = self.next;
        self.next += 1;
        self.sending = Sending::Open(number);
        let mut open = Open::new(number, at);
        if std::mem::take(&mut self.astray) {
            Self::mark_resynchronised(&mut open, out);
        }
        self.open.push_back(open);
        out.push(Event::Began { number, at });
    }

    fn request_head(&mut self, head: &[u8], cut: Cut, time: Nanos, out: &mut Vec<Event>) {
        let Some(request) = self.read(head, cut) else {
            out.push(Event::Oddity(if cut == Cut::Gap { Oddity::Hole } else { Oddity::Malformed }));
            self.withdraw(out);
            self.client.adrift(true);
            self.astray = true;
            return;
        };
        if request.malformed {
            out.push(Event::Oddity(Oddity::Malformed));
        }
        if let Sending::Open(number) = self.sending {
            out.push(Event::Asked { number, ask: request.ask });
        }
        let framing = request.lengths.of_request();
        let tunnel = request.connects && framing == Framing::None;
        if let Some(part) = self.client.enter(framing, cut) {
            self.request_part(part, time, out);
            if tunnel {
                // What comes before the answer may be the tunnel's already.
                self.client.adrift(false);
            }
        }
    }

    /// Reads the head of the request that the client sends. A response may have come before it.
    fn read(&mut self, head: &[u8], cut: Cut) -> Option<Request> {
        let Some(open) = asking(&mut self.open, self.sending) else {
            return Request::read(head, &mut self.usual, &mut Http::default());
        };
        let request = Request::read(head, &mut self.usual, &mut open.http)?;
        open.expects = request.expects;
        open.marks.truncated |= cut != Cut::Whole;
        open.text = open.http.text_len();
        self.text += open.text;
        Some(request)
    }

    pub(super) fn request_over(&mut self, end: Option<Nanos>, out: &mut Vec<Event>) {
        if let Some(open) = self.asking() {
            open.request_end = end;
            open.request_over = true;
        }
        self.sending = Sending::Nothing;
        self.settle(out);
    }

    /// What began turned out to be no request.
    fn withdraw(&mut self, out: &mut Vec<Event>) {
        match self.sending {
            Sending::Nothing => (),
            Sending::Untracked => self.untracked = self.untracked.saturating_sub(1),
            Sending::Open(_) => match self.asking() {
                Some(open) if open.is_answered() => {
                    open.request_over = true;
                    self.settle(out);
                }
                Some(_) => {
                    if let Some(open) = self.open.pop_back() {
                        self.text = self.text.saturating_sub(open.text);
                    }
                    if self.open.is_empty() && self.answering == Answering::Front {
                        self.answering = Answering::Nothing;
                    }
                }
                None => (),
            },
        }
        self.sending = Sending::Nothing;
    }

    /// A client that asks again has got what it asked before, whether its end was recognised or not.
    fn response_must_be_over(&mut self, out: &mut Vec<Event>) {
        if self.server.is_unframed() {
            let end = self.server.last;
            if let (Answering::Front, Some(front), Some(end)) = (self.answering, self.open.front_mut(), end) {
                front.marks.end_estimated = true;
                front.response_over = Some((end, Outcome::Complete));
            } else if self.answering == Answering::Untracked {
                self.untracked = self.untracked.saturating_sub(1);
            }
            self.answering = Answering::Nothing;
            self.settle(out);
            self.server.adrift(true);
        }
        if self.server.is_adrift()
            && let Some(lost) = self.server.lost.take()
        {
            self.give_up(lost, 0, out);
            self.untracked = 0;
        }
    }
}

/// The last of the open requests, if it is the one that is being sent.
fn asking(open: &mut VecDeque<Open>, sending: Sending) -> Option<&mut Open> {
    let Sending::Open(number) = sending else { return None };
    open.back_mut().filter(|open| open.number == number)
}
