//! Zipkin's B3 headers (openzipkin/b3-propagation): several become the single one.

use super::fields::{Field, text};
use crate::text::Text;

/// What was found in a head so far.
#[derive(Default)]
pub(super) struct B3<'a> {
    single: Option<Field<'a>>,
    trace: Option<Field<'a>>,
    span: Option<Field<'a>>,
    parent: Option<Field<'a>>,
    sampled: Option<Field<'a>>,
    flags: Option<Field<'a>>,
}

impl<'a> B3<'a> {
    /// Takes a field if it is one of the B3 headers. The first of a name counts.
    pub(super) fn take(&mut self, field: Field<'a>) {
        let place = match field.name.len() {
            2 if field.is("b3") => &mut self.single,
            10 if field.is("x-b3-flags") => &mut self.flags,
            11 if field.is("x-b3-spanid") => &mut self.span,
            12 if field.is("x-b3-traceid") => &mut self.trace,
            12 if field.is("x-b3-sampled") => &mut self.sampled,
            17 if field.is("x-b3-parentspanid") => &mut self.parent,
            _ => return,
        };
        place.get_or_insert(field);
    }

    /// The single form: `b3` as it came, else `{trace}-{span}[-{sampling}[-{parent}]]` or `{sampling}`.
    pub(super) fn single(self) -> Option<Text> {
        if let Some(single) = self.single {
            return Some(text(&single));
        }
        let sampling = self.sampling();
        let (Some(trace), Some(span)) = (&self.trace, &self.span) else {
            return sampling.map(Text::from);
        };
        let mut single = text(trace).into_owned();
        single.push('-');
        single.push_str(&text(span));
        if let Some(sampling) = sampling {
            single.push('-');
            single.push_str(sampling);
            if let Some(parent) = &self.parent {
                single.push('-');
                single.push_str(&text(parent));
            }
        }
        Some(single.into())
    }

    fn sampling(&self) -> Option<&'static str> {
        if self.flags.as_ref().is_some_and(|flags| flags.value() == b"1") {
            return Some("d");
        }
        match self.sampled.as_ref()?.value() {
            b"1" | b"true" => Some("1"),
            b"0" | b"false" => Some("0"),
            b"d" => Some("d"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Fields;
    use super::*;

    fn check(lines: &str, expect: Option<&str>) {
        let mut b3 = B3::default();
        for field in Fields::new(lines.as_bytes()).flatten() {
            b3.take(field);
        }
        assert_eq!(b3.single().as_deref(), expect, "{lines:?}");
    }

    #[test]
    fn several_headers_become_the_single_one() {
        check("X-B3-TraceId: 0a\r\nX-B3-SpanId: 0b\r\n", Some("0a-0b"));
        check("x-b3-spanid: 0b\r\nX-B3-TRACEID: 0a\r\nX-B3-Sampled: 1\r\n", Some("0a-0b-1"));
        check(
            "X-B3-TraceId: 0a\r\nX-B3-SpanId: 0b\r\nX-B3-ParentSpanId: 0c\r\nX-B3-Sampled: false\r\n",
            Some("0a-0b-0-0c"),
        );
        check("X-B3-TraceId: 0a\r\nX-B3-SpanId: 0b\r\nX-B3-Sampled: 0\r\nX-B3-Flags: 1\r\n", Some("0a-0b-d"));
        check("X-B3-TraceId: 0a\r\nX-B3-SpanId: 0b\r\nX-B3-ParentSpanId: 0c\r\n", Some("0a-0b"));
    }

    #[test]
    fn the_single_header_wins() {
        check("X-B3-TraceId: 0a\r\nX-B3-SpanId: 0b\r\nB3: 1-2-1\r\n", Some("1-2-1"));
    }

    #[test]
    fn a_sampling_decision_may_stand_alone() {
        check("X-B3-Sampled: 0\r\n", Some("0"));
        check("X-B3-TraceId: 0a\r\n", None);
        check("", None);
    }
}
