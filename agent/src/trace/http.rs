//! An HTTP exchange as a span (OpenTelemetry semantic conventions for HTTP spans, stable set).
//!
//! The name of a span is its method: the path is of too high a cardinality, and the route is the application's secret.

use super::address::{self, Addresses};
use super::attributes::Attributes;
use super::clock::seconds_between;
use super::failure;
use super::legacy;
use super::span::{Kind, Status, Value};
use super::target::{Authority, Target, default_port};
use crate::flow::{Ending, Facts, Role};
use crate::proto::http1::Http;
use crate::proto::{Exchange, Outcome};
use crate::redact;
use crate::text::Text;

/// What an HTTP exchange says about its span.
#[derive(Clone, Debug)]
pub struct Description {
    /// Name of the span.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Whether it failed.
    pub status: Status,
    /// What is said about it.
    pub attributes: Attributes,
}

/// Methods with a name of their own: RFC 9110 section 9, PATCH (RFC 5789) and QUERY.
const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"];

/// Longest path that is exported, bytes.
const PATH_BYTES: usize = 2048;
/// Longest query that is exported, bytes.
const QUERY_BYTES: usize = 2048;
/// Longest `User-Agent` that is exported, bytes.
const USER_AGENT_BYTES: usize = 512;
/// Longest other value that is exported (unknown method, request id, name of an upgrade), bytes.
const TOKEN_BYTES: usize = 128;
/// Attributes that every answered request has at a client, with the one that the caller adds to name the connection.
/// The list grows if there are more, but should not be longer than it must: at 1 KiB an allocation becomes one of those
/// for which glibc tidies up its lists first.
const CLIENT_ATTRIBUTES: usize = 16;
/// The same at a server, with the two that say how its client was found.
const SERVER_ATTRIBUTES: usize = 20;

/// Describes an exchange as seen by one end.
#[must_use]
pub fn describe(
    exchange: &Exchange,
    http: &Http,
    facts: &Facts,
    addresses: &Addresses,
    role: Role,
    with_legacy_names: bool,
) -> Description {
    let known_method = METHODS.iter().find(|&&method| http.method == method).copied();
    let request = Request::new(http, facts, addresses, role);
    let usual = if role == Role::Server { SERVER_ATTRIBUTES } else { CLIENT_ATTRIBUTES };
    let has_query = role == Role::Server && request.target.query.is_some();
    let more = [http.user_agent.is_some(), http.request_id.is_some(), has_query];
    let mut attributes = Attributes::with_capacity(usual + more.into_iter().filter(|&is_there| is_there).count());

    attributes.put("http.request.method", known_method.unwrap_or("_OTHER"));
    if known_method.is_none() {
        attributes.put_copy("http.request.method_original", &http.method, TOKEN_BYTES);
    }
    attributes.put_some("http.response.status_code", http.status.map(i64::from));
    request.put(&mut attributes, role);
    if let Some(user_agent) = &http.user_agent {
        attributes.put_copy("user_agent.original", user_agent, USER_AGENT_BYTES);
    }
    attributes.put_count("http.request.body.size", http.request_body);
    if http.status.is_some() {
        attributes.put_count("http.response.body.size", http.response_body);
    }
    if let Some(id) = &http.request_id {
        attributes
            .put("http.request.header.x-request-id", Value::Strs([redact::cut(id, TOKEN_BYTES).to_owned()].into()));
    }
    // `network.protocol.name` is left out, as the conventions have it for `http`.
    attributes.put("network.protocol.version", if http.minor_version == 0 { "1.0" } else { "1.1" });
    addresses.put(&mut attributes);

    let failure = failure(http.status, exchange.outcome, role);
    let status = if failure.is_some() { Status::Error } else { Status::Unset };
    attributes.put_some("error.type", failure);
    if let Some(upgrade) = &http.upgraded {
        attributes.put_copy("wirespan.http.upgrade", upgrade, TOKEN_BYTES);
    }
    if let Some(first_byte) = exchange.response_began {
        attributes.put("wirespan.time_to_first_byte", seconds_between(exchange.began.time, first_byte));
    }
    attributes.mark("wirespan.truncated", exchange.marks.truncated);
    attributes.mark("wirespan.resynchronised", exchange.marks.resynchronised);
    attributes.mark("wirespan.end_estimated", exchange.marks.end_estimated);
    attributes.mark("wirespan.body_estimated", exchange.marks.body_estimated);
    attributes
        .mark("wirespan.incomplete", matches!(exchange.outcome, Outcome::Unknown | Outcome::Cut(Ending::Forgotten)));
    if with_legacy_names {
        legacy::add(&mut attributes, role);
    }

    let kind = match role {
        Role::Client => Kind::Client,
        Role::Server => Kind::Server,
    };
    Description { name: known_method.unwrap_or("HTTP"), kind, status, attributes }
}

