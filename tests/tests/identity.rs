//! Who made a request: the program, its owner, its place, and what a tenant can't make it look like.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use wirespan_tests::PATIENCE;
use wirespan_tests::agent::{Agent, Launch};
use wirespan_tests::cgroup::Cgroup;
use wirespan_tests::child::Program;
use wirespan_tests::raw::ok;
use wirespan_tests::span::{Kind, Span, Value, Want, is};
use wirespan_tests::{curl, port, servers};

const UID: &str = "5eed0000-1234-4321-8888-0123456789ab";
const OTHER_UID: &str = "bad00000-1234-4321-8888-0123456789ab";
const ID: &str = "5eed0a9d5a9b4f5c8a1e7d6b2c4f8e9012a3b4c5d6e7f80912233445566778ab";
const OTHER_ID: &str = "bad00a9d5a9b4f5c8a1e7d6b2c4f8e9012a3b4c5d6e7f80912233445566778ab";

/// The span of a request that a program makes, which is given its URL last. It is answered when the agent has dealt with it, so
/// that the program lives when it is looked at.
#[track_caller]
fn asks(agent: &Agent, program: Program, path: &str) -> Arc<Span> {
    let listener = port::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = listener.local_addr().expect("it is bound").port();
    let child = program.arg(format!("http://127.0.0.1:{port}{path}")).start();
    let (mut stream, _) = listener.accept().expect("somebody connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        seen.extend(byte);
    }
    agent.fence();
    stream.write_all(ok("x").as_bytes()).expect("the program reads");
    let _ = child.wait().well();
    agent.request(Kind::Client, port, path)
}

/// The same of curl, started through `wrappers`.
#[track_caller]
fn curls(agent: &Agent, wrappers: &[String], path: &str, arguments: &[&str]) -> Arc<Span> {
    let wrappers: Vec<&str> = wrappers.iter().map(String::as_str).collect();
    asks(agent, Program::under(&wrappers, "curl").arg("--silent").args(arguments), path)
}

fn list(texts: &[&str]) -> Want {
    Want::Is(Value::List(texts.iter().map(|text| Value::Str((*text).to_owned())).collect()))
}

#[test]
fn a_program_is_told_with_its_owner_and_its_arguments_without_values() {
    let agent = Agent::start();
    let span = curls(&agent, &[], "/arguments", &["--header", "authorization: s3cret", "-us3cret:s3cret"]);
    let expect = ["curl", "--silent", "--header", "REDACTED", "-uREDACTED", "REDACTED"];
    span.expect_resource([
        ("process.command", is("curl")),
        ("process.command_args", list(&expect)),
        ("process.owner", is("root")),
        ("process.user.id", is(0)),
        ("process.parent_pid", Want::Present),
        ("service.instance.id", Want::Present),
        ("process.vpid", Want::Absent),
        ("k8s.pod.uid", Want::Absent),
    ]);
    assert!(!format!("{span:?}").contains("s3cret"), "{span}");
    agent.stop().ledger.balances();
}

/// What a program was started with is known only while it lives, and the agent looks for records each 20 ms if nothing calls it.
#[test]
fn a_program_that_is_gone_soon_is_looked_at_in_time() {
    const PROGRAMS: usize = 40;
    /// Together with what bash takes to start, about half of the time between two looks.
    const LIFE: &str = "0.006";
    /// No multiple of that time, so that the programs do not start all at the same distance from a look.
    const PACE: Duration = Duration::from_millis(53);
    let nginx = servers::nginx(1);
    let agent = Agent::start();
    let asks = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{}; printf 'GET /gone HTTP/1.1\r\nhost: x\r\n\r\n' >&3; read -t {LIFE} -N 9999 <&3",
        nginx.port
    );
    for _ in 0..PROGRAMS {
        // Not through other programs: each would be one that is started.
        let mut bash = Command::new("bash").args(["-c", &asks]).spawn().expect("bash starts");
        let _timed_out = bash.wait().expect("a child can be waited for");
        thread::sleep(PACE);
    }
    let known = agent.wait("all programs", |spans| {
        let asked = spans.iter().filter(|span| span.kind == Kind::Client && span.is_on(nginx.port));
        let is_known: Vec<bool> = asked.map(|span| span.resource.0.contains_key("process.command_args")).collect();
        let known = is_known.iter().filter(|&&is_known| is_known).count();
        (is_known.len() == PROGRAMS).then_some(known)
    });
    // A machine that is busy with others' work may be too late for some.
    assert!(known * 10 >= PROGRAMS * 8, "the arguments of {known} of {PROGRAMS} are known");
}

#[test]
fn arguments_can_be_shown_or_left_out() {
    for (what, expect) in [("all", Want::Present), ("off", Want::Absent)] {
        let agent = Launch::new().args(["--process-arguments", what]).start();
        let path = format!("/arguments/{what}");
        let span = curls(&agent, &[], &path, &["--header", "x: shown"]);
        assert_eq!(format!("{span:?}").contains("x: shown"), what == "all", "{span}");
        span.expect_resource([("process.command_args", expect)]);
    }
}

