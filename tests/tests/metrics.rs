//! What the agent says of itself to Prometheus: the same as its ledger, and what the kernel says of it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Instant;

use wirespan_tests::PATIENCE;
use wirespan_tests::agent::{Agent, Launch, binary, need_root};
use wirespan_tests::child::Program;
use wirespan_tests::ledger::{Account, Ledger};
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::receiver::{Protocol, Receiver};
use wirespan_tests::scrape::{Scrape, address, scrape};
use wirespan_tests::{names, port};

const ANY_PORT: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

/// A number that only grows lies between what it was before and after.
#[track_caller]
fn between(name: &str, before: i64, seen: f64, after: i64) {
    assert!(before as f64 <= seen && seen <= after as f64, "{name}: {before} <= {seen} <= {after}");
}

#[track_caller]
fn is_account(scrape: &Scrape, what: &str, label: Option<&str>, before: &Account, after: &Account) {
    let sample = |name: &str, more: &str| {
        let labels: Vec<&str> = label.into_iter().chain((!more.is_empty()).then_some(more)).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("wirespan_{what}_{name}{labels}")
    };
    let observed = scrape.get(&sample("observed_total", ""));
    let delivered = scrape.get(&sample("delivered_total", ""));
    between(what, before.observed, observed, after.observed);
    between(what, before.delivered, delivered, after.delivered);
    let mut dropped = 0.0;
    for (loss, n) in &after.losses {
        let (stage, reason) = loss.split_once(", ").expect("stage and reason");
        let name = sample("dropped_total", &format!("stage=\"{stage}\",reason=\"{reason}\""));
        // It may have come since.
        let seen = scrape.0.get(&name).copied().unwrap_or(0.0);
        between(&name, before.losses.get(loss).copied().unwrap_or(0), seen, *n);
        dropped += seen;
    }
    assert_eq!(observed, delivered + dropped + scrape.get(&sample("in_flight", "")), "{what} does not add up");
}

#[track_caller]
fn is_ledger(scrape: &Scrape, before: &Ledger, after: &Ledger) {
    is_account(scrape, "records", None, &before.records, &after.records);
    for (output, account) in &before.spans {
        is_account(scrape, "spans", Some(&format!("output=\"{output}\"")), account, &after.spans[output]);
    }
    for (count, n) in &after.counts {
        let name = format!("wirespan_{count}_total");
        between(&name, before.count(count) as i64, scrape.get(&name), *n as i64);
    }
}

#[test]
fn a_scrape_is_the_ledger() {
    let receiver = Receiver::start(Protocol::Http);
    let agent = Launch::new().args(ANY_PORT).env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint()).start();
    let address = address(&agent);
    let mut garbage = Wire::open();
    garbage.exchange([0; 3000], [0; 3000]);
    garbage.close();
    let port = Wire::told("/counted");
    agent.pair(port, "/counted");
    receiver.span("a span", |span| span.is_on(port));
    agent.fence();
    let before = agent.ledger();
    let seen = scrape(address);
    let after = agent.ledger();
    is_ledger(&seen, &before, &after);
    assert!(seen.get("wirespan_records_observed_total") > 0.0);
    assert!(seen.get("wirespan_spans_delivered_total{output=\"otlp\"}") > 0.0);
    assert!(seen.get("wirespan_unknown_protocol_total") + seen.get("wirespan_garbage_total") > 0.0);
    assert_eq!(seen.get("wirespan_export_queue_capacity_spans{output=\"console\"}"), 32_768.0);
    let stopped = agent.stop();
    stopped.ledger.balances();
}

#[test]
fn its_cost_is_what_the_kernel_says_of_it() {
    let agent = Launch::new().args(ANY_PORT).start();
    let seen = scrape(address(&agent));
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it lives");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let resident: f64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    let ratio = seen.get("process_resident_memory_bytes") / 1024.0 / resident;
    assert!((0.5..2.0).contains(&ratio), "{ratio} of {resident} KiB");
    assert!(seen.get("process_cpu_seconds_total") > 0.0);
    // Four halves of 128 KiB at least, and the hashes.
    let maps = seen.sum("wirespan_bpf_map_memory_bytes");
    assert!((1e6..1e8).contains(&maps), "{maps} bytes of maps");
    assert_eq!(seen.sum("wirespan_probe_standing"), agent.child().stderr().matches("probe: ").count() as f64);
    for (labels, value) in seen.of("wirespan_probe_standing") {
        assert!(value == f64::from(u8::from(labels.contains("\"active\""))), "{labels} {value}");
    }
    assert_eq!(seen.sum("wirespan_build_info"), 1.0);
    assert!(seen.get("wirespan_connections") >= 0.0);
}

