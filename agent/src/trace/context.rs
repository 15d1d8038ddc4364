//! Trace context that an application sent: `traceparent` and `tracestate` (W3C Trace Context, level 2), and `b3`
//! (github.com/openzipkin/b3-propagation, single-header form).

use super::link::Method;
use super::span::{SpanId, TraceId};
use crate::proto::ask::Sent;
use crate::proto::http1::Http;

/// A context that came with a request: it decides the trace and the parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace that the request belongs to.
    pub trace_id: TraceId,
    /// The span that the sender named as the parent.
    pub parent: SpanId,
    /// W3C trace flags, those that are defined.
    pub flags: u8,
    /// `tracestate`, as received; empty where there is none, or it breaks the rules.
    pub state: String,
    /// Which header it came in.
    pub method: Method,
}

/// W3C trace flag: the sender may have recorded the trace.
pub const SAMPLED: u8 = 1;
/// W3C trace flag (level 2): the right-most 7 bytes of the trace id are random.
const RANDOM: u8 = 2;

/// Members that a `tracestate` may have (W3C Trace Context 3.3.1.1).
const TRACESTATE_MEMBERS: usize = 32;
/// Longest `tracestate` that is passed on, bytes: four times the 512 that everyone must support.
const TRACESTATE_BYTES: usize = 2048;

impl Context {
    /// The context of a request: `traceparent` if it is valid, else `b3`.
    #[must_use]
    pub fn of(http: &Http) -> Option<Self> {
        let w3c = http.traceparent.as_deref().and_then(traceparent);
        if let Some((trace_id, parent, flags)) = w3c {
            let state = http.tracestate.as_deref().filter(|state| is_tracestate(state)).unwrap_or_default().to_owned();
            return Some(Self { trace_id, parent, flags, state, method: Method::Traceparent });
        }
        let (trace_id, parent, flags) = b3(http.b3.as_deref()?)?;
        Some(Self { trace_id, parent, flags, state: String::new(), method: Method::B3 })
    }
}

/// The trace that a request belongs to, as the application said.
#[must_use]
pub fn trace_of(sent: &Sent) -> Option<TraceId> {
    let w3c = sent.traceparent.as_deref().and_then(traceparent);
    w3c.or_else(|| b3(sent.b3.as_deref()?)).map(|(trace_id, _, _)| trace_id)
}

/// Trace id, parent id and flags of a `traceparent`; `None` where the standard says to ignore it.
fn traceparent(text: &str) -> Option<(TraceId, SpanId, u8)> {
    let text = text.trim_matches([' ', '\t']).as_bytes();
    let (fields, rest) = text.split_at_checked(55)?;
    if fields[2] != b'-' || fields[35] != b'-' || fields[52] != b'-' {
        return None;
    }
    let [version] = lower_hex::<1>(&fields[..2])?;
    // Version 00 has no more fields; a later one has them behind another dash.
    let has_allowed_length = if version == 0 { rest.is_empty() } else { rest.first().is_none_or(|&byte| byte == b'-') };
    if version == 0xff || !has_allowed_length {
        return None;
    }
    let trace = lower_hex::<16>(&fields[3..35])?;
    let parent = lower_hex::<8>(&fields[36..52])?;
    let [flags] = lower_hex::<1>(&fields[53..55])?;
    Some((trace_id(trace)?, span_id(parent)?, flags & (SAMPLED | RANDOM)))
}

/// Trace id, span id and flags of a `b3` header: `{trace}-{span}[-{state}[-{parent}]]`.
///
/// A header that holds the sampling decision alone names no parent. A trace id of 16 digits is the low half of ours.
fn b3(text: &str) -> Option<(TraceId, SpanId, u8)> {
    let mut fields = text.trim_matches([' ', '\t']).split('-');
    let trace = fields.next()?.as_bytes();
    let trace = match trace.len() {
        32 => any_hex::<16>(trace)?,
        16 => {
            let mut id = [0; 16];
            id[8..].copy_from_slice(&any_hex::<8>(trace)?);
            id
        }
        _ => return None,
    };
    let span = any_hex::<8>(fields.next()?.as_bytes())?;
    // Without a state the decision is left to the receiver, and we keep everything.
    let flags = match fields.next() {
        None | Some("1" | "d" | "true") => SAMPLED,
        Some("0" | "false") => 0,
        Some(_) => return None,
    };
    let has_valid_rest = fields.next().is_none_or(|parent| any_hex::<8>(parent.as_bytes()).is_some());
    if !has_valid_rest || fields.next().is_some() {
        return None;
    }
    Some((trace_id(trace)?, span_id(span)?, flags))
}

/// Whether a `tracestate` keeps the rules well enough to be passed on: members `key=value` of printable characters,
/// not too many. Empty members are allowed.
fn is_tracestate(text: &str) -> bool {
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    let mut members = 0;
    let all_have_keys = text.split(',').map(|member| member.trim_matches([' ', '\t'])).all(|member| {
        members += usize::from(!member.is_empty());
        member.is_empty() || member.split_once('=').is_some_and(|(key, value)| !key.is_empty() && !value.is_empty())
    });
    is_printable && all_have_keys && members <= TRACESTATE_MEMBERS && text.len() <= TRACESTATE_BYTES
}

fn trace_id(bytes: [u8; 16]) -> Option<TraceId> {
    (bytes != [0; 16]).then_some(TraceId(bytes))
}

fn span_id(bytes: [u8; 8]) -> Option<SpanId> {
    (bytes != [0; 8]).then_some(SpanId(bytes))
}

