//! Spans at a real OTLP receiver: the same as on the console, by gRPC and by HTTP, whatever the receiver does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use wirespan_tests::PATIENCE;
use wirespan_tests::agent::{Agent, Launch};
use wirespan_tests::expect;
use wirespan_tests::port;
use wirespan_tests::raw::Wire;
use wirespan_tests::receiver::{Got, Protocol, Receiver};
use wirespan_tests::span::{Span, Want, is};

#[track_caller]
fn agent_for(endpoint: &str, protocol: Protocol) -> Launch {
    let protocol = match protocol {
        Protocol::Grpc => "grpc",
        Protocol::Http => "http/protobuf",
    };
    Launch::new().env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
}

/// What is at the receiver is what was printed, field by field, each span once.
#[track_caller]
fn are_the_same(printed: &[Arc<Span>], got: &Got) {
    assert!(got.bad.is_empty(), "{:?}", got.bad);
    let printed: BTreeMap<&str, &Span> = printed.iter().map(|span| (span.span_id.as_str(), &**span)).collect();
    let mut received: BTreeMap<&str, &Span> = BTreeMap::new();
    for span in got.spans() {
        assert!(received.insert(&span.span_id, span).is_none(), "sent twice:\n{span}");
    }
    for (id, span) in &printed {
        let other = received.get(id).ok_or_else(|| span.to_string()).expect("what was printed was sent");
        assert_eq!(other, span, "printed\n{span}\nsent\n{other}");
    }
    assert_eq!(received.len(), printed.len(), "sent but not printed");
}

#[track_caller]
fn the_same_spans_arrive(protocol: Protocol, gzip: bool) {
    let receiver = Receiver::start(protocol);
    let mut launch = agent_for(&receiver.endpoint(), protocol)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t0ken,x-tenant=seven");
    if gzip {
        launch = launch.env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    }
    let agent = launch.start();
    let port = Wire::told("/sent");
    for kind in expect::ENDS {
        let printed = agent.request(kind, port, "/sent");
        let received = receiver.span("the request's span", |span| span.span_id == printed.span_id);
        assert_eq!(received, *printed);
        received.expect([
            ("http.response.status_code", is(200)),
            ("http.response.body.size", is(4)),
            ("error.type", Want::Absent),
        ]);
        received.expect_resource([("service.name", Want::Present), ("telemetry.sdk.name", is("wirespan"))]);
        let connection = agent.connection(kind, port);
        let received = receiver.span("the connection's span", |span| span.span_id == connection.span_id);
        assert_eq!(received, *connection);
    }
    let agent_pid = i64::from(agent.pid());
    let receiver_port = receiver.port();
    let stopped = agent.stop();
    let got = receiver.stop();
    are_the_same(&stopped.spans, &got);
    for batch in &got.batches {
        assert_eq!(batch.header("authorization"), Some("Bearer t0ken"), "{:?}", batch.headers);
        assert_eq!(batch.header("x-tenant"), Some("seven"), "{:?}", batch.headers);
        assert!(
            batch.header("user-agent").is_some_and(|agent| agent.contains("OTel-OTLP-Exporter")),
            "{:?}",
            batch.headers
        );
        let encoding = match protocol {
            Protocol::Grpc => batch.header("grpc-encoding"),
            Protocol::Http => batch.header("content-encoding"),
        };
        assert_eq!(encoding.unwrap_or("identity"), if gzip { "gzip" } else { "identity" });
        if protocol == Protocol::Http {
            assert_eq!(batch.path, "/v1/traces");
            assert_eq!(batch.header("content-type"), Some("application/x-protobuf"));
        }
    }
    // Neither the agent, nor its way to the receiver, nor the receiver's end of that is traced.
    for span in &stopped.spans {
        assert!(!span.is_on(receiver_port), "the exporter's connection is traced\n{span}");
        assert_ne!(span.resource.0.get("process.pid"), Some(&agent_pid.into()), "the agent traces itself\n{span}");
    }
    stopped.ledger.balances();
    let account = &stopped.ledger.spans["otlp"];
    assert_eq!(
        (account.delivered, account.dropped),
        (i64::try_from(stopped.spans.len()).expect("few"), 0),
        "{account:?}"
    );
}

#[test]
fn the_same_spans_arrive_by_grpc() {
    the_same_spans_arrive(Protocol::Grpc, false);
}

#[test]
fn the_same_spans_arrive_by_grpc_with_gzip() {
    the_same_spans_arrive(Protocol::Grpc, true);
}

#[test]
fn the_same_spans_arrive_by_http() {
    the_same_spans_arrive(Protocol::Http, false);
}

