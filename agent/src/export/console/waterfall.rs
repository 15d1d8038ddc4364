//! One trace drawn as a waterfall: a header, then a line per span, indented by depth, with a bar that shows when it ran.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::clean::{clean, clip, cut};
use super::connection;
use super::gather::Trace;
use super::style::{Ink, Style};
use super::units::{clock, duration, size};
use crate::trace::span::{Kind, Span, SpanId, Status};

/// Columns of the bar, and on a terminal of fewer than 100.
const BAR: (usize, usize) = (20, 10);
const NARROW_COLUMNS: u16 = 100;
/// Columns of a service's name with its indentation, at least and at most.
const SERVICE: (usize, usize) = (16, 26);
/// Columns of how it went, at least and at most.
const OUTCOME: (usize, usize) = (6, 24);
/// Columns of the request itself at least.
const REQUEST: usize = 12;
/// Columns of a kind, a size, a duration, each with its gap, and the margin and frame of the bar.
const FIXED: usize = 2 + 7 + 10 + 10 + 3;
/// Deeper spans are not indented further.
const DEEPEST: usize = 10;

struct Row<'a> {
    span: &'a Span,
    connection: Option<&'a Span>,
    depth: usize,
    service: String,
    outcome: String,
}

/// Draws a trace; nothing for one without spans.
pub(super) fn draw(style: Style, trace: &Trace, out: &mut String) {
    let rows = rows(trace);
    let Some(root) = rows.first().map(|row| row.span) else { return };
    let start = rows.iter().map(|row| row.span.start_unix_ns).min().unwrap_or(root.start_unix_ns);
    let end = rows.iter().map(|row| row.span.end_unix_ns).max().unwrap_or(root.end_unix_ns);
    let length = end.saturating_sub(start);

    let service = width(rows.iter().map(|row| 2 * row.depth + row.service.chars().count()), SERVICE);
    let outcome = width(rows.iter().map(|row| row.outcome.chars().count()), OUTCOME);
    let cells = if style.columns < NARROW_COLUMNS { BAR.1 } else { BAR.0 };
    let request = usize::from(style.columns).saturating_sub(FIXED + service + 1 + outcome + 1 + cells).max(REQUEST);

    let id: String = root.trace_id.to_string().chars().take(8).collect();
    writeln!(
        out,
        "{} {} {} {} {}",
        style.paint(Ink::Dim, clock(start)),
        style.paint(Ink::Dim, id),
        style.paint(Ink::Strong, cut(&clean(&root.resource.service), SERVICE.1)),
        style.paint(Ink::Strong, cut(&clean(&root.name), request)),
        duration(length),
    )
    .ok();

    let mut connections: HashSet<SpanId> = HashSet::new();
    for row in &rows {
        let indent = 2 * row.depth;
        let (kind, kind_ink) = match row.span.kind {
            Kind::Internal => ("inner", Ink::Dim),
            Kind::Server => ("SERVER", Ink::Server),
            Kind::Client => ("CLIENT", Ink::Client),
        };
        let service_width = service.saturating_sub(indent);
        let name = cut(&row.service, service_width);
        let took = row.span.end_unix_ns.saturating_sub(row.span.start_unix_ns);
        writeln!(
            out,
            "  {:indent$}{} {} {} {} {:>9} {:>9} {}",
            "",
            style.paint(Ink::Strong, format_args!("{name:<service_width$}")),
            style.paint(kind_ink, format_args!("{kind:<6}")),
            format_args!("{:<request$}", cut(&clean(&request_of(row.span)), request)),
            style.paint(ink_of(row.span), format_args!("{:<outcome$}", cut(&row.outcome, outcome))),
            connection::integer(row.span, "http.response.body.size").map(size).unwrap_or_default(),
            duration(took),
            style.paint(kind_ink, bar(row.span.start_unix_ns.saturating_sub(start), took, length, cells)),
        )
        .ok();
        if let Some(connection) = row.connection
            && connections.insert(connection.span_id)
        {
            let room = usize::from(style.columns).saturating_sub(indent + 6);
            let line = connection::summary(connection);
            writeln!(out, "  {:indent$}{}", "", style.paint(Ink::Dim, format_args!("  └ {}", clip(&line, room)))).ok();
        }
    }
}