/// `error.type` of an exchange, if it failed: a client takes each 4xx for a failure, a server does not.
fn failure(status: Option<u16>, outcome: Outcome, role: Role) -> Option<Text> {
    let first_failure = match role {
        Role::Client => 400,
        Role::Server => 500,
    };
    if let Some(status) = status.filter(|&status| status >= first_failure) {
        return Some(Text::of(&status));
    }
    match outcome {
        Outcome::Cut(ending) => failure::cut_by(ending).map(Text::from),
        Outcome::Complete | Outcome::Unknown => None,
    }
}

/// What is asked for, and of whom.
struct Request<'a> {
    target: Target<'a>,
    is_tunnel: bool,
    scheme: &'static str,
    host: Host<'a>,
    port: u16,
    client: Option<Text>,
}

impl<'a> Request<'a> {
    fn new(http: &'a Http, facts: &Facts, addresses: &Addresses, role: Role) -> Self {
        let target = Target::parse(&http.method, &http.target);
        let forwarded_scheme = match role {
            Role::Server => http.forwarded_proto.as_deref().and_then(known_scheme),
            Role::Client => None,
        };
        let scheme = forwarded_scheme.or_else(|| target.scheme.and_then(known_scheme)).unwrap_or("http");
        // The socket's end that serves: what was dialled, where address translation hides it from the packets.
        let socket = match role {
            Role::Server => facts.local,
            Role::Client => facts.dialled.unwrap_or(facts.remote),
        };
        let named = target.authority.or_else(|| http.host.as_deref().and_then(Authority::parse));
        let is_absolute = target.scheme.is_some();
        let implied_port = || if forwarded_scheme.is_some() || is_absolute { default_port(scheme) } else { None };
        let (host, port) = match named {
            Some(Authority { host, port }) => (Host::Named(host), port.or_else(implied_port).unwrap_or(socket.port)),
            None => (Host::Address(address::text(&socket)), socket.port),
        };
        let client = match role {
            Role::Server => Some(match http.forwarded.as_deref().and_then(address::forwarded_client) {
                Some(client) => Text::of(&client),
                None => addresses.remote_text.clone(),
            }),
            Role::Client => None,
        };
        Self { target, is_tunnel: http.method == "CONNECT", scheme, host, port, client }
    }

    fn put(self, attributes: &mut Attributes, role: Role) {
        let path = redact::path(self.target.path);
        let path = redact::cut(&path, PATH_BYTES);
        let query = self.target.query.map(redact::query);
        let query = query.as_deref().map(|query| redact::cut(query, QUERY_BYTES));
        match role {
            Role::Server => {
                attributes.put("url.scheme", self.scheme);
                if !self.is_tunnel {
                    attributes.put("url.path", Text::new(path));
                    attributes.put_some("url.query", query.filter(|query| !query.is_empty()).map(Text::new));
                }
                attributes.put_some("client.address", self.client);
            }
            Role::Client => attributes.put("url.full", self.full(path, query)),
        }
        let host = match self.host {
            Host::Named(name) => Text::new(name),
            Host::Address(address) => address,
        };
        attributes.put("server.address", host);
        attributes.put("server.port", i64::from(self.port));
    }

    /// `url.full`: what the client would have been told to fetch. A tunnel has no more than an authority.
    fn full(&self, path: &str, query: Option<&str>) -> String {
        let host = Authority::bracketed(match &self.host {
            Host::Named(name) => name,
            Host::Address(address) => address,
        });
        let credentials = if self.target.has_credentials { redact::REDACTED_CREDENTIALS } else { "" };
        let mut digits = [0; 5];
        let port = match default_port(self.scheme) == Some(self.port) {
            true => "",
            false => decimal(self.port, &mut digits),
        };
        let colon = if port.is_empty() { "" } else { ":" };
        // The asterisk form asks about the server as a whole (RFC 9112 section 3.3).
        let path = if path == "*" { "" } else { path };
        let query = query.unwrap_or_default();
        let mark = if query.is_empty() { "" } else { "?" };
        // In one go: no more memory than it takes.
        [self.scheme, "://", credentials, &host, colon, port, path, mark, query].concat()
    }
}

/// Whom a request names.
enum Host<'a> {
    Named(&'a str),
    /// Nobody, so that the address must do.
    Address(Text),
}

/// A port in decimal.
fn decimal(mut port: u16, digits: &mut [u8; 5]) -> &str {
    let mut begin = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (port % 10) as u8;
        port /= 10;
        begin = at;
        if port == 0 {
            break;
        }
    }
    // Digits are ASCII: the check does not fail.
    str::from_utf8(&digits[begin..]).unwrap_or_default()
}

/// The first of a list of schemes, if it is one that is spoken over TCP in HTTP/1.
fn known_scheme(value: &str) -> Option<&'static str> {
    let first = value.split(',').next()?.trim();
    ["http", "https", "ws", "wss"].into_iter().find(|scheme| first.eq_ignore_ascii_case(scheme))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
