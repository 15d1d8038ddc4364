//! Over gRPC.

use ::http::HeaderValue;
use tonic::{Code, Status};

use super::receiver::{self, GrpcAnswer, partial, spans_in};
use super::*;
use crate::export::otlp::retry::{Delay, details_with_retry_info};

fn run(answers: Vec<GrpcAnswer>, spans: usize) -> (Arc<Ledger>, bool, Vec<receiver::GrpcRequest>) {
    let expected = answers.len().max(1);
    let receiver = receiver::grpc(answers);
    let bench = Bench::start(&receiver.endpoint(""), Protocol::Grpc, |_| {});
    bench.send(spans);
    let requests = (0..expected).map(|_| receiver.next()).collect();
    let (ledger, well) = bench.finish();
    assert_eq!(receiver.rest(), 0);
    (ledger, well, requests)
}

#[test]
fn spans_arrive_whole_with_the_headers_asked_for() {
    for gzip in [false, true] {
        let receiver = receiver::grpc(Vec::new());
        let bench = Bench::start(&receiver.endpoint(""), Protocol::Grpc, |config| {
            config.gzip = gzip;
            config.headers.insert("api-key", HeaderValue::from_static("k"));
        });
        bench.send(3);
        let request = receiver.next();
        assert_eq!(request.headers["api-key"], "k");
        assert_eq!(request.headers["user-agent"], USER_AGENT);
        assert_eq!(request.headers.get("grpc-encoding").is_some(), gzip);
        assert_eq!(request.message.resource_spans, crate::export::convert::resource_spans(spans_of_curl(3)));
        let (ledger, well) = bench.finish();
        assert_eq!(account(&ledger), (3, 3, vec![]));
        assert!(well);
    }
}

#[test]
fn a_partial_success_is_counted_and_not_tried_again() {
    let (ledger, well, _) = run(vec![Ok(partial(2, "too old"))], 5);
    assert_eq!(account(&ledger), (5, 3, vec![(Stage::Export, Reason::Rejected, 2)]));
    assert!(!well);
}

#[test]
fn a_receiver_that_is_busy_gets_the_same_request_again() {
    let (ledger, well, requests) = run(vec![Err(Status::unavailable("starting")), Ok(Default::default())], 4);
    assert_eq!(requests[0].message, requests[1].message);
    assert_eq!(spans_in(&requests[0].message), 4);
    assert_eq!(account(&ledger), (4, 4, vec![]));
    assert!(well);
}

#[test]
fn a_receiver_that_says_when_is_not_asked_before() {
    let details = details_with_retry_info(Delay { seconds: 1, nanos: 0 });
    let busy = Status::with_details(Code::ResourceExhausted, "slow down", details.into());
    let (ledger, _, requests) = run(vec![Err(busy), Ok(Default::default())], 1);
    assert!(requests[1].at - requests[0].at >= Duration::from_secs(1));
    assert_eq!(account(&ledger), (1, 1, vec![]));
}

#[test]
fn what_is_refused_is_not_sent_again() {
    for code in [Code::InvalidArgument, Code::Unauthenticated, Code::ResourceExhausted, Code::Unknown] {
        let (ledger, well, _) = run(vec![Err(Status::new(code, "no"))], 2);
        assert_eq!(account(&ledger), (2, 0, vec![(Stage::Export, Reason::Rejected, 2)]), "{code:?}");
        assert!(!well);
    }
}

#[test]
fn an_unreachable_receiver_is_given_up_in_the_end() {
    let bench = Bench::start(&nobody(), Protocol::Grpc, |config| config.give_up = Duration::from_millis(1));
    bench.send(3);
    assert_eq!(account(&bench.finish().0), (3, 0, vec![(Stage::Export, Reason::Unreachable, 3)]));
}

#[test]
fn a_receiver_that_speaks_no_http2_is_given_up_in_the_end() {
    let receiver = receiver::http(Vec::new());
    let bench =
        Bench::start(&receiver.endpoint(""), Protocol::Grpc, |config| config.give_up = Duration::from_millis(1));
    bench.send(3);
    assert_eq!(account(&bench.finish().0), (3, 0, vec![(Stage::Export, Reason::Unreachable, 3)]));
}
