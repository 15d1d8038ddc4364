//! Whole conversations: what passed on a connection, and the exchanges that come out.

mod conversations;
mod damage;
mod properties;

use std::fmt::Write;

use super::{Http, Http1};
use crate::flow::{At, Chunk, Ending, Nanos, Side};
use crate::proto::{Detail, Event, Exchange, Marks, Outcome, Parser};

/// One thing that happens. The n-th step of a conversation happens at time n.
#[derive(Clone, Debug)]
enum Step {
    /// The client sends.
    C(Vec<u8>),
    /// The server sends.
    S(Vec<u8>),
    /// So many bytes of the client are not known.
    CGap(u64),
    /// So many bytes of the server are not known.
    SGap(u64),
    /// The client closes its direction.
    CFin,
    /// The server closes its direction.
    SFin,
    /// The connection is over.
    End(Ending),
}

fn c(bytes: impl AsRef<[u8]>) -> Step {
    Step::C(bytes.as_ref().to_vec())
}

fn s(bytes: impl AsRef<[u8]>) -> Step {
    Step::S(bytes.as_ref().to_vec())
}

/// A conversation under way.
struct Talk {
    parser: Http1,
    events: Vec<Event>,
    client: u64,
    server: u64,
}

impl Talk {
    fn new(joined: bool) -> Self {
        Self { parser: Http1::new(joined), events: Vec::new(), client: 0, server: 0 }
    }

    /// Bytes are sent in pieces that end at the given places.
    fn step(&mut self, time: u64, step: &Step, cuts: &[usize]) {
        let time = Nanos(time);
        match step {
            Step::C(bytes) => self.bytes(Side::Client, time, bytes, cuts),
            Step::S(bytes) => self.bytes(Side::Server, time, bytes, cuts),
            Step::CGap(len) => self.chunk(Side::Client, time, Chunk::Gap(*len)),
            Step::SGap(len) => self.chunk(Side::Server, time, Chunk::Gap(*len)),
            Step::CFin => self.parser.finished(Side::Client, time, &mut self.events),
            Step::SFin => self.parser.finished(Side::Server, time, &mut self.events),
            Step::End(ending) => self.parser.ended(*ending, time, &mut self.events),
        }
    }

    fn bytes(&mut self, side: Side, time: Nanos, bytes: &[u8], cuts: &[usize]) {
        let mut from = 0;
        for to in cuts.iter().copied().filter(|&cut| cut < bytes.len()).chain([bytes.len()]) {
            self.chunk(side, time, Chunk::Bytes(&bytes[from..to]));
            from = to;
        }
    }

    fn chunk(&mut self, side: Side, time: Nanos, chunk: Chunk<'_>) {
        let pos = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        let at = At { time, pos: *pos };
        *pos += chunk.len();
        self.parser.push(side, at, chunk, &mut self.events);
    }

    fn exchanges(&self) -> Vec<&Exchange> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Exchange(exchange) => Some(exchange),
                _ => None,
            })
            .collect()
    }
}

fn talk(joined: bool, steps: &[Step]) -> Talk {
    let mut talk = Talk::new(joined);
    for (time, step) in steps.iter().enumerate() {
        talk.step(time as u64, step, &[]);
    }
    talk
}

/// One line per exchange and oddity:
/// `number method target status | request/response body | began+pos request_end response_began end | outcome marks`.
fn render(events: &[Event]) -> String {
    let mut text = String::new();
    for event in events {
        match event {
            Event::Exchange(exchange) => line(exchange, &mut text),
            Event::Oddity(oddity) => writeln!(text, "{oddity:?}").unwrap(),
            Event::Began { .. } | Event::Asked { .. } | Event::Stray { .. } | Event::Tls(_) => (),
        }
    }
    text
}

fn line(exchange: &Exchange, text: &mut String) {
    let Exchange { number, began, request_end, response_began, end, outcome, marks, detail } = exchange;
    let Detail::Http(Http { method, target, status, request_body, response_body, upgraded, interim, .. }) = detail;
    let time = |time: &Option<Nanos>| time.map_or("-".to_owned(), |time| time.0.to_string());
    let target = if target.len() > 20 { &format!("{}...", &target[..10]) } else { target.as_str() };
    let status = status.map_or("-".to_owned(), |status| status.to_string());
    let (asked, answered) = (time(request_end), time(response_began));
    let (time, pos, end) = (began.time.0, began.pos, end.0);
    write!(
        text,
        "{number} {method} {target} {status} | {request_body}/{response_body} | {time}+{pos} {asked} {answered} {end} | "
    )
    .unwrap();
    match outcome {
        Outcome::Complete => text.push_str("complete"),
        Outcome::Cut(ending) => write!(text, "cut {ending:?}").unwrap(),
        Outcome::Unknown => text.push_str("unknown"),
    }
    let Marks { truncated, resynchronised, end_estimated, body_estimated } = *marks;
    for (mark, name) in [
        (*interim, "interim"),
        (truncated, "truncated"),
        (resynchronised, "resynchronised"),
        (end_estimated, "end?"),
        (body_estimated, "body?"),
    ] {
        if mark {
            write!(text, " {name}").unwrap();
        }
    }
    if let Some(upgraded) = upgraded {
        write!(text, " upgraded={upgraded}").unwrap();
    }
    text.push('\n');
}

#[track_caller]
fn check(steps: &[Step], expect: &str) {
    check_joined(false, steps, expect);
}

#[track_caller]
fn check_joined(joined: bool, steps: &[Step], expect: &str) {
    let lines: String = expect.lines().map(str::trim).filter(|line| !line.is_empty()).flat_map(|l| [l, "\n"]).collect();
    assert_eq!(render(&talk(joined, steps).events), lines);
}
