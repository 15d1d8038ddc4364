//! Right, wrong, abstained: spans held against the truth.

use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;

use crate::accuracy::calibration::Calibration;
use crate::accuracy::spans::{Kind, Span, Spans};
use crate::accuracy::token::Token;

/// Spans between a call and its request at most. Links that go in circles end here.
const MOST_BETWEEN: usize = 16;

/// Shown as the method of a link that does not say how it was found.
const UNSAID: &str = "(unsaid)";

/// The truth about a request that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth {
    /// The load that it belongs to, by a number.
    pub(super) load: usize,
    /// The span id in the `traceparent` that it came with: a call that has it for a parent has none in the process.
    pub(super) sent: Option<u64>,
}

/// How the links of a load are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Score {
    /// Requests that were answered.
    pub(super) requests: u64,
    /// Calls that they must have made.
    pub(super) calls: u64,
    /// Calls below their own request.
    pub(super) right: u64,
    /// Calls below another one, or below a span that there is not.
    pub(super) wrong: u64,
    /// Calls that are below no request.
    pub(super) abstained: u64,
    /// Calls without a span, or whose request has none.
    pub(super) lost: u64,
    /// Spans of a call beyond its first: it was sent again.
    pub(super) again: u64,
    /// Requests that are right with all their calls.
    pub(super) whole: u64,
    /// Right and wrong links by how they were found.
    pub(super) methods: BTreeMap<String, [u64; 2]>,
    /// Right and wrong links by how sure they are.
    pub(super) calibration: Calibration,
}

/// A judgement about a call, the worst one last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Right,
    Abstained,
    Lost,
    Wrong,
}

/// Scores of the loads, by their numbers, and how many spans of requests had no token.
pub(super) fn score(spans: &Spans, truths: &HashMap<Token, Truth>, calls: &[&str], loads: usize) -> (Vec<Score>, u64) {
    let mut scores = vec![Score::default(); loads];
    let mut tokenless = 0;
    let mut found: HashMap<Token, Found<'_>> = HashMap::new();
    for span in spans.values() {
        let Some((call, token)) = &span.place else {
            tokenless += u64::from(span.kind != Kind::Other);
            continue;
        };
        let found = found.entry(*token).or_default();
        match span.kind {
            Kind::Server => found.has_server = true,
            Kind::Client => found.calls.push((call, span)),
            Kind::Other => {}
        }
    }
    for (token, truth) in truths {
        let found = found.remove(token).unwrap_or_default();
        found.judge(&mut scores[truth.load], spans, *token, truth, calls);
    }
    (scores, tokenless)
}

/// Spans of a request.
#[derive(Default)]
struct Found<'a> {
    has_server: bool,
    calls: Vec<(&'a str, &'a Span)>,
}

impl Found<'_> {
    fn judge(&self, score: &mut Score, spans: &Spans, token: Token, truth: &Truth, calls: &[&str]) {
        score.requests += 1;
        let mut right = 0;
        for call in calls {
            score.calls += 1;
            let of_this: Vec<_> = self.calls.iter().filter(|(name, _)| name == call).map(|(_, span)| *span).collect();
            for span in &of_this {
                score.note(span, self.verdict(spans, span, token, truth));
            }
            // A call that was sent again is as good as its worst link.
            let worst = of_this.iter().map(|span| self.verdict(spans, span, token, truth)).max();
            let verdict = worst.unwrap_or(Verdict::Lost);
            score.again += of_this.iter().skip(1).map(|_| 1).sum::<u64>();
            match verdict {
                Verdict::Right => score.right += 1,
                Verdict::Wrong => score.wrong += 1,
                Verdict::Abstained => score.abstained += 1,
                Verdict::Lost => score.lost += 1,
            }
            right += usize::from(verdict == Verdict::Right);
        }
        score.whole += u64::from(self.has_server && right == calls.len());
    }

    fn verdict(&self, spans: &Spans, call: &Span, token: Token, truth: &Truth) -> Verdict {
        let mut parent = call.parent;
        for _ in 0..MOST_BETWEEN {
            if parent == 0 || truth.sent == Some(parent) {
                return if self.has_server { Verdict::Abstained } else { Verdict::Lost };
            }
            let Some(span) = spans.get(&parent) else {
                // Perhaps its own, which was lost.
                return if self.has_server { Verdict::Wrong } else { Verdict::Lost };
            };
            if span.kind == Kind::Server {
                let is_own = span.place.as_ref().is_some_and(|(_, of)| *of == token) && span.trace == call.trace;
                return if is_own { Verdict::Right } else { Verdict::Wrong };
            }
            parent = span.parent;
        }
        Verdict::Wrong
    }
}

