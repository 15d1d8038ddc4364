//! What is seen on the console, and what is counted.

use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

use super::*;
use crate::export::fixture;
use crate::trace::span::{Attribute, Resource, SpanId, Status};

const PATIENCE: Duration = Duration::from_secs(20);

fn drawn(spans: &[Span]) -> String {
    text::all(Style::default(), spans)
}

fn refused(resource: &Arc<Resource>) -> Span {
    let mut span = fixture::connection(2, resource);
    span.status = Status::Error;
    let stays = |key: &str| key.starts_with("network.") || key == "wirespan.connection.role";
    span.attributes.retain(|attribute| stays(&attribute.key));
    span.attributes.push(Attribute::new("wirespan.tcp.sent", 0));
    span.attributes.push(Attribute::new("wirespan.tcp.received", 0));
    span.attributes.push(Attribute::new("wirespan.connection.end", "refused"));
    span.attributes.push(Attribute::new("error.type", "connection_refused"));
    span
}

#[test]
fn a_curl_of_nginx_is_one_waterfall() {
    let (curl, nginx) = (fixture::resource("curl"), fixture::resource("nginx"));
    let spans = vec![fixture::server(1, &nginx), fixture::connection(1, &curl), fixture::client(1, &curl)];
    insta::assert_snapshot!(drawn(&spans), @r"
    22:13:20.000 01010101 curl GET 1.32 ms
      curl             CLIENT GET http://127.0.0.1/index.html              → 200      612 B   1.32 ms │████████████████████│
        └ tcp 127.0.0.1:53412 → 127.0.0.1:80 · connect 45.0 µs · sent 78 B received 853 B · rtt 21.0 µs · closed by client
        nginx          SERVER GET /index.html                              → 200      612 B    810 µs │   █████████████    │
    ");
}

#[test]
fn failures_are_marked_and_a_refused_connection_has_a_line_of_its_own() {
    let (gateway, backend) =
        (fixture::resource("gateway"), fixture::resource("a-backend-with-a-very-long-service-name"));
    let mut bad = fixture::server(1, &gateway);
    bad.parent = None;
    bad.status = Status::Error;
    bad.attributes[2] = Attribute::new("http.response.status_code", 502);
    bad.attributes.push(Attribute::new("error.type", "502"));
    let mut cut = fixture::client(1, &backend);
    cut.parent = Some(bad.span_id);
    cut.start_unix_ns += 500_000;
    cut.end_unix_ns -= 300_000;
    cut.status = Status::Error;
    cut.attributes = vec![
        Attribute::new("http.request.method", "GET"),
        Attribute {
            key: "url.full".into(),
            value: format!("http://10.0.0.1/{}?last=1", "a-long-path/".repeat(20)).into(),
        },
        Attribute::new("error.type", "connection_reset"),
    ];
    insta::assert_snapshot!(drawn(&[cut, bad, refused(&gateway)]), @r"
    22:13:20.000 01010101 gateway GET 810 µs
      gateway                    SERVER GET /index.html        → 502 ✗                612 B    810 µs │████████████████████│
        a-backend-wi…ervice-name CLIENT GET http://…th/?last=1 ✗ connection_reset              520 µs │     █████████████  │
    22:13:19.999 gateway              tcp 127.0.0.1:53412 → 127.0.0.1:80 · ✗ connection_refused 1.54 ms
    ");
}

#[test]
fn the_same_spans_give_the_same_bytes() {
    let (curl, nginx) = (fixture::resource("curl"), fixture::resource("nginx"));
    let spans: Vec<Span> = (0..60)
        .flat_map(|n| [fixture::server(n, &nginx), fixture::connection(n, &curl), fixture::client(n, &curl)])
        .collect();
    for format in [Format::Text, Format::Json] {
        let print = || {
            let mut out = Vec::new();
            print_all(format, Style::default(), &spans, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let first = print();
        assert!(first.contains("index.html"));
        assert_eq!(first, print());
    }
    assert_eq!(drawn(&spans).matches("CLIENT").count(), 60, "nothing is left out");
}

#[test]
fn spans_that_are_each_others_parents_are_shown_all_the_same() {
    let curl = fixture::resource("curl");
    let (mut one, mut two) = (fixture::client(1, &curl), fixture::client(1, &curl));
    two.span_id = SpanId([9; 8]);
    one.parent = Some(two.span_id);
    two.parent = Some(one.span_id);
    assert_eq!(drawn(&[one, two]).matches("CLIENT").count(), 2);
}

#[test]
fn a_span_that_says_nothing_is_shown() {
    let mut bare = fixture::client(1, &Arc::new(Resource::default()));
    bare.attributes.clear();
    bare.end_unix_ns = bare.start_unix_ns;
    let mut connection = bare.clone();
    connection.scope = crate::trace::span::Scope::L4;
    assert_eq!(drawn(&[bare, connection]).lines().count(), 3);
}

#[test]
fn what_comes_from_the_wire_cannot_control_the_terminal() {
    const EVIL: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\r\n\u{202e}\u{7f}";
    let evil = || EVIL.to_owned();
    let service = Arc::new(Resource { service: evil(), ..Resource::default() });
    let mut request = fixture::server(1, &service);
    request.name = evil().into();
    request.status = Status::Error;
    for key in ["http.request.method", "http.request.method_original", "url.path", "url.query", "error.type"] {
        request.attributes.retain(|attribute| attribute.key != key);
        request.attributes.push(Attribute::new(key, evil()));
    }
    let mut named = request.clone();
    named.attributes.clear();
    let mut connection = refused(&service);
    for attribute in &mut connection.attributes {
        attribute.value = evil().into();
    }
    connection.attributes.push(Attribute::new("server.address", evil()));
    connection.attributes.push(Attribute::new("tls.protocol.version", evil()));
    connection.attributes.push(Attribute::new("tls.next_protocol", evil()));
    let mut full = request.clone();
    full.attributes.retain(|attribute| attribute.key != "url.path");
    full.attributes.push(Attribute::new("url.full", evil()));
    full.links = fixture::client(2, &service).links;
    let text = drawn(&[request, named, connection.clone(), full]);
    let odd: String = text.chars().filter(|c| *c != '\n' && (c.is_control() || *c == '\u{202e}')).collect();
    assert_eq!(odd, "");
    connection.span_id = SpanId([8; 8]);
    assert_eq!(drawn(&[connection]).lines().count(), 1, "a line break is not one");
}

#[test]
fn colours_change_nothing_but_colours() {
    let (curl, nginx) = (fixture::resource("curl"), fixture::resource("nginx"));
    let spans =
        vec![fixture::server(1, &nginx), fixture::connection(1, &curl), fixture::client(1, &curl), refused(&curl)];
    let coloured = text::all(Style { colour: true, ..Style::default() }, &spans);
    let mut plain = String::new();
    let mut parts = coloured.split("\u{1b}[");
    plain.push_str(parts.next().unwrap());
    for part in parts {
        plain.push_str(part.split_once('m').unwrap().1);
    }
    assert_eq!(plain, drawn(&spans));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let (curl, nginx) = (fixture::resource("curl"), fixture::resource("nginx"));
    for columns in [80, 99, 100, 120, 200] {
        let spans =
            vec![fixture::server(1, &nginx), fixture::connection(1, &curl), fixture::client(1, &curl), refused(&nginx)];
        let text = text::all(Style { columns, ..Style::default() }, &spans);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(columns), "{widest} of {columns}:\n{text}");
    }
}

/// Where a test's console writes.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output that says when it is written to and then fails, or blocks until the test ends.
struct Broken {
    written: SyncSender<()>,
    block: Option<Receiver<()>>,
}

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.written.send(()).ok();
        if let Some(block) = &self.block {
            block.recv().ok();
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn start(format: Format, out: impl Write + Send + 'static) -> (Console, Arc<Ledger>) {
    let ledger = Arc::new(Ledger::default());
    (Console::start(format, Style::default(), Box::new(out), Arc::clone(&ledger)).unwrap(), ledger)
}

#[test]
fn json_prints_every_span() {
    let screen = Screen::default();
    let (console, ledger) = start(Format::Json, screen.clone());
    let curl = fixture::resource("curl");
    for n in 0..100 {
        console.send(vec![fixture::client(n, &curl), fixture::connection(n, &curl)]);
    }
    assert!(console.shutdown(Instant::now() + PATIENCE));
    assert_eq!((ledger.console.observed(), ledger.console.delivered()), (200, 200));
    let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 100);
    assert_eq!(text.matches("\"traceId\"").count(), 200 + 100, "one for each span and each link");
}

#[test]
fn text_says_how_many_it_left_out_and_counts_them() {
    let screen = Screen::default();
    let (console, ledger) = start(Format::Text, screen.clone());
    let curl = fixture::resource("curl");
    console.send((0..100).map(|n| fixture::client(n, &curl)).collect::<Vec<_>>());
    assert!(console.shutdown(Instant::now() + PATIENCE));
    let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.matches("CLIENT").count(), 20);
    assert!(
        text.ends_with("… and 80 more traces, 0 more connections (80 spans); --format json prints them all\n"),
        "{text}"
    );
    assert_eq!((ledger.console.observed(), ledger.console.delivered(), ledger.console.in_flight()), (100, 20, 0));
    assert_eq!(ledger.console.dropped(Stage::Export, Reason::Summarised), 80);
}

#[test]
fn what_was_left_out_is_told_at_the_end_at_the_latest() {
    let curl = fixture::resource("curl");
    let mut text = Text::new(Style::default());
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    text.push(&[fixture::client(1, &curl)], start);
    assert_eq!(text.advance(at(1)).shown, 1);
    // Its connection ends long after.
    text.push(&[fixture::connection(1, &curl)], at(60));
    let page = text.advance(at(70));
    assert_eq!((page.text.as_str(), page.shown, page.summarised), ("", 0, 1));
    assert_eq!(text.patience(at(70)), Duration::MAX, "no reason to say so now");
    let last = text.finish();
    assert_eq!(last.text, "… and 0 more traces, 1 more connections (1 spans); --format json prints them all\n");
    assert_eq!(text.finish().text, "", "said once");
}

#[test]
fn a_reader_that_goes_away_is_noticed_and_every_span_is_counted() {
    for format in [Format::Json, Format::Text] {
        let (written, seen) = mpsc::sync_channel(16);
        let (console, ledger) = start(format, Broken { written, block: None });
        let curl = fixture::resource("curl");
        console.send(vec![fixture::client(1, &curl), fixture::client(2, &curl)]);
        seen.recv_timeout(PATIENCE).unwrap();
        console.send(vec![fixture::client(3, &curl)]);
        assert!(!console.shutdown(Instant::now() + PATIENCE));
        assert_eq!((ledger.console.observed(), ledger.console.in_flight()), (3, 0));
        assert_eq!(ledger.console.dropped(Stage::Export, Reason::Closed), 3, "{format:?}");
    }
}

#[test]
fn a_failure_can_be_asked_for() {
    let (written, _seen) = mpsc::sync_channel(16);
    let (console, _) = start(Format::Json, Broken { written, block: None });
    assert_eq!(console.failed(), None);
    console.send(vec![fixture::client(1, &fixture::resource("curl"))]);
    // The printer ends when its output has failed and the queue is closed; until then it says so.
    let Console { queue, failure, done, .. } = console;
    drop(queue);
    done.recv_timeout(PATIENCE).unwrap();
    assert_eq!(failure.get().map(String::as_str), Some("broken pipe"));
}

#[test]
fn a_reader_that_stops_reading_holds_up_nobody() {
    let (written, seen) = mpsc::sync_channel(16);
    let (release, block) = mpsc::channel();
    let (console, ledger) = start(Format::Json, Broken { written, block: Some(block) });
    let curl = fixture::resource("curl");
    console.send(vec![fixture::client(1, &curl)]);
    seen.recv_timeout(PATIENCE).unwrap();
    console.send((0..QUEUE_SPANS + 5).map(|_| fixture::client(2, &curl)).collect::<Vec<_>>());
    assert_eq!(ledger.console.dropped(Stage::Queue, Reason::QueueFull), 5);
    assert_eq!(ledger.console.in_flight(), 1 + i64::try_from(QUEUE_SPANS).unwrap());
    assert!(!console.shutdown(Instant::now()));
    assert_eq!(ledger.console.dropped(Stage::Export, Reason::Shutdown), 1 + QUEUE_SPANS as u64);
    assert_eq!(ledger.console.in_flight(), 0);
    drop(release);
}