/// `N` bytes from `2 N` lower-case digits: the standard allows no others in a `traceparent`.
fn lower_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.iter().any(u8::is_ascii_uppercase) { None } else { any_hex(digits) }
}

fn any_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Text;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    fn context(traceparent: Option<&str>, tracestate: Option<&str>, b3: Option<&str>) -> Option<Context> {
        Context::of(&Http {
            traceparent: traceparent.map(Text::new),
            tracestate: tracestate.map(Text::new),
            b3: b3.map(Text::new),
            ..Http::default()
        })
    }

    fn check(traceparent: &str, flags: Option<u8>) {
        let found = context(Some(traceparent), None, None);
        assert_eq!(found.as_ref().map(|context| context.flags), flags, "{traceparent}");
        if let Some(context) = found {
            assert_eq!((context.trace_id.to_string().as_str(), context.parent.to_string().as_str()), (TRACE, PARENT));
        }
    }

    #[test]
    fn valid_traceparents_are_adopted() {
        check(&format!("00-{TRACE}-{PARENT}-01"), Some(1));
        check(&format!("00-{TRACE}-{PARENT}-00"), Some(0));
        check(&format!("00-{TRACE}-{PARENT}-02"), Some(2));
        check(&format!("00-{TRACE}-{PARENT}-ff"), Some(3));
        check(&format!(" 00-{TRACE}-{PARENT}-01\t"), Some(1));
        check(&format!("cc-{TRACE}-{PARENT}-01"), Some(1));
        check(&format!("cc-{TRACE}-{PARENT}-01-what-comes"), Some(1));
    }

    #[test]
    fn invalid_traceparents_are_ignored() {
        check("", None);
        check("00", None);
        check(&format!("ff-{TRACE}-{PARENT}-01"), None);
        check(&format!("00-{TRACE}-{PARENT}-01-more"), None);
        check(&format!("00-{TRACE}-{PARENT}-01x"), None);
        check(&format!("cc-{TRACE}-{PARENT}-01.more"), None);
        check(&format!("00-{TRACE}-{PARENT}-1"), None);
        check(&format!("00-{}-{PARENT}-01", TRACE.to_uppercase()), None);
        check(&format!("00-{}-{PARENT}-01", "0".repeat(32)), None);
        check(&format!("00-{TRACE}-0000000000000000-01"), None);
        check(&format!("00-{TRACE}-b7ad6b716920333g-01"), None);
        check(&format!("00-{TRACE}+{PARENT}-01"), None);
        check(&"ä".repeat(40), None);
    }

    #[test]
    fn a_bad_tracestate_does_not_harm_the_traceparent() {
        let parent = format!("00-{TRACE}-{PARENT}-01");
        let state = |text: &str| context(Some(&parent), Some(text), None).map(|context| context.state);
        assert_eq!(state("a=1,b=2").as_deref(), Some("a=1,b=2"));
        assert_eq!(state("a=1,,b=2, ").as_deref(), Some("a=1,,b=2, "));
        let many = |n| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(state(&many(32)), Some(many(32)));
        for bad in [many(33).as_str(), "novalue", "=x", "a=", "a=\u{7}", "a=é", &format!("a={}", "x".repeat(3000))] {
            assert_eq!(state(bad).as_deref(), Some(""), "{bad}");
        }
    }

    #[test]
    fn tracestate_alone_says_nothing() {
        assert_eq!(context(None, Some("a=1"), None), None);
        assert_eq!(context(Some("00-bad"), Some("a=1"), None), None);
    }

    #[test]
    fn b3_is_read_where_there_is_no_traceparent() {
        let flags = |text: &str| {
            let context = context(None, Some("a=1"), Some(text))?;
            assert_eq!((context.parent.to_string().as_str(), context.method), (PARENT, Method::B3), "{text}");
            assert_eq!(context.state, "", "the state belongs to the other standard");
            Some((context.trace_id.to_string(), context.flags))
        };
        assert_eq!(flags(&format!("{TRACE}-{PARENT}-1")), Some((TRACE.to_owned(), 1)));
        assert_eq!(flags(&format!("{TRACE}-{PARENT}-d")), Some((TRACE.to_owned(), 1)));
        assert_eq!(flags(&format!("{TRACE}-{PARENT}-0-05e3ac9a4f6e3b90")), Some((TRACE.to_owned(), 0)));
        assert_eq!(flags(&format!("{TRACE}-{PARENT}")), Some((TRACE.to_owned(), 1)));
        assert_eq!(flags(&format!("8448eb211c80319c-{PARENT}-1")), Some((format!("{:0>32}", "8448eb211c80319c"), 1)));
        for bad in ["0", "1", "d", "", "x-y-1", &format!("{TRACE}-{PARENT}-2"), &format!("{TRACE}-{PARENT}-1-xx")] {
            assert_eq!(flags(bad), None, "{bad}");
        }
        assert_eq!(flags(&format!("{TRACE}-{PARENT}-1-05e3ac9a4f6e3b90-more")), None);
    }

    #[test]
    fn traceparent_wins_over_b3() {
        let other = format!("{}-{}-1", "1".repeat(32), "2".repeat(16));
        let found = context(Some(&format!("00-{TRACE}-{PARENT}-01")), None, Some(&other)).expect("a context");
        assert_eq!((found.trace_id.to_string().as_str(), found.method), (TRACE, Method::Traceparent));
        let found = context(Some("00-nonsense"), None, Some(&other)).expect("a context");
        assert_eq!(found.method, Method::B3);
    }
}
