//! What the server sends.

use super::super::framing::Framing;
use super::super::head::Response;
use super::super::stream::{Cut, Part};
use super::{Answering, Http1, Sending};
use crate::flow::{At, Nanos};
use crate::proto::{Event, Oddity, Outcome};

/// Switching Protocols (RFC 9110, 15.2.2).
const SWITCHING: u16 = 101;

impl Http1 {
    pub(super) fn response_part(&mut self, part: Part<'_>, time: Nanos, out: &mut Vec<Event>) {
        match part {
            Part::Began(at) => self.response_started(at, out),
            Part::Head(head, cut) => self.response_head(&head, cut, time, out),
            Part::Body { bytes, estimated, over } => {
                let several = self.open.len() > 1;
                if let (Answering::Front, Some(front)) = (self.answering, self.open.front_mut()) {
                    front.http.response_body = front.http.response_body.saturating_add(bytes);
                    front.marks.body_estimated |= estimated && bytes > 0;
                    // With more than one response due it may be the end of a later one.
                    front.marks.end_estimated |= estimated && over && several;
                }
                if over {
                    self.response_over(time, out);
                }
            }
            Part::Superseded => {
                if let (Answering::Front, Some(front)) = (self.answering, self.open.front_mut()) {
                    front.marks.end_estimated = true;
                }
                self.response_over(self.server.last.unwrap_or(time), out);
            }
            Part::Broken(bytes) => {
                if let (Answering::Front, Some(front)) = (self.answering, self.open.front_mut()) {
                    front.http.response_body = front.http.response_body.saturating_add(bytes);
                }
                out.push(Event::Oddity(Oddity::Malformed));
            }
            Part::Garbage => {
                self.answering = Answering::Nothing;
                out.push(Event::Oddity(Oddity::Garbage));
            }
            Part::Hole => out.push(Event::Oddity(Oddity::Hole)),
        }
    }

    /// Reads the beginning of a head that nothing will follow.
    pub(super) fn partial_response(&mut self, time: Nanos, out: &mut Vec<Event>) {
        if let Some(head) = self.server.take_partial() {
            match Response::parse(&head) {
                Some(response) if response.status >= 200 => self.answered(response.status, Cut::Whole),
                Some(_) => (),
                None => out.push(Event::Oddity(Oddity::Malformed)),
            }
            self.server.last = self.server.last.or(Some(time));
        }
    }

    fn response_started(&mut self, at: At, out: &mut Vec<Event>) {
        let lost = self.server.lost.take();
        if let Some(lost) = lost {
            self.give_up(lost, 1, out);
        }
        self.response_began = at.time;
        self.answering = match self.open.front_mut() {
            Some(front) if front.response_over.is_none() => {
                if lost.is_some() {
                    Self::mark_resynchronised(front, out);
                }
                Answering::Front
            }
            _ if self.untracked > 0 => Answering::Untracked,
            _ => {
                // To a request that was never seen: the next one stands on no firm ground.
                self.astray = true;
                self.server.adrift(false);
                out.push(Event::Stray { asked: self.client.lost.take(), answered: at.time });
                Answering::Nothing
            }
        };
    }

    fn response_head(&mut self, head: &[u8], cut: Cut, time: Nanos, out: &mut Vec<Event>) {
        let Some(response) = Response::parse(head) else {
            out.push(Event::Oddity(if cut == Cut::Gap { Oddity::Hole } else { Oddity::Malformed }));
            self.answering = Answering::Nothing;
            self.server.adrift(true);
            return;
        };
        if response.malformed {
            out.push(Event::Oddity(Oddity::Malformed));
        }
        let front = self.open.front_mut().filter(|_| self.answering == Answering::Front);
        let method = front.as_ref().map_or("", |front| front.http.method.as_str());
        let framing = response.lengths.of_response(method, response.status);
        let tunnel = method == "CONNECT" && (200..300).contains(&response.status);
        if (100..200).contains(&response.status) && response.status != SWITCHING {
            if let Some(front) = front {
                front.http.interim = true;
            }
            self.answering = Answering::Nothing;
            // The final response may come in the same turn.
            self.heads.note(head.len(), false, framing);
            self.server.enter(Framing::None, cut);
            return;
        }
        let is_simple = cut == Cut::Whole && self.open.len() <= 1 && self.untracked == 0;
        self.heads.note(head.len(), is_simple, framing);
        self.answered(response.status, cut);
        if tunnel {
            self.switch("connect".into(), time, out);
        } else if response.status == SWITCHING {
            self.switch(response.upgrade.unwrap_or_default(), time, out);
        } else if let Some(part) = self.server.enter(framing, cut) {
            self.response_part(part, time, out);
        }
    }

    /// The head of the final response has been read.
    fn answered(&mut self, status: u16, cut: Cut) {
        let (Answering::Front, Some(front)) = (self.answering, self.open.front_mut()) else { return };
        front.http.status = Some(status);
        front.response_began = Some(self.response_began);
        front.marks.truncated |= cut != Cut::Whole;
        if self.sending == Sending::Open(front.number) && self.client.is_unframed() {
            // Its end can't be seen; a server seldom answers before it.
            front.request_end = self.client.last;
            front.request_over = true;
            self.sending = Sending::Nothing;
            self.client.adrift(false);
        }
    }

    fn response_over(&mut self, end: Nanos, out: &mut Vec<Event>) {
        match std::mem::replace(&mut self.answering, Answering::Nothing) {
            Answering::Nothing => (),
            Answering::Untracked => self.untracked = self.untracked.saturating_sub(1),
            Answering::Front => {
                if let Some(front) = self.open.front_mut() {
                    front.response_over = Some((end, Outcome::Complete));
                    let asked = front.http.interim;
                    if front.expects && !asked && !front.request_over && front.http.request_body == 0 {
                        // The body was never asked for, and need not come (RFC 9110, 10.1.1).
                        front.request_end = self.client.last;
                        front.request_over = true;
                        self.client.adrift(false);
                    }
                }
                self.settle(out);
            }
        }
    }
}