#[test]
fn languages_and_runtimes_are_told_by_what_runs() {
    let agent = Agent::start();
    for (server, language, runtime, version) in [
        (servers::python(), is("python"), is("cpython"), Want::Present),
        (servers::node(), is("nodejs"), is("nodejs"), Want::Present),
        (servers::go(), is("go"), is("go"), Want::Present),
        // Debian takes the compiler's signature out: what is not known is not guessed.
        (servers::nginx(1), Want::Absent, Want::Absent, Want::Absent),
    ] {
        assert_eq!(curl::curl(&[&server.url("/hello")]).code, 0);
        let span = agent.request(Kind::Server, server.port, "/hello");
        span.expect_resource([
            ("wirespan.process.language", language),
            ("process.runtime.name", runtime),
            ("process.runtime.version", version),
            ("telemetry.sdk.language", is("rust")),
        ]);
    }
    agent.stop().ledger.balances();
}

#[test]
fn a_process_in_a_pid_namespace_has_both_of_its_ids() {
    let agent = Agent::start();
    let wrappers = ["unshare", "--pid", "--fork", "--"].map(str::to_owned);
    let span = curls(&agent, &wrappers, "/inner", &[]);
    span.expect_resource([("process.vpid", is(1)), ("wirespan.process.pid_namespace", Want::Present)]);
    assert!(span.process() != 1, "{span}");
}

#[test]
fn a_pod_is_known_by_its_cgroup_alone() {
    let agent = Agent::start();
    let group = Cgroup::new(&format!(
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{ID}.scope",
        UID.replace('-', "_")
    ));
    let span = curls(&agent, &group.enter(), "/pod", &[]);
    span.expect_resource([
        ("k8s.pod.uid", is(UID)),
        ("wirespan.k8s.pod.qos_class", is("Burstable")),
        ("container.id", is(ID)),
        ("container.runtime.name", is("containerd")),
        ("wirespan.container.claimed", Want::Absent),
        // Users of a container are its own.
        ("process.owner", Want::Absent),
        ("process.user.id", is(0)),
    ]);
    agent.stop().ledger.balances();
}

#[test]
fn a_pod_that_a_tenant_makes_up_below_his_own_is_a_claim() {
    let agent = Agent::start();
    let group = Cgroup::new(&format!("kubepods/pod{UID}/{ID}/kubepods/pod{OTHER_UID}/{OTHER_ID}"));
    let span = curls(&agent, &group.enter(), "/claim", &[]);
    span.expect_resource([
        ("k8s.pod.uid", is(UID)),
        ("container.id", is(ID)),
        ("wirespan.container.claimed", is(OTHER_UID)),
    ]);
    // Neither does his environment help him.
    let own = Cgroup::new(&format!("kubepods/pod{UID}/{ID}"));
    let claims = format!("OTEL_RESOURCE_ATTRIBUTES=k8s.pod.uid={OTHER_UID},container.id={OTHER_ID},team=blue");
    let wrappers: Vec<String> = own.enter().into_iter().chain(["env".to_owned(), claims]).collect();
    let span = curls(&agent, &wrappers, "/claim/env", &[]);
    span.expect_resource([("k8s.pod.uid", is(UID)), ("container.id", is(ID)), ("team", is("blue"))]);
    agent.stop().ledger.balances();
}

#[test]
fn a_program_that_an_interpreter_runs_is_called_after_its_unit() {
    let agent = Agent::start();
    let group = Cgroup::new("system.slice/billing.service");
    let script = "import sys,urllib.request as u; u.urlopen(sys.argv[1])";
    for (wrapped, expect) in [(true, "billing"), (false, "python3")] {
        let wrappers = if wrapped { group.enter() } else { Vec::new() };
        let wrappers: Vec<&str> = wrappers.iter().map(String::as_str).collect();
        let span = asks(&agent, Program::under(&wrappers, "python3").args(["-c", script]), "/unit");
        let name = span.resource.0.get("service.name");
        assert!(matches!(name, Some(Value::Str(name)) if name.starts_with(expect)), "{span}");
        span.expect_resource([("wirespan.systemd.unit", if wrapped { is("billing.service") } else { Want::Absent })]);
    }
}

#[test]
fn an_environment_of_two_mebibytes_costs_neither_memory_nor_the_name() {
    let agent = Agent::start();
    // One variable holds at most 128 KiB: sixteen of them.
    let script = r#"import os,sys
os.environb.clear()
for n in range(15): os.environb[b"A%d" % n] = b"x" * 130000
os.environb[b"OTEL_SERVICE_NAME"] = b"late"
os.execv("/usr/bin/curl", ["curl"] + sys.argv[1:])"#;
    let span = asks(&agent, Program::new("python3").args(["-c", script, "--silent"]), "/environ");
    span.expect_resource([("process.executable.name", is("curl")), ("service.name", is("curl"))]);
    agent.stop().ledger.balances();
}
