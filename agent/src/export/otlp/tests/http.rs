//! Over HTTP.

use std::io::Read as _;

use ::http::{HeaderValue, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use super::receiver::{self, HttpAnswer, partial, spans_in};
use super::*;

fn status(code: u16) -> HttpAnswer {
    Some(Response::builder().status(code).body(Full::default()).unwrap())
}

fn body(bytes: Vec<u8>) -> HttpAnswer {
    Some(Response::new(Full::from(bytes)))
}

fn bench(receiver: &receiver::TestReceiver<receiver::HttpRequest>) -> Bench {
    Bench::start(&receiver.endpoint("/v1/traces"), Protocol::HttpProtobuf, |_| {})
}

#[test]
fn spans_arrive_whole_with_the_headers_asked_for() {
    let receiver = receiver::http(Vec::new());
    let bench = Bench::start(&receiver.endpoint("/v1/traces"), Protocol::HttpProtobuf, |config| {
        config.headers.insert("api-key", HeaderValue::from_static("k"));
    });
    bench.send(3);
    let request = receiver.next();
    assert_eq!(request.path, "/v1/traces");
    assert_eq!(request.headers["content-type"], "application/x-protobuf");
    assert_eq!(request.headers["api-key"], "k");
    assert_eq!(request.headers["user-agent"], USER_AGENT);
    assert!(!request.headers.contains_key("content-encoding"));
    let message = ExportTraceServiceRequest::decode(request.body).unwrap();
    assert_eq!(message.resource_spans, crate::export::convert::resource_spans(spans_of_curl(3)));
    let (ledger, well) = bench.finish();
    assert_eq!(account(&ledger), (3, 3, vec![]));
    assert!(well);
}

#[test]
fn a_compressed_request_is_gzip_and_json_is_otlp_json() {
    let receiver = receiver::http(Vec::new());
    let bench = Bench::start(&receiver.endpoint("/v1/traces"), Protocol::HttpJson, |config| config.gzip = true);
    bench.send(2);
    let request = receiver.next();
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["content-encoding"], "gzip");
    let mut text = String::new();
    GzDecoder::new(&request.body[..]).read_to_string(&mut text).unwrap();
    let message: ExportTraceServiceRequest = serde_json::from_str(&text).unwrap();
    assert_eq!(spans_in(&message), 2);
    assert_eq!(account(&bench.finish().0), (2, 2, vec![]));
}

#[test]
fn a_partial_success_is_counted_and_not_tried_again() {
    let receiver = receiver::http(vec![body(partial(2, "too old").encode_to_vec())]);
    let bench = bench(&receiver);
    bench.send(5);
    receiver.next();
    let (ledger, well) = bench.finish();
    assert_eq!(account(&ledger), (5, 3, vec![(Stage::Export, Reason::Rejected, 2)]));
    assert!(!well);
    assert_eq!(receiver.rest(), 0);
}

