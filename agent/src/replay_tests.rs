//! Tests of replay, on recordings made here.

use wirespan::flow::Nanos;
use wirespan::flow::fact::{Fact, Host};
use wirespan::flow::record::encode_fact;
use wirespan::flow::recording::Writer;
use wirespan_common::record::{Endpoint, Segment, Socket, TaskId, reason, segment, socket};
use zerocopy::IntoBytes;

use super::*;
use crate::exit;

const SERVER: TaskId = TaskId { tid: 7, tgid: 7 };
const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

fn endpoint(port: u16) -> Endpoint {
    Endpoint { addr: std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(), port, pad: 0 }
}

fn payload(time_ns: u64, flags: u32, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("short");
    let fixed = Segment {
        header: Header { time_ns, len: size_of::<Segment>() as u32 + len, kind: kind::SEGMENT, cpu: 0 },
        cookie: 1,
        offset: 0,
        peer_time_ns: 0,
        peer_offset: 0,
        local: endpoint(80),
        remote: endpoint(40_000),
        seq: 1,
        peer_next_seq: 1,
        len,
        captured: len,
        tail: 0,
        flags: flags | segment::TURN | segment::FROM_START | segment::PASSIVE,
        sender: SERVER,
        reader: SERVER,
    };
    [fixed.as_bytes(), bytes].concat()
}

fn connection(time_ns: u64, reason: u32) -> Vec<u8> {
    let mut record = Socket::read_from_bytes(&[0; size_of::<Socket>()]).expect("zeros are one");
    record.header = Header { time_ns, len: size_of::<Socket>() as u32, kind: kind::SOCKET, cpu: 0 };
    record.cookie = 1;
    record.reason = reason;
    record.flags = socket::PASSIVE | socket::ESTABLISHED | socket::FROM_START;
    (record.local, record.remote) = (endpoint(80), endpoint(40_000));
    (record.local_first_seq, record.remote_first_seq) = (1, 1);
    record.opener = SERVER;
    record.as_bytes().to_vec()
}

/// A recording of one request.
fn recording() -> Vec<u8> {
    let mut host = Vec::new();
    let fact = Fact::Host(Host { name: "here".to_owned(), boot_to_unix_ns: 1_000, seed: 5, own_tgid: 2 });
    encode_fact(Nanos(1), &fact, &mut host);
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file).expect("memory can be written");
    for record in [
        host,
        connection(1_000, reason::OPEN),
        payload(2_000, 0, REQUEST),
        payload(3_000, segment::EGRESS, RESPONSE),
        connection(4_000, reason::CLOSE),
    ] {
        writer.write(&record).expect("memory can be written");
    }
    file
}

/// What is printed, and how it ended.
fn replayed(file: &[u8], format: Format) -> (String, Result<(), Failure>, Arc<Ledger>) {
    let ledger = Arc::<Ledger>::default();
    let mut out = Vec::new();
    let done = spans(file, Options::default(), format, Style::of_stdout(), &ledger, &mut out);
    (String::from_utf8(out).expect("text"), done, ledger)
}

#[test]
fn the_same_recording_gives_the_same_bytes() {
    for format in [Format::Json, Format::Text] {
        let (first, done, ledger) = replayed(&recording(), format);
        assert!(done.is_ok());
        assert!(first.contains("/hello"), "{first}");
        assert_eq!(first, replayed(&recording(), format).0);
        assert_eq!((ledger.records.observed(), ledger.records.in_flight(), ledger.console.in_flight()), (4, 0, 0));
    }
}

#[test]
fn nothing_is_printed_where_nothing_is_asked_for() {
    let (out, done, _) = replayed(&recording(), Format::None);
    assert!(done.is_ok());
    assert_eq!(out, "");
}

#[test]
fn what_stands_before_a_damage_is_printed() {
    let mut file = recording();
    file.extend([0; 5]);
    let (out, done, _) = replayed(&file, Format::Json);
    assert!(out.contains("/hello"), "{out}");
    assert!(matches!(done, Err(Failure::Other(_))), "{done:?}");
}

#[test]
fn what_is_no_recording_is_said_to_be_none() {
    let (out, done, _) = replayed(b"GET / HTTP/1.1\r\n\r\n", Format::Json);
    assert_eq!(out, "");
    assert!(done.expect_err("no recording").to_string().contains("wirespan record"));
}

#[test]
fn a_closed_output_ends_with_its_own_code() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let file = recording();
    let ledger = Arc::<Ledger>::default();
    let done = spans(&file[..], Options::default(), Format::Json, Style::of_stdout(), &ledger, &mut Closed);
    let failure = done.expect_err("it can't be written");
    assert_eq!(std::process::ExitCode::from(&failure), std::process::ExitCode::from(exit::OUTPUT_FAILED));
    assert_eq!(ledger.console.in_flight(), 0);
    assert!(ledger.console.lost() > 0);
}
