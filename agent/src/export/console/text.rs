//! The text form: what is gathered, drawn, and what is left out in a second, as pages to print.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::connection;
use super::gather::{Gather, LeftOut, Ready};
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
    /// What was left out and not told yet.
    untold: LeftOut,
}

impl Text {
    pub(super) fn new(style: Style) -> Self {
        Self { style, gather: Gather::new(), summary_due: None, untold: LeftOut::default() }
    }

    pub(super) fn push(&mut self, spans: &[Span], now: Instant) {
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
        // That the connection of a request shown before has ended is not worth a line of its own while more may come.
        if self.untold.traces + self.untold.lone_connections > 0 {
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
        if self.untold.spans > 0 {
            self.summarise(&mut page.text);
        }
        page
    }

    fn draw(&mut self, ready: &Ready) -> Page {
        let mut page = Page { shown: ready.shown, summarised: ready.left_out.spans, text: String::new() };
        for trace in &ready.traces {
            waterfall::draw(self.style, trace, &mut page.text);
        }
        for span in &ready.connections {
            connection::draw_alone(self.style, span, &mut page.text);
        }
        self.untold.spans += ready.left_out.spans;
        self.untold.traces += ready.left_out.traces;
        self.untold.lone_connections += ready.left_out.lone_connections;
        self.untold.connections += ready.left_out.connections;
        page
    }

    fn summarise(&mut self, out: &mut String) {
        let LeftOut { spans, traces, lone_connections, connections } = std::mem::take(&mut self.untold);
        let text = format!(
            "… and {traces} more traces, {} more connections ({spans} spans); --format json prints them all",
            lone_connections + connections
        );
        writeln!(out, "{}", self.style.paint(Ink::Dim, text)).ok();
        self.summary_due = None;
    }
}

/// All of these spans, with no limit: for spans that are not watched as they happen.
pub(super) fn all(style: Style, spans: &[Span]) -> String {
    let mut text = Text { gather: Gather::unlimited(), ..Text::new(style) };
    // They are all there, so no time passes between them.
    text.push(spans, Instant::now());
    text.finish().text
}
