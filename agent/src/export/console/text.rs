//! The text form: what is gathered, drawn, and what is left out in a second, as pages to print.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::connection;
use super::gather::{Gather, Ready};
use super::style::{Ink, Style};
use super::waterfall;
use crate::trace::span::Span;

/// How often a line says what was left out.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// What is to be printed now, and what that means for the account.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) text: String,
    /// Spans that are in the text.
    pub(super) shown: usize,
    /// Spans that are not and never will be.
    pub(super) summarised: usize,
}

/// Turns spans into pages. Time is handed in.
#[derive(Debug)]
pub(super) struct Text {
    style: Style,
    gather: Gather,
    summary_due: Option<Instant>,
    traces_left_out: usize,
    connections_left_out: usize,
}

impl Text {
    pub(super) fn new(style: Style) -> Self {
        Self { style, gather: Gather::new(), summary_due: None, traces_left_out: 0, connections_left_out: 0 }
    }

    pub(super) fn push(&mut self, spans: Vec<Span>, now: Instant) {
        for span in spans {
            self.gather.push(span, now);
        }
    }

    /// How long nothing will be due unless more spans come.
    pub(super) fn patience(&self, now: Instant) -> Duration {
        [self.gather.due(), self.summary_due]
            .into_iter()
            .flatten()
            .min()
            .map_or(Duration::MAX, |due| due.saturating_duration_since(now))
    }

    /// What is due.
    pub(super) fn advance(&mut self, now: Instant) -> Page {
        let ready = self.gather.advance(now);
        let mut page = self.draw(&ready);
        if self.traces_left_out + self.connections_left_out > 0 {
            let due = *self.summary_due.get_or_insert(now + SUMMARY_EVERY);
            if due <= now {
                self.summarise(&mut page.text);
            }
        }
        page
    }

    /// Everything that is left.
    pub(super) fn finish(&mut self) -> Page {
        let ready = self.gather.finish();
        let mut page = self.draw(&ready);
        if self.traces_left_out + self.connections_left_out > 0 {
            self.summarise(&mut page.text);
        }
        page
    }

    fn draw(&mut self, ready: &Ready) -> Page {
        let mut page = Page { shown: ready.shown, summarised: ready.summarised, text: String::new() };
        for trace in &ready.traces {
            waterfall::draw(self.style, trace, &mut page.text);
        }
        for span in &ready.connections {
            connection::draw_alone(self.style, span, &mut page.text);
        }
        self.traces_left_out += ready.traces_left_out;
        self.connections_left_out += ready.connections_left_out;
        page
    }

    fn summarise(&mut self, out: &mut String) {
        let text = format!(
            "… and {} more traces, {} more connections in the last second; --format json prints them all",
            self.traces_left_out, self.connections_left_out
        );
        writeln!(out, "{}", self.style.paint(Ink::Dim, text)).ok();
        self.summary_due = None;
        self.traces_left_out = 0;
        self.connections_left_out = 0;
    }
}

/// All of these spans, with no limit: for spans that are not watched as they happen.
pub(super) fn all(style: Style, spans: Vec<Span>) -> String {
    let mut text = Text { gather: Gather::unlimited(), ..Text::new(style) };
    // They are all there, so no time passes between them.
    text.push(spans, Instant::now());
    text.finish().text
}
