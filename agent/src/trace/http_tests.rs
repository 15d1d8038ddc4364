//! What becomes of an HTTP exchange, rule by rule.

use wirespan_common::record::Endpoint;

use super::*;
use crate::proto::Marks;
use crate::trace::fixture::{self, exchange, http};

fn describe_as(role: Role, http: &Http) -> Description {
    described(&exchange(http.clone()), http, &fixture::facts(role), role, false)
}

fn described(exchange: &Exchange, http: &Http, facts: &Facts, role: Role, with_legacy_names: bool) -> Description {
    describe(exchange, http, facts, &Addresses::of(facts), role, with_legacy_names)
}

/// The attribute, as text.
fn text(description: &Description, key: &str) -> Option<String> {
    description.attributes.get(key).map(|value| match value {
        Value::Str(text) => text.to_string(),
        other => format!("{other:?}"),
    })
}

fn server(http: &Http, key: &str) -> Option<String> {
    text(&describe_as(Role::Server, http), key)
}

fn client(http: &Http, key: &str) -> Option<String> {
    text(&describe_as(Role::Client, http), key)
}

#[test]
fn known_methods_are_names_and_others_are_not() {
    for method in METHODS {
        let description = describe_as(Role::Server, &Http { method: (*method).into(), ..http() });
        assert_eq!(description.name, *method);
        assert_eq!(text(&description, "http.request.method_original"), None);
    }
    for method in ["PROPFIND", "get", "FOO", ""] {
        let description = describe_as(Role::Client, &Http { method: method.into(), ..http() });
        assert_eq!(description.name, "HTTP");
        assert_eq!(text(&description, "http.request.method").as_deref(), Some("_OTHER"));
        assert_eq!(text(&description, "http.request.method_original").as_deref(), Some(method));
    }
}

#[test]
fn status_and_error_type_by_role_status_and_outcome() {
    let cut = Outcome::Cut;
    for (status, outcome, at_client, at_server) in [
        (Some(200), Outcome::Complete, None, None),
        (Some(101), Outcome::Complete, None, None),
        (Some(304), Outcome::Complete, None, None),
        (Some(404), Outcome::Complete, Some("404"), None),
        (Some(500), Outcome::Complete, Some("500"), Some("500")),
        (Some(503), cut(Ending::Closed), Some("503"), Some("503")),
        (Some(200), cut(Ending::ResetByRemote), Some("connection_reset"), Some("connection_reset")),
        (Some(200), cut(Ending::Closed), Some("connection_closed"), Some("connection_closed")),
        (None, cut(Ending::ResetByLocal), Some("connection_reset"), Some("connection_reset")),
        (None, cut(Ending::TimedOut), Some("timeout"), Some("timeout")),
        (None, cut(Ending::Aborted), Some("connection_aborted"), Some("connection_aborted")),
        (None, cut(Ending::Forgotten), None, None),
        (None, Outcome::Unknown, None, None),
    ] {
        for (role, expected) in [(Role::Client, at_client), (Role::Server, at_server)] {
            let http = Http { status, ..http() };
            let exchange = Exchange { outcome, ..exchange(http.clone()) };
            let found = described(&exchange, &http, &fixture::facts(role), role, false);
            assert_eq!(text(&found, "error.type").as_deref(), expected, "{status:?} {outcome:?} {role:?}");
            assert_eq!(found.status == Status::Error, expected.is_some());
            let is_open = matches!(outcome, Outcome::Unknown | Outcome::Cut(Ending::Forgotten));
            assert_eq!(text(&found, "wirespan.incomplete").is_some(), is_open);
        }
    }
}

#[test]
fn the_url_at_the_client() {
    let url = |method: &str, target: &str, host: Option<&str>| {
        let http = Http { method: Text::new(method), target: Text::new(target), host: host.map(Text::new), ..http() };
        client(&http, "url.full").unwrap_or_default()
    };
    assert_eq!(url("GET", "/a?b=c", Some("h:8080")), "http://h:8080/a?b=c");
    assert_eq!(url("GET", "/a", Some("h:80")), "http://h/a");
    assert_eq!(url("GET", "/a", Some("h")), "http://h:8080/a", "the socket knows the port");
    assert_eq!(url("GET", "/a", None), "http://10.0.0.2:8080/a");
    assert_eq!(url("GET", "/a", Some("bad host")), "http://10.0.0.2:8080/a");
    assert_eq!(url("GET", "/", Some("[::1]:8080")), "http://[::1]:8080/");
    assert_eq!(url("GET", "http://other/x?y", Some("h:1")), "http://other/x?y");
    assert_eq!(url("GET", "http://u:p@other:99/x", None), "http://REDACTED:REDACTED@other:99/x");
    assert_eq!(url("GET", "/x?token=s3cret", Some("h:80")), "http://h/x?token=REDACTED");
    assert_eq!(url("GET", "/", Some("u:p@h:80")), "http://h/");
    assert_eq!(url("OPTIONS", "*", Some("h:80")), "http://h");
    assert_eq!(url("CONNECT", "db:5432", Some("db:5432")), "http://db:5432");
}