impl Score {
    /// Notes how a link was found, if there is one.
    fn note(&mut self, span: &Span, verdict: Verdict) {
        let is_right = match verdict {
            Verdict::Right => true,
            Verdict::Wrong => false,
            Verdict::Abstained | Verdict::Lost => return,
        };
        let (method, confidence) = span.link.as_ref().map_or((UNSAID, f64::NAN), |(method, sure)| (method, *sure));
        let counts = self.methods.entry(method.to_owned()).or_default();
        counts[usize::from(!is_right)] += 1;
        self.calibration.note(confidence, is_right);
    }
}

impl AddAssign<&Self> for Score {
    fn add_assign(&mut self, other: &Self) {
        self.requests += other.requests;
        self.calls += other.calls;
        self.right += other.right;
        self.wrong += other.wrong;
        self.abstained += other.abstained;
        self.lost += other.lost;
        self.again += other.again;
        self.whole += other.whole;
        for (method, counts) in &other.methods {
            let sum = self.methods.entry(method.clone()).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        self.calibration += &other.calibration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: [&str; 2] = ["a", "b"];

    fn span(kind: Kind, call: &str, token: u64, parent: u64, link: Option<(&str, f64)>) -> Span {
        Span {
            trace: "t".to_owned(),
            parent,
            kind,
            place: Some((call.to_owned(), Token(token))),
            link: link.map(|(method, sure)| (method.to_owned(), sure)),
        }
    }

    fn server(token: u64) -> Span {
        span(Kind::Server, "work", token, 0, None)
    }

    fn scored(spans: Vec<(u64, Span)>, tokens: &[u64]) -> Score {
        let truth = |token: &u64| (Token(*token), Truth { load: 0, sent: Some(99) });
        let (scores, _) = score(&spans.into_iter().collect(), &tokens.iter().map(truth).collect(), &CALLS, 1);
        scores.into_iter().next().unwrap()
    }

    #[test]
    fn a_call_is_right_below_its_own_request_and_wrong_below_another() {
        let linked = Some(("thread", 0.97));
        let score = scored(
            vec![
                (1, server(7)),
                (2, server(8)),
                (3, span(Kind::Client, "a", 7, 1, linked)),
                (4, span(Kind::Client, "b", 7, 1, Some(("queue", 0.7)))),
                (5, span(Kind::Client, "a", 8, 2, linked)),
                (6, span(Kind::Client, "b", 8, 1, linked)),
            ],
            &[7, 8],
        );
        assert_eq!((score.requests, score.calls, score.right, score.wrong), (2, 4, 3, 1));
        assert_eq!((score.abstained, score.lost, score.whole), (0, 0, 1));
        assert_eq!(score.methods, BTreeMap::from([("queue".to_owned(), [1, 0]), ("thread".to_owned(), [2, 1])]));
    }

    #[test]
    fn no_parent_and_the_parent_that_came_in_are_abstentions() {
        let calls = |a, b| {
            vec![(1, server(7)), (2, span(Kind::Client, "a", 7, a, None)), (3, span(Kind::Client, "b", 7, b, None))]
        };
        let score = scored(calls(0, 99), &[7]);
        assert_eq!((score.abstained, score.right, score.wrong, score.whole), (2, 0, 0, 0));
        // Nobody's span.
        assert_eq!(scored(calls(1, 55), &[7]).wrong, 1);
    }

    #[test]
    fn spans_between_are_climbed_and_circles_end() {
        let between = |parent| Span { kind: Kind::Other, place: None, parent, ..server(7) };
        let call = |parent| span(Kind::Client, "a", 7, parent, None);
        let score = scored(vec![(1, server(7)), (2, between(1)), (3, call(2))], &[7]);
        assert_eq!((score.right, score.lost), (1, 1));
        assert_eq!(scored(vec![(1, server(7)), (2, between(3)), (3, call(2))], &[7]).wrong, 1);
    }

    #[test]
    fn what_has_no_span_is_lost_and_a_call_sent_again_counts_once() {
        let score = scored(vec![(3, span(Kind::Client, "a", 7, 1, None))], &[7]);
        assert_eq!((score.lost, score.wrong, score.abstained), (2, 0, 0));
        let call = || span(Kind::Client, "a", 7, 1, None);
        let score = scored(vec![(1, server(7)), (2, call()), (3, call())], &[7]);
        assert_eq!((score.right, score.again, score.lost, score.calls), (1, 1, 1, 2));
    }

    #[test]
    fn another_trace_is_wrong_whatever_the_parent() {
        let call = Span { trace: "u".to_owned(), ..span(Kind::Client, "a", 7, 1, None) };
        assert_eq!(scored(vec![(1, server(7)), (2, call)], &[7]).wrong, 1);
    }

    #[test]
    fn spans_without_a_token_are_counted() {
        let spans = Spans::from([(1, Span { place: None, ..server(7) })]);
        assert_eq!(score(&spans, &HashMap::new(), &CALLS, 0).1, 1);
    }
}
