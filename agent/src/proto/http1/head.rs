//! Message heads: the request or status line and the fields that matter to a trace.

use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::Finder;

use super::Http;
use super::b3::B3;
use super::fields::{Field, Fields, line_feed, lossy, text, token_len};
use super::framing::Lengths;
use super::guess::well_known;
use crate::proto::ask::{Ask, Sent};
use crate::text::Text;

/// Looks for the empty line that ends a head, across any pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum EndScan {
    /// Somewhere in a line.
    #[default]
    Inside,
    /// Just after a line feed.
    LineStart,
    /// After a line feed and a carriage return.
    LineStartReturn,
}

/// What a request's head says besides what is kept of it.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) lengths: Lengths,
    /// The method is CONNECT.
    pub(super) connects: bool,
    /// `Expect: 100-continue`.
    pub(super) expects: bool,
    /// Some lines break the rules.
    pub(super) malformed: bool,
    /// What ties it to other requests.
    pub(super) ask: Ask,
}

/// A response's head.
#[derive(Debug, Default)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) lengths: Lengths,
    /// `Upgrade`.
    pub(super) upgrade: Option<Text>,
    /// Some lines break the rules.
    pub(super) malformed: bool,
}

/// Texts that the requests of a connection repeat: kept, so that they need not be made again.
#[derive(Debug, Default)]
pub(super) struct Usual {
    host: Text,
    user_agent: Text,
}

/// Longest text that is kept while nothing is open, bytes: host names have at most 255, user agents seldom more.
const USUAL_BYTES: usize = 256;

/// An empty line behind a line, the way heads end.
static EMPTY_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\r\n"));
/// An empty line behind a line, without carriage returns.
static EMPTY_BARE_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\n\n"));

impl EndScan {
    /// For the trailer of a chunked body, which may be empty.
    pub(super) fn at_line_start() -> Self {
        Self::LineStart
    }

    /// Takes bytes; returns the index after the line feed of the empty line.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        if matches!(self, Self::Inside) {
            // A whole head, mostly: one look for the place where it ends, instead of one for each line.
            let end = EMPTY_LINE.find(bytes).map(|at| at + 3);
            if let Some(end) = end
                && EMPTY_BARE_LINE.find(&bytes[..end]).is_none()
            {
                *self = Self::LineStartReturn;
                return Some(end);
            }
        }
        let mut index = 0;
        loop {
            *self = match (*self, bytes.get(index)?) {
                (Self::Inside, _) => {
                    index += memchr(b'\n', &bytes[index..])? + 1;
                    Self::LineStart
                }
                (Self::LineStart | Self::LineStartReturn, b'\n') => return Some(index + 1),
                (Self::LineStart, b'\r') => {
                    index += 1;
                    Self::LineStartReturn
                }
                (Self::LineStart | Self::LineStartReturn, _) => Self::Inside,
            };
        }
    }
}

impl Request {
    /// Reads a head as far as it is there into `http`. `None`, and nothing read, if it does not begin with a request line.
    pub(super) fn read(head: &[u8], usual: &mut Usual, http: &mut Http) -> Option<Self> {
        let (line, whole, lines) = first_line(head);
        request_line(line, whole, http)?;
        let mut request = Self { connects: http.method == "CONNECT", ..Self::default() };
        let mut context = Context::default();
        for field in Fields::new(lines) {
            match field {
                Ok(field) => request.field(field, usual, http, &mut context),
                Err(_) => request.malformed = true,
            }
        }
        request.malformed |= request.lengths.contradict();
        http.b3 = context.b3.single();
        http.traceparent = context.traceparent.filter(|_| context.traceparents == 1);
        http.forwarded = context.forwarded.or(context.forwarded_for);
        request.ask.target(&http.method, &http.target);
        if http.traceparent.is_some() || http.b3.is_some() {
            let sent = Sent { traceparent: http.traceparent.clone(), b3: http.b3.clone() };
            request.ask.context = Some(Box::new(sent));
        }
        Some(request)
    }