#[test]
fn the_url_at_the_server() {
    let with = |target: &str| Http { target: Text::new(target), ..http() };
    assert_eq!(server(&with("/a/b?c=d"), "url.path").as_deref(), Some("/a/b"));
    assert_eq!(server(&with("/a/b?c=d"), "url.query").as_deref(), Some("c=d"));
    assert_eq!(server(&with("/a?"), "url.query"), None);
    assert_eq!(server(&with("/a?api_key=1&x=2"), "url.query").as_deref(), Some("api_key=REDACTED&x=2"));
    assert_eq!(server(&with("http://h/p"), "url.path").as_deref(), Some("/p"));
    assert_eq!(server(&with("/"), "url.full"), None);
    assert_eq!(server(&http(), "url.scheme").as_deref(), Some("http"));
    let proxied = Http { forwarded_proto: Some("HTTPS, http".into()), host: Some("shop".into()), ..http() };
    assert_eq!(server(&proxied, "url.scheme").as_deref(), Some("https"));
    assert_eq!(server(&proxied, "server.port").as_deref(), Some("Int(443)"));
    assert_eq!(client(&proxied, "url.full").as_deref(), Some("http://shop:8080/"));
    let odd = Http { forwarded_proto: Some("gopher".into()), ..http() };
    assert_eq!(server(&odd, "url.scheme").as_deref(), Some("http"));
}

#[test]
fn the_server_is_who_was_asked_for() {
    assert_eq!(server(&http(), "server.address").as_deref(), Some("shop.example"));
    assert_eq!(server(&http(), "server.port").as_deref(), Some("Int(8080)"));
    let nameless = Http { host: None, ..http() };
    assert_eq!(client(&nameless, "server.address").as_deref(), Some("10.0.0.2"));
    let v6 = Http { host: Some("[2001:db8::1]:81".into()), ..http() };
    assert_eq!(client(&v6, "server.address").as_deref(), Some("2001:db8::1"));
    assert_eq!(client(&v6, "server.port").as_deref(), Some("Int(81)"));
    let dialled = Some(fixture::endpoint(77, 80));
    let facts = Facts { dialled, ..fixture::facts(Role::Client) };
    let found = described(&exchange(nameless.clone()), &nameless, &facts, Role::Client, false);
    assert_eq!(text(&found, "server.address").as_deref(), Some("10.0.0.77"), "before address translation");
    assert_eq!(text(&found, "network.peer.address").as_deref(), Some("10.0.0.2"), "after it");
}

#[test]
fn the_client_is_whom_proxies_name_else_the_peer() {
    assert_eq!(server(&http(), "client.address").as_deref(), Some("10.0.0.9"));
    let forwarded = Http { forwarded: Some("for=192.0.2.7;proto=https, for=10.1.1.1".into()), ..http() };
    assert_eq!(server(&forwarded, "client.address").as_deref(), Some("192.0.2.7"));
    assert_eq!(client(&forwarded, "client.address"), None);
}

#[test]
fn ipv6_sockets_are_told_from_mapped_ones() {
    let mut facts = fixture::facts(Role::Client);
    let found = described(&exchange(http()), &http(), &facts, Role::Client, false);
    assert_eq!(text(&found, "network.type").as_deref(), Some("ipv4"));
    facts.remote = Endpoint { addr: [0xfd; 16], port: 80, pad: 0 };
    let found = described(&exchange(http()), &http(), &facts, Role::Client, false);
    assert_eq!(text(&found, "network.type").as_deref(), Some("ipv6"));
}

#[test]
fn what_comes_over_the_wire_is_cut_to_its_limit() {
    let long = Http {
        method: "M".repeat(1000).into(),
        target: format!("/{}?{}", "p".repeat(5000), "q".repeat(5000)).into(),
        user_agent: Some("é".repeat(5000).into()),
        request_id: Some("r".repeat(5000).into()),
        ..http()
    };
    let found = describe_as(Role::Server, &long);
    let len = |key| text(&found, key).map_or(0, |text| text.len());
    assert_eq!(len("http.request.method_original"), TOKEN_BYTES);
    assert_eq!((len("url.path"), len("url.query")), (PATH_BYTES, QUERY_BYTES));
    assert_eq!(len("user_agent.original"), USER_AGENT_BYTES);
    assert!(len("http.request.header.x-request-id") < TOKEN_BYTES + 20);
}

#[test]
fn marks_are_there_only_if_set() {
    let all = Marks { truncated: true, resynchronised: true, end_estimated: true, body_estimated: true };
    for (marks, is_there) in [(Marks::default(), false), (all, true)] {
        let exchange = Exchange { marks, ..exchange(http()) };
        let found = described(&exchange, &http(), &fixture::facts(Role::Server), Role::Server, false);
        for key in
            ["wirespan.truncated", "wirespan.resynchronised", "wirespan.end_estimated", "wirespan.body_estimated"]
        {
            assert_eq!(text(&found, key).is_some(), is_there, "{key}");
        }
    }
}

#[test]
fn old_names_stand_beside_the_new_ones_if_asked_for() {
    let http = Http { target: "/a?b=1".into(), user_agent: Some("curl".into()), ..http() };
    let of = |role| described(&exchange(http.clone()), &http, &fixture::facts(role), role, true);
    let (client, server) = (of(Role::Client), of(Role::Server));
    for (found, key, expected) in [
        (&client, "http.method", "GET"),
        (&client, "http.url", "http://shop.example:8080/a?b=1"),
        (&client, "net.peer.name", "shop.example"),
        (&client, "net.peer.port", "Int(8080)"),
        (&client, "http.status_code", "Int(200)"),
        (&client, "http.flavor", "1.1"),
        (&server, "http.target", "/a?b=1"),
        (&server, "http.scheme", "http"),
        (&server, "net.host.name", "shop.example"),
        (&server, "http.client_ip", "10.0.0.9"),
        (&server, "http.user_agent", "curl"),
        (&server, "net.sock.peer.addr", "10.0.0.9"),
    ] {
        assert_eq!(text(found, key).as_deref(), Some(expected), "{key}");
    }
    assert_eq!(text(&describe_as(Role::Client, &http), "http.method"), None);
}