#[test]
fn a_json_answer_is_understood() {
    let receiver = receiver::http(vec![body(br#"{"partialSuccess":{"rejectedSpans":1,"errorMessage":"x"}}"#.to_vec())]);
    let bench = Bench::start(&receiver.endpoint("/v1/traces"), Protocol::HttpJson, |_| {});
    bench.send(2);
    receiver.next();
    assert_eq!(account(&bench.finish().0), (2, 1, vec![(Stage::Export, Reason::Rejected, 1)]));
}

#[test]
fn a_message_without_rejected_spans_is_a_success() {
    let receiver = receiver::http(vec![body(partial(0, "please use gzip").encode_to_vec())]);
    let bench = bench(&receiver);
    bench.send(1);
    receiver.next();
    assert!(bench.finish().1);
}

#[test]
fn a_receiver_that_is_busy_gets_the_same_request_again() {
    let receiver = receiver::http(vec![status(503)]);
    let bench = bench(&receiver);
    bench.send(4);
    let (first, second) = (receiver.next(), receiver.next());
    assert_eq!(first.body, second.body);
    let (ledger, well) = bench.finish();
    assert_eq!(account(&ledger), (4, 4, vec![]));
    assert!(well);
}

#[test]
fn a_receiver_that_says_when_is_not_asked_before() {
    let busy = Response::builder().status(429).header("retry-after", "1").body(Full::<Bytes>::default()).unwrap();
    let receiver = receiver::http(vec![Some(busy)]);
    let bench = bench(&receiver);
    bench.send(1);
    let first = receiver.next();
    // The end of the agent is no reason to come back earlier.
    let (ledger, well) = bench.finish();
    assert!(receiver.next().at - first.at >= Duration::from_secs(1));
    assert_eq!(account(&ledger), (1, 1, vec![]));
    assert!(well);
}

#[test]
fn what_is_refused_is_not_sent_again() {
    for code in [400, 401, 404, 413, 500] {
        let receiver = receiver::http(vec![status(code)]);
        let bench = bench(&receiver);
        bench.send(2);
        receiver.next();
        let (ledger, well) = bench.finish();
        assert_eq!(account(&ledger), (2, 0, vec![(Stage::Export, Reason::Rejected, 2)]), "{code}");
        assert!(!well);
        assert_eq!(receiver.rest(), 0, "{code}");
    }
}

#[test]
fn an_unreachable_receiver_is_given_up_in_the_end() {
    let bench = Bench::start(&nobody(), Protocol::HttpProtobuf, |config| config.give_up = Duration::from_millis(1));
    bench.send(3);
    let (ledger, well) = bench.finish();
    assert_eq!(account(&ledger), (3, 0, vec![(Stage::Export, Reason::Unreachable, 3)]));
    assert!(!well);
}

#[test]
fn a_receiver_that_never_answers_is_given_up_in_the_end() {
    let receiver = receiver::http(vec![None]);
    let bench = Bench::start(&receiver.endpoint("/v1/traces"), Protocol::HttpProtobuf, |config| {
        config.timeout = Duration::from_millis(50);
        config.give_up = Duration::from_millis(50);
    });
    bench.send(1);
    receiver.next();
    assert_eq!(account(&bench.finish().0), (1, 0, vec![(Stage::Export, Reason::Unreachable, 1)]));
}

#[test]
fn what_finds_the_queue_full_is_dropped_and_counted() {
    let receiver = receiver::http(Vec::new());
    let bench = Bench::start(&receiver.endpoint("/v1/traces"), Protocol::HttpProtobuf, |config| {
        config.queue_spans = 10;
        config.batch_spans = 10;
    });
    bench.send(25);
    receiver.next();
    let (ledger, well) = bench.finish();
    assert_eq!(account(&ledger), (25, 10, vec![(Stage::Queue, Reason::QueueFull, 15)]));
    assert!(well, "what was taken on was delivered");
}

#[test]
fn a_shutdown_sends_what_waits_in_batches() {
    let receiver = receiver::http(Vec::new());
    let bench = Bench::start(&receiver.endpoint("/v1/traces"), Protocol::HttpProtobuf, |config| {
        config.schedule_delay = PATIENCE;
        config.batch_spans = 512;
    });
    bench.send(1_100);
    let (ledger, well) = bench.finish();
    assert_eq!(account(&ledger), (1_100, 1_100, vec![]));
    assert!(well);
    let mut sizes: Vec<usize> =
        (0..3).map(|_| spans_in(&ExportTraceServiceRequest::decode(receiver.next().body).unwrap())).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [76, 512, 512]);
}

#[test]
fn what_is_under_way_at_the_end_of_the_shutdown_is_counted() {
    let receiver = receiver::http(vec![None]);
    let bench = bench(&receiver);
    bench.send(7);
    receiver.next();
    assert_eq!(bench.ledger.otlp.in_flight(), 7);
    let (ledger, well) = bench.finish_by(Instant::now());
    assert_eq!(account(&ledger), (7, 0, vec![(Stage::Export, Reason::Shutdown, 7)]));
    assert!(!well);
}