/// Parents before their children, children by time; what has no parent here is a root.
fn rows(trace: &Trace) -> Vec<Row<'_>> {
    let mut order: Vec<usize> = (0..trace.spans.len()).collect();
    order
        .sort_by_key(|&at| (trace.spans[at].0.start_unix_ns, trace.spans[at].0.end_unix_ns, trace.spans[at].0.span_id));
    let known: HashSet<SpanId> = trace.spans.iter().map(|(span, _)| span.span_id).collect();
    let mut children: HashMap<SpanId, Vec<usize>> = HashMap::new();
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    for &at in &order {
        match trace.spans[at].0.parent.filter(|parent| known.contains(parent)) {
            Some(parent) => children.entry(parent).or_default().push(at),
            None => waiting.push((at, 0)),
        }
    }
    waiting.reverse();
    let mut rows = Vec::with_capacity(order.len());
    let mut drawn = vec![false; trace.spans.len()];
    let mut rest = order.into_iter();
    loop {
        while let Some((at, depth)) = waiting.pop() {
            if std::mem::replace(&mut drawn[at], true) {
                continue;
            }
            let (span, connection) = &trace.spans[at];
            rows.push(row(span, connection.as_deref(), depth));
            let below = (depth + 1).min(DEEPEST);
            waiting.extend(children.remove(&span.span_id).into_iter().flatten().rev().map(|child| (child, below)));
        }
        // Spans that are each other's ancestors, which only a broken sender makes: they are shown all the same.
        match rest.find(|&at| !drawn[at]) {
            Some(at) => waiting.push((at, 0)),
            None => return rows,
        }
    }
}

fn row<'a>(span: &'a Span, connection: Option<&'a Span>, depth: usize) -> Row<'a> {
    Row { span, connection, depth, service: clean(&span.resource.service).into_owned(), outcome: outcome(span) }
}

/// `GET /path?query`, or the span's name where it is not a request of HTTP.
fn request_of(span: &Span) -> String {
    let Some(method) = connection::text(span, "http.request.method") else { return span.name.to_string() };
    let method = connection::text(span, "http.request.method_original").unwrap_or(method);
    if let Some(path) = connection::text(span, "url.path") {
        return match connection::text(span, "url.query") {
            Some(query) => format!("{method} {path}?{query}"),
            None => format!("{method} {path}"),
        };
    }
    format!("{method} {}", connection::text(span, "url.full").unwrap_or_default())
}

/// `→ 200`, `→ 500 ✗`, `✗ connection_reset`.
fn outcome(span: &Span) -> String {
    let failed = span.status == Status::Error;
    let error = connection::text(span, "error.type").map(|error| clean(error).into_owned());
    match (connection::integer(span, "http.response.status_code"), failed) {
        (Some(code), false) => format!("→ {code}"),
        (Some(code), true) => match error.filter(|error| *error != code.to_string()) {
            Some(error) => format!("→ {code} ✗ {error}"),
            None => format!("→ {code} ✗"),
        },
        (None, true) => format!("✗ {}", error.unwrap_or_else(|| "failed".to_owned())),
        (None, false) => String::new(),
    }
}

fn ink_of(span: &Span) -> Ink {
    match (span.status, connection::integer(span, "http.response.status_code")) {
        (Status::Error, _) => Ink::Bad,
        (Status::Unset, Some(200..=299)) => Ink::Good,
        (Status::Unset, Some(_)) => Ink::Odd,
        (Status::Unset, None) => Ink::Plain,
    }
}

fn width(lengths: impl Iterator<Item = usize>, (least, most): (usize, usize)) -> usize {
    lengths.max().unwrap_or(0).clamp(least, most)
}

/// Where a span lies in its trace, in so many cells. Even the shortest is seen.
fn bar(offset: u64, took: u64, length: u64, cells: usize) -> String {
    let cell = |time: u64| -> usize {
        let at = u128::from(time) * cells as u128 / u128::from(length.max(1));
        usize::try_from(at).unwrap_or(cells).min(cells)
    };
    let first = cell(offset).min(cells - 1);
    let last = if length == 0 { cells } else { cell(offset.saturating_add(took)).max(first + 1) };
    let (filled, after) = (last - first, cells - last);
    format!("│{:first$}{}{:after$}│", "", "█".repeat(filled), "")
}