    fn field<'a>(&mut self, field: Field<'a>, usual: &mut Usual, http: &mut Http, context: &mut Context<'a>) {
        let first = |place: &mut Option<Text>| {
            if place.is_none() {
                *place = Some(text(&field));
            }
        };
        let first_usual = |place: &mut Option<Text>, usual: &mut Text| {
            if place.is_none() {
                *place = Some(usual_text(&field, usual));
            }
        };
        self.ask.header(field.name, field.value());
        match field.name.len() {
            4 if field.is("host") => first_usual(&mut http.host, &mut usual.host),
            6 if field.is("expect") => self.expects |= field.value().eq_ignore_ascii_case(b"100-continue"),
            9 if field.is("forwarded") => first(&mut context.forwarded),
            10 if field.is("user-agent") => first_usual(&mut http.user_agent, &mut usual.user_agent),
            10 if field.is("tracestate") => match &mut http.tracestate {
                Some(states) => *states = [states, ",", &text(&field)].concat().into(),
                none => *none = Some(text(&field)),
            },
            11 if field.is("traceparent") => {
                context.traceparents += 1;
                first(&mut context.traceparent);
            }
            12 if field.is("x-request-id") => first(&mut http.request_id),
            15 if field.is("x-forwarded-for") => first(&mut context.forwarded_for),
            17 if field.is("x-forwarded-proto") => first(&mut http.forwarded_proto),
            2 | 10..=12 | 17 if field.name.contains(&b'3') => context.b3.take(field),
            _ => self.lengths.take(&field),
        }
    }
}

impl Response {
    /// Reads a head as far as it is there. `None` if it does not begin with a status line.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let (line, _, lines) = first_line(head);
        let mut response = Self { status: status(line)?, ..Self::default() };
        for field in Fields::new(lines) {
            match field {
                Ok(field) if field.name.len() == 7 && field.is("upgrade") => response.upgrade = Some(text(&field)),
                Ok(field) => response.lengths.take(&field),
                Err(_) => response.malformed = true,
            }
        }
        response.malformed |= response.lengths.contradict();
        Some(response)
    }
}

/// What is decided only once the whole head was read.
#[derive(Default)]
struct Context<'a> {
    traceparent: Option<Text>,
    traceparents: usize,
    forwarded: Option<Text>,
    forwarded_for: Option<Text>,
    b3: B3<'a>,
}

/// The first line without its end, whether that end was there, and the lines after it.
fn first_line(head: &[u8]) -> (&[u8], bool, &[u8]) {
    match line_feed(head, 0) {
        Some(end) => (head[..end].trim_ascii_end(), true, &head[end + 1..]),
        None => (head, false, &[]),
    }
}

/// The value as text, which is likely to be the one before.
fn usual_text(field: &Field<'_>, usual: &mut Text) -> Text {
    if field.value() != usual.as_bytes() {
        let text = text(field);
        if text.len() > USUAL_BYTES {
            return text;
        }
        *usual = text;
    }
    usual.clone()
}