#[test]
fn the_same_spans_arrive_by_http_with_gzip() {
    the_same_spans_arrive(Protocol::Http, true);
}

#[track_caller]
fn a_receiver_may_come_late_and_go_and_come_again(protocol: Protocol) {
    let port = port::unused();
    let agent = agent_for(&format!("http://127.0.0.1:{port}"), protocol).start();
    let early = Wire::told("/early");
    agent.pair(early, "/early");
    let receiver = Receiver::start_on(protocol, port);
    receiver.span("the span from before it came", |span| span.is_on(early) && span.path() == "/early");
    // What is under way when the receiver goes is sent again.
    let deadline = Instant::now() + PATIENCE;
    while agent.ledger().spans["otlp"].in_flight > 0 {
        assert!(Instant::now() < deadline, "not all was sent: {:?}", agent.ledger());
    }
    let first = receiver.stop();
    let between = Wire::told("/between");
    agent.pair(between, "/between");
    let receiver = Receiver::start_on(protocol, port);
    receiver.span("the span from while it was away", |span| span.is_on(between) && span.path() == "/between");
    let stopped = agent.stop();
    let second = receiver.stop();
    let mut all = Got::default();
    all.batches.extend(first.batches);
    all.batches.extend(second.batches);
    are_the_same(&stopped.spans, &all);
    stopped.ledger.balances();
    assert_eq!(stopped.ledger.spans["otlp"].dropped, 0, "{:?}", stopped.ledger);
}

#[test]
fn a_grpc_receiver_may_come_late_and_go_and_come_again() {
    a_receiver_may_come_late_and_go_and_come_again(Protocol::Grpc);
}

#[test]
fn an_http_receiver_may_come_late_and_go_and_come_again() {
    a_receiver_may_come_late_and_go_and_come_again(Protocol::Http);
}

#[test]
fn a_busy_receiver_is_asked_again_and_a_refusal_is_final() {
    // Unavailable, then taken; invalid argument, never again.
    for (protocol, busy, refusal) in [(Protocol::Grpc, 14, 3), (Protocol::Http, 503, 400)] {
        let receiver = Receiver::start(protocol);
        receiver.got().update(|got| got.refusals = vec![busy, busy]);
        let agent = agent_for(&receiver.endpoint(), protocol).start();
        let port = Wire::told("/again");
        receiver.span("the span that was sent again", |span| span.is_on(port) && span.path() == "/again");
        assert_eq!(receiver.got().read(|got| (got.refused, got.refusals.len())), (2, 0));
        // Everything is refused until both spans were sent, in however many requests, and the agent has been told so.
        receiver.got().update(|got| got.refusals = vec![refusal; 1_000]);
        let refused = Wire::told("/refused");
        agent.pair(refused, "/refused");
        let said_no = receiver.got().wait(PATIENCE, |got| (got.refused > 2).then_some(()));
        assert!(said_no.is_some(), "nothing was sent");
        let deadline = Instant::now() + PATIENCE;
        while agent.ledger().spans["otlp"].in_flight > 0 {
            assert!(Instant::now() < deadline, "not all was sent: {:?}", agent.ledger());
        }
        receiver.got().update(|got| got.refusals.clear());
        let last = Wire::told("/last");
        receiver.span("a span after the refusal", |span| span.is_on(last));
        let stopped = agent.stop_whatever_it_says();
        let account = &stopped.ledger.spans["otlp"];
        stopped.ledger.balances();
        assert!(account.losses["export, rejected"] > 0, "{account:?}");
        assert_eq!(account.losses.len(), 1, "{account:?}");
        let got = receiver.stop();
        assert!(!got.spans().any(|span| span.path() == "/refused"), "sent again after a no");
        assert_eq!(i64::try_from(got.spans().count()).expect("few"), account.delivered);
    }
}

#[test]
fn an_unreachable_receiver_is_named_and_what_it_missed_is_counted() {
    let endpoint = format!("http://127.0.0.1:{}", port::unused());
    let agent: Agent = agent_for(&endpoint, Protocol::Http).start();
    let port = Wire::told("/missed");
    agent.pair(port, "/missed");
    let stopped = agent.stop_whatever_it_says();
    assert_eq!(stopped.ended.code(), Some(4), "output failed:\n{}", stopped.ended.stderr);
    assert!(stopped.ended.stderr.contains(&endpoint), "who cannot be reached?\n{}", stopped.ended.stderr);
    stopped.ledger.balances();
    let account = &stopped.ledger.spans["otlp"];
    assert_eq!((account.delivered, account.in_flight), (0, 0), "{account:?}");
    assert_eq!(account.dropped, i64::try_from(stopped.spans.len()).expect("few"), "{account:?}");
}
