//! Whether a burst comes through whole: one server span for each request.

use anyhow::Result;
use serde_json::Value;

use crate::bed::agent::Agent;
use crate::bed::server::Server;
use crate::bench::client::unpaced;
use crate::bench::figure::{Figure, Target};
use crate::step::Steps;

/// Connections, all at once.
const CONNECTIONS: usize = 64;

/// Requests on each, as fast as they are answered.
const REQUESTS_EACH: usize = 100;

/// OTLP's number for the kind of a span that answers.
const SERVER: u64 = 2;

pub(super) fn measure(steps: &mut Steps) -> Result<Vec<Figure>> {
    let nginx = Server::nginx()?;
    let agent = Agent::start(&["--only", &nginx.selector(), "--format", "json"], &[])?;
    let say = format!("{CONNECTIONS} connections with {REQUESTS_EACH} requests each");
    steps.step(&say, || unpaced(nginx.address(), CONNECTIONS, REQUESTS_EACH))?;
    let remains = agent.stop()?;
    let spans = remains.spans.lines().map(server_spans).sum();
    let owed = Target::Exactly((CONNECTIONS * REQUESTS_EACH) as u64);
    Ok(vec![
        Figure::count("server spans of requests", spans, owed),
        Figure::count("records lost", remains.records.lost, Target::Exactly(0)),
    ])
}

/// Spans of answered requests in a line of OTLP/JSON. Connections have spans of this kind too, of another scope.
fn server_spans(line: &str) -> u64 {
    let Ok(line) = serde_json::from_str::<Value>(line) else { return 0 };
    let scopes = list(&line, "resourceSpans").flat_map(|resource| list(resource, "scopeSpans"));
    let requests =
        scopes.filter(|scope| scope["scope"]["name"] == "wirespan.l7").flat_map(|scope| list(scope, "spans"));
    requests.filter(|span| span["kind"].as_u64() == Some(SERVER)).map(|_| 1).sum()
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_server_spans_of_requests_count() {
        let line = |scope: &str, kind: u32| {
            format!(
                r#"{{"resourceSpans":[{{"scopeSpans":[{{"scope":{{"name":"{scope}"}},"spans":[{{"kind":{kind}}}]}}]}}]}}"#
            )
        };
        assert_eq!(server_spans(&line("wirespan.l7", 2)), 1);
        assert_eq!(server_spans(&line("wirespan.l7", 3)), 0);
        assert_eq!(server_spans(&line("wirespan.l4", 2)), 0);
        assert_eq!(server_spans("ready"), 0);
    }
}