/// Method, target and version.
fn request_line(line: &[u8], whole: bool, http: &mut Http) -> Option<()> {
    let (method, rest) = line.split_at(token_len(line));
    let rest = rest.strip_prefix(b" ")?.trim_ascii_start();
    if method.is_empty() {
        return None;
    }
    let last = rest.iter().rposition(|&byte| byte == b' ');
    let version = last.and_then(|last| rest[last + 1..].strip_prefix(b"HTTP/1."));
    let target = match (version, last) {
        (Some([minor @ b'0'..=b'9', ..]), Some(last)) => {
            http.minor_version = u8::from(*minor != b'0');
            &rest[..last]
        }
        _ if whole => return None,
        _ => {
            http.minor_version = 1;
            rest.split(|&byte| byte == b' ').next().unwrap_or_default()
        }
    };
    http.method = well_known(method).map_or_else(|| lossy(method), Text::from);
    http.target = lossy(target.trim_ascii_end());
    Some(())
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [minor, b' ', code @ ..] = rest else { return None };
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', after @ ..] = code.trim_ascii_start() else { return None };
    let ends = matches!(after.first(), None | Some(b' '));
    (minor.is_ascii_digit() && ends).then(|| [a, b, c].iter().fold(0, |sum, &&d| sum * 10 + u16::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str) -> Http {
        let mut http = Http::default();
        Request::read(head.as_bytes(), &mut Usual::default(), &mut http).expect(head);
        http
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_is_cut() {
        for head in ["A\r\nB: c\r\n\r\n", "A\nB: c\n\n", "A\r\n\r\n", "A\n\rB\r\n\n", "A\r\n\r\r\n\r\n"] {
            assert_eq!(EndScan::default().feed(head.as_bytes()), Some(head.len()), "{head:?}");
            let mut scan = EndScan::default();
            let ends: Vec<_> = head.bytes().map(|byte| scan.feed(&[byte])).collect();
            assert_eq!(ends.iter().position(Option::is_some), Some(head.len() - 1), "{head:?}");
        }
    }

    #[test]
    fn targets_of_every_form_are_kept_as_sent() {
        for target in ["/", "*", "http://host/a?b", "host:443", "/a b", "/\u{e9}"] {
            let http = request(&format!("PROPFIND {target} HTTP/1.0\r\n\r\n"));
            assert_eq!((http.method.as_str(), http.target.as_str(), http.minor_version), ("PROPFIND", target, 0));
        }
    }

    #[test]
    fn part_of_a_request_line_is_read_as_far_as_it_goes() {
        for (head, target) in [("GET /abc", "/abc"), ("GET /abc HTT", "/abc"), ("GET ", "")] {
            assert_eq!(request(head).target, target);
        }
        for head in ["GE", "", "GET /\r\n", "GET / HTTP/2.0\r\n", "G\0T / HTTP/1.1\r\n"] {
            let mut http = Http::default();
            assert!(Request::read(head.as_bytes(), &mut Usual::default(), &mut http).is_none(), "{head:?}");
            assert_eq!(http, Http::default(), "{head:?}");
        }
    }

    #[test]
    fn a_trace_context_must_be_there_once() {
        let http = request("GET / HTTP/1.1\r\nTraceParent: a\r\ntracestate: x=1\r\nTRACESTATE: y=2\r\n\r\n");
        assert_eq!((http.traceparent.as_deref(), http.tracestate.as_deref()), (Some("a"), Some("x=1,y=2")));
        assert_eq!(request("GET / HTTP/1.1\r\ntraceparent: a\r\ntraceparent: a\r\n\r\n").traceparent, None);
    }

    #[test]
    fn what_requests_repeat_is_kept_until_it_changes() {
        let mut usual = Usual::default();
        let mut read = |head: &str| {
            let mut http = Http::default();
            Request::read(head.as_bytes(), &mut usual, &mut http).expect(head);
            (http.host.unwrap_or_default(), http.user_agent.unwrap_or_default())
        };
        let agent = "u".repeat(USUAL_BYTES);
        let long = "v".repeat(USUAL_BYTES + 1);
        let (host, first) = read(&format!("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n"));
        assert_eq!((host.as_str(), first.as_str()), ("a", agent.as_str()));
        let (host, other) = read(&format!("GET / HTTP/1.1\r\nHost: b\r\nUser-Agent: {long}\r\nHost: c\r\n\r\n"));
        assert_eq!((host.as_str(), other.as_str()), ("b", long.as_str()));
        let (host, again) = read(&format!("GET / HTTP/1.1\r\nHost:\r\nUser-Agent: {agent}\r\n\r\n"));
        assert_eq!(host.as_str(), "");
        assert!(std::ptr::eq(again.as_str(), first.as_str()), "not made again");
    }

    #[test]
    fn what_proxies_say_is_read() {
        let http = request(
            "GET / HTTP/1.1\r\nhost: h\r\nX-Forwarded-For: a, b\r\nForwarded: for=c\r\nX-Forwarded-Proto: https\r\n\
             X-Request-ID: 7\r\nUser-Agent: u\r\nb3: 0\r\n\r\n",
        );
        assert_eq!(http.forwarded.as_deref(), Some("for=c"));
        assert_eq!(http.forwarded_proto.as_deref(), Some("https"));
        assert_eq!(http.request_id.as_deref(), Some("7"));
        assert_eq!((http.host.as_deref(), http.user_agent.as_deref()), (Some("h"), Some("u")));
        assert_eq!(http.b3.as_deref(), Some("0"));
        let http = request("GET / HTTP/1.1\r\nX-Forwarded-For: a, b\r\n\r\n");
        assert_eq!(http.forwarded.as_deref(), Some("a, b"));
    }

    #[test]
    fn status_lines_need_a_version_and_three_digits() {
        for (line, expect) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 404\r\n", Some(404)),
            ("HTTP/1.1  299 \r\n", Some(299)),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 20", None),
            ("HTTP/1.x 200 OK\r\n", None),
            ("HTTP/1.1 099 OK\r\n", None),
        ] {
            assert_eq!(Response::parse(line.as_bytes()).map(|response| response.status), expect, "{line:?}");
        }
    }
}