#[test]
fn runs_of_the_programs_are_told_while_the_kernel_counts_them() {
    let agent = Launch::new().args(ANY_PORT).start();
    let address = address(&agent);
    let switch = "/proc/sys/kernel/bpf_stats_enabled";
    let was = std::fs::read_to_string(switch).expect("the switch");
    std::fs::write(switch, "1").expect("root may switch it");
    let port = Wire::told("/timed");
    agent.pair(port, "/timed");
    let seen = scrape(address);
    std::fs::write(switch, was).expect("root may switch it");
    assert_eq!(seen.get("wirespan_bpf_stats_enabled"), 1.0);
    for program in ["egress", "ingress", "read", "send"] {
        let runs = seen.get(&format!("wirespan_bpf_program_runs_total{{program=\"{program}\"}}"));
        let seconds = seen.get(&format!("wirespan_bpf_program_run_seconds_total{{program=\"{program}\"}}"));
        assert!(runs >= 2.0, "{program} ran {runs} times");
        assert!(seconds / runs > 1e-8 && seconds / runs < 1e-3, "{program}: {seconds} s in {runs} runs");
    }
}

#[test]
fn connections_are_counted_by_service_and_role() {
    let agent = Launch::new().args(ANY_PORT).args(["--connections", "metrics"]).start();
    let address = address(&agent);
    const CONNECTIONS: usize = 5;
    let own = std::env::current_exe().expect("it runs");
    let service = own.file_name().expect("a name").to_string_lossy().into_owned();
    for number in 0..CONNECTIONS {
        let port = Wire::told(&format!("/metered/{number}"));
        agent.pair(port, &format!("/metered/{number}"));
    }
    let of = |name: &str, role: &str| format!("wirespan_tcp_{name}{{service_name=\"{service}\",role=\"{role}\"}}");
    let deadline = Instant::now() + PATIENCE;
    let seen = loop {
        let seen = scrape(address);
        // Other tests of this process make connections too.
        let closed = |role| seen.0.get(&of("connections_closed_total", role)).is_some_and(|n| *n >= CONNECTIONS as f64);
        if closed("client") && closed("server") {
            break seen;
        }
        assert!(Instant::now() < deadline, "not counted: {:#?}", seen.0);
    };
    let asked = get("/metered/0").len() * CONNECTIONS;
    let answered = ok("told").len() * CONNECTIONS;
    for (role, sent, received) in [("client", asked, answered), ("server", answered, asked)] {
        assert!(seen.get(&of("connections_opened_total", role)) >= CONNECTIONS as f64, "{role}");
        assert!(seen.get(&of("sent_bytes_total", role)) >= sent as f64, "{role}");
        assert!(seen.get(&of("received_bytes_total", role)) >= received as f64, "{role}");
    }
}

#[test]
fn scrapes_are_not_traced_at_either_end() {
    let agent = Launch::new().args(ANY_PORT).start();
    let address = address(&agent);
    let curl = Program::new("curl").args(["--silent", "--fail", &format!("http://{address}/metrics")]).run().well();
    assert!(curl.stdout.contains("wirespan_records_observed_total "), "{}", curl.stdout);
    for _ in 0..20 {
        let _ = scrape(address);
    }
    agent.fence();
    let own = i64::from(agent.pid());
    let stopped = agent.stop();
    for span in &stopped.spans {
        assert!(!span.is_on(address.port()), "a scrape is traced\n{span}");
        assert_ne!(span.resource.0.get("process.pid"), Some(&own.into()), "the agent traces itself\n{span}");
        assert!(span.get(names::CONNECTION_ID).is_some(), "{span}");
    }
    assert!(stopped.ledger.records.losses["trace, own"] > 0, "{:?}", stopped.ledger);
}

#[test]
fn an_address_that_cannot_be_had_is_named_and_ends_with_4() {
    need_root();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("it has one").to_string();
    for elsewhere in [address.as_str(), "192.0.2.1:9464"] {
        let by_flag = Program::new(binary()).args(["run", "--metrics-listen", elsewhere]).run();
        let by_variable = Program::new(binary()).arg("run").env("WIRESPAN_METRICS_LISTEN", elsewhere).run();
        for ended in [by_flag, by_variable] {
            assert_eq!(ended.code(), Some(4), "{}", ended.stderr);
            assert_eq!(ended.stderr.lines().count(), 1, "one clear error:\n{}", ended.stderr);
            assert!(ended.stderr.contains(elsewhere) && ended.stderr.contains("--metrics-listen"), "{}", ended.stderr);
        }
    }
    let nonsense = Program::new(binary()).arg("run").env("WIRESPAN_METRICS_LISTEN", "9464").run();
    assert_eq!(nonsense.code(), Some(2), "{}", nonsense.stderr);
    assert!(nonsense.stderr.contains("WIRESPAN_METRICS_LISTEN"), "{}", nonsense.stderr);
}

#[test]
fn the_variable_says_where_too_and_nothing_is_listened_on_without_either() {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port::unused()));
    let agent = Launch::new().env("WIRESPAN_METRICS_LISTEN", address.to_string()).start();
    let _ = scrape(address);
    let _ = agent.stop();
    let agent = Agent::start();
    assert!(!agent.child().stderr().contains("metrics:"), "{}", agent.child().stderr());
    assert!(std::net::TcpStream::connect(address).is_err());
    let sockets = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("it lives");
    let is_socket = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    assert_eq!(sockets.filter_map(Result::ok).filter(is_socket).count(), 0, "a socket is open");
}
