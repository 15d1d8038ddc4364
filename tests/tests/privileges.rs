//! What the agent may do: exactly what it needs to start, next to nothing afterwards, and nothing for a hostile file.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use wirespan_tests::PATIENCE;
use wirespan_tests::agent::{Agent, Launch, binary, need_root};
use wirespan_tests::child::Program;
use wirespan_tests::netns::Namespace;
use wirespan_tests::port;
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::receiver::{Protocol, Receiver};
use wirespan_tests::span::{Kind, Span, is};
use wirespan_tests::temp::TempDir;

/// What the issue lists: enough for everything but sockets of other network namespaces from before the start, and the
/// priority of a thread.
const NEEDED: &[&str] = &["bpf", "perfmon", "net_admin", "sys_ptrace", "dac_read_search"];
/// `CAP_DAC_READ_SEARCH` and `CAP_SYS_PTRACE` of `linux/capability.h`.
const KEPT: u64 = 1 << 2 | 1 << 19;

/// `setpriv` that leaves these capabilities only.
fn only(capabilities: &[&str]) -> Vec<String> {
    let set: String = capabilities.iter().map(|name| format!(",+{name}")).collect();
    ["setpriv".to_owned(), format!("--bounding-set=-all{set}"), "--".to_owned()].to_vec()
}

fn without(left_out: &str) -> Vec<String> {
    only(&NEEDED.iter().copied().filter(|name| *name != left_out).collect::<Vec<_>>())
}

fn words(wrapper: &[String]) -> Vec<&str> {
    wrapper.iter().map(String::as_str).collect()
}

/// The verdicts that the agent printed: probe, standing and reason in one line.
fn verdicts(agent: &Agent) -> Vec<String> {
    agent.child().stderr().lines().filter_map(|line| line.strip_prefix("probe: ")).map(str::to_owned).collect()
}

#[track_caller]
fn has_verdict(agent: &Agent, probe: &str, standing: &str, words: &str) {
    let verdicts = verdicts(agent);
    let is_it = |line: &&String| {
        line.strip_prefix(probe).is_some_and(|rest| rest.trim_start().starts_with(standing)) && line.contains(words)
    };
    assert!(verdicts.iter().any(|line| is_it(&line)), "no `{probe} {standing} {words}` in {verdicts:#?}");
}

/// The span of a request by a process of another user, which calls itself a service. It lives until the agent has dealt
/// with its request.
#[track_caller]
fn request_of_another_user(agent: &Agent, path: &str) -> Arc<Span> {
    let listener = port::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = listener.local_addr().expect("it is bound").port();
    let other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let url = format!("http://127.0.0.1:{port}{path}");
    let curl = Program::under(&other, "curl").args(["--silent", &url]).env("OTEL_SERVICE_NAME", "lion").start();
    answer(&listener, || agent.fence());
    let _ = curl.wait().well();
    agent.request(Kind::Client, port, path)
}

/// Answers one request, once something was done while it waits.
#[track_caller]
fn answer(listener: &TcpListener, meanwhile: impl FnOnce()) {
    let (mut stream, _) = listener.accept().expect("somebody connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a request");
        seen.extend(byte);
    }
    meanwhile();
    stream.write_all(ok("x").as_bytes()).expect("the client reads");
}

#[test]
fn the_needed_capabilities_are_enough() {
    let wrapper = only(NEEDED);
    let agent = Launch::under(&words(&wrapper)).start();
    let span = request_of_another_user(&agent, "/enough");
    span.expect_resource([("service.name", is("lion")), ("process.executable.name", is("curl"))]);
    has_verdict(&agent, "confinement", "active", "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH");
    agent.stop().ledger.balances();
}

#[test]
fn no_root_is_needed() {
    need_root();
    let set: Vec<String> = NEEDED.iter().map(|name| format!("+{name}")).collect();
    let set = set.join(",");
    let [inherited, ambient, bounding] =
        [format!("--inh-caps={set}"), format!("--ambient-caps={set}"), format!("--bounding-set=-all,{set}")];
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", &inherited, &ambient, &bounding, "--"];
    let agent = Launch::under(&user).start();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it runs");
    assert!(field(&status, "Uid").starts_with("65534"), "{status}");
    assert_eq!(field(&status, "CapEff"), format!("{KEPT:016x}"));
    let mut wire = Wire::open();
    wire.exchange(get("/by/nobody"), ok("x"));
    let span = agent.pair(wire.port, "/by/nobody").server;
    span.expect_resource([("process.pid", is(std::process::id()))]);
    agent.stop().ledger.balances();
}

#[test]
fn each_capability_that_nothing_works_without_is_named() {
    need_root();
    for (left_out, name) in [("bpf", "CAP_BPF"), ("perfmon", "CAP_PERFMON"), ("net_admin", "CAP_NET_ADMIN")] {
        let wrapper = without(left_out);
        let ended = Program::under(&words(&wrapper), binary()).args(["run"]).run();
        assert_eq!(ended.code(), Some(3), "without {name}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("(missing: {name})")), "without {name}: {}", ended.stderr);
    }
}

#[test]
fn without_the_right_to_look_into_processes_they_have_no_names_of_their_own() {
    for (left_out, probe, name) in
        [("sys_ptrace", "processes", "CAP_SYS_PTRACE"), ("dac_read_search", "other users", "CAP_DAC_READ_SEARCH")]
    {
        let wrapper = without(left_out);
        let agent = Launch::under(&words(&wrapper)).start();
        has_verdict(&agent, probe, "degraded", &format!("without {name}"));
        let span = request_of_another_user(&agent, "/nameless");
        span.expect_resource([("service.name", is("curl"))]);
        agent.stop().ledger.balances();
    }
}

#[test]
fn without_the_right_to_enter_namespaces_older_sockets_are_not_known() {
    let namespace = Namespace::new("closed");
    let _listener = namespace.listen((Ipv4Addr::LOCALHOST, 1500).into());
    let sleeper = namespace.program("sleep").arg("600").start();
    let wrapper = only(NEEDED);
    let agent = Launch::under(&words(&wrapper)).start();
    has_verdict(&agent, "namespaces", "degraded", "without CAP_SYS_ADMIN");
    has_verdict(&agent, "priority", "degraded", "without CAP_SYS_NICE");
    let said = agent.child().stderr();
    assert!(said.contains("the sockets of network namespace"), "{said}");
    drop(sleeper);
    let mut with_both = NEEDED.to_vec();
    with_both.extend(["sys_admin", "sys_nice"]);
    let wrapper = only(&with_both);
    let agent = Launch::under(&words(&wrapper)).start();
    let lost: Vec<_> = verdicts(&agent).into_iter().filter(|line| line.contains("without CAP_")).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// What the kernel says of each thread.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map_or("", str::trim)
}

#[test]
fn once_it_runs_every_thread_has_given_up_the_rest() {
    let receiver = Receiver::start(Protocol::Grpc);
    let agent = Launch::new()
        // A name, so that a thread looks it up.
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint().replace("127.0.0.1", "localhost"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .start();
    let mut wire = Wire::open();
    wire.exchange(get("/few/rights"), ok("x"));
    receiver.span("a span that was sent", |span| span.path() == "/few/rights");
    let threads = threads(agent.pid());
    assert!(threads.len() >= 4, "the core, the drain, the console and the exporter: {}", threads.len());
    for status in &threads {
        let name = field(status, "Name");
        let held = |set: &str| u64::from_str_radix(field(status, set), 16).expect("a set");
        for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
            assert_eq!(held(set) & !KEPT, 0, "{set} of {name}");
        }
        // The thread that takes records over looks at nothing else.
        assert_eq!(held("CapEff"), if name == "drain" { 0 } else { KEPT }, "{name}");
        assert_eq!((field(status, "NoNewPrivs"), field(status, "Seccomp")), ("1", "2"), "{status}");
    }
    agent.stop().ledger.balances();
}

#[test]
fn every_thread_gives_way_but_the_one_that_takes_records_over() {
    /// Of `sched(7)`.
    const OTHER: &str = "0";
    const BATCH: &str = "3";
    let agent = Agent::start();
    let mut wire = Wire::open();
    wire.exchange(get("/gives/way"), ok("x"));
    agent.pair(wire.port, "/gives/way");
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).expect("it runs").flatten();
    let stats: Vec<_> = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()).collect();
    let mut first = 0;
    for stat in &stats {
        // `proc_pid_stat(5)`: the name is in parentheses, niceness is field 19 and the policy field 41.
        let (name, rest) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).expect("a name");
        let field = |number: usize| rest.split_whitespace().nth(number - 3).unwrap_or_default();
        if name == "drain" {
            first += 1;
            assert_eq!((field(41), field(19)), (OTHER, "-10"), "{stat}");
        } else {
            assert_eq!(field(41), BATCH, "{stat}");
        }
    }
    assert!(first == 1 && stats.len() >= 3, "the core, the drain and the console: {stats:?}");
    agent.stop().ledger.balances();
}

#[test]
fn a_recording_goes_on_with_few_rights() {
    need_root();
    let files = TempDir::new("rights");
    let file = files.path().join("session");
    let recorder = Program::new(binary()).arg("record").arg(&file).start();
    recorder.wait_err("ready:");
    let status = fs::read_to_string(format!("/proc/{}/status", recorder.pid())).expect("it runs");
    assert_eq!((field(&status, "CapEff"), field(&status, "Seccomp")), (format!("{KEPT:016x}").as_str(), "2"));
    let mut wire = Wire::open();
    wire.exchange(get("/recorded"), ok("x"));
    wire.close();
    let _ = recorder.stop().well();
    let replayed = Program::new(binary()).arg("replay").arg(&file).run().well();
    assert!(replayed.stdout.contains("/recorded"), "{}", replayed.stdout);
}

#[test]
fn a_file_that_everybody_may_write_is_no_configuration() {
    need_root();
    let files = TempDir::new("config");
    let file = files.file("ca.pem", "anything");
    let set = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("it is ours");
    set(0o666);
    for variable in [
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ] {
        for command in [&["run"][..], &["record", "/dev/null"]] {
            let ended = Program::new(binary()).args(command).env(variable, &file).run();
            assert_eq!(ended.code(), Some(2), "{command:?} {variable}: {}", ended.stderr);
            for word in [variable, "ca.pem", "0666", "chmod o-w"] {
                assert!(ended.stderr.contains(word), "`{word}` is missing in\n{}", ended.stderr);
            }
            assert!(!ended.stderr.contains("probe:"), "something was attached before:\n{}", ended.stderr);
        }
    }
    set(0o644);
    let agent = Launch::new().env("OTEL_EXPORTER_OTLP_CERTIFICATE", &file).start();
    agent.stop().ledger.balances();
}

/// Waits until a trace of system calls is complete, and gives its lines from when the agent said that it is ready.
#[track_caller]
fn traced_since_ready(trace: &Path, pid: u32) -> Vec<String> {
    // strace pads short numbers.
    let is_end = |line: &str| {
        line.split_once(' ')
            .is_some_and(|(of, call)| of == pid.to_string() && call.trim_start().starts_with("+++ exited"))
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(trace).unwrap_or_default();
        if text.lines().any(is_end) {
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            let ready = lines.iter().position(|line| line.contains("\"ready: ")).expect("it was ready");
            return lines[ready..].to_vec();
        }
        assert!(Instant::now() < deadline, "the trace has no end:\n{text}");
        thread::yield_now();
    }
}

#[test]
fn nothing_of_a_hostile_container_is_opened() {
    need_root();
    let files = TempDir::new("hostile");
    let traps = files.path().join("traps");
    fs::create_dir(&traps).expect("a directory");
    // What the paths of the container's programs are on the host. Whoever opens one of them by its name waits for ever, reads
    // for ever, or reads what is not his.
    let path = |name: &str| traps.join(name).to_string_lossy().into_owned();
    let _ = Program::new("mkfifo").arg(path("fifo")).run().well();
    fs::File::create(path("sparse")).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    std::os::unix::fs::symlink("/etc/shadow", path("libssl.so.3")).expect("a link");

    let trace = files.path().join("trace");
    let trace_file = trace.to_string_lossy().into_owned();
    let calls = "trace=open,openat,openat2,open_by_handle_at,creat,execve,execveat,write";
    let agent = Launch::under(&["strace", "-D", "-f", "-y", "-o", &trace_file, "-e", calls, "--"]).start();
    for name in ["fifo", "sparse", "libssl.so.3"] {
        // In the container each is a program: curl by another name.
        let inside = path(name);
        let script = format!(
            "mount -t tmpfs none {} && cp \"$(command -v curl)\" {inside} && exec {inside} \"$@\"",
            traps.display()
        );
        let listener = port::listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let port = listener.local_addr().expect("it is bound").port();
        let url = format!("http://127.0.0.1:{port}/{name}");
        let program =
            Program::under(&["unshare", "--mount", "--"], "sh").args(["-c", &script, "sh", "--silent", &url]).start();
        answer(&listener, || agent.fence());
        let _ = program.wait().well();
        let span = agent.request(Kind::Client, port, &format!("/{name}"));
        span.expect_resource([("process.executable.path", is(&inside)), ("service.name", is(name))]);
    }
    let pid = agent.pid();
    agent.stop().ledger.balances();

    let lines = traced_since_ready(&trace, pid);
    let calls: Vec<&str> = lines.iter().filter_map(|line| Some(line.split_once(' ')?.1.trim_start())).collect();
    let opened: Vec<_> = calls.iter().filter(|call| call.starts_with("open") || call.starts_with("creat")).collect();
    assert!(opened.iter().any(|call| call.contains("\"environ\"")), "hardly anything was traced: {lines:#?}");
    for call in opened {
        // By its whole path, or by a name in a directory of /proc that is open.
        let in_proc = call.starts_with("openat(AT_FDCWD") && call.contains(", \"/proc/")
            || call
                .strip_prefix("openat(")
                .is_some_and(|rest| rest.trim_start_matches(char::is_numeric).starts_with("</proc/"));
        assert!(in_proc && !call.contains("/root"), "opened outside of /proc: {call}");
        assert!(call.contains("O_RDONLY"), "opened to be written: {call}");
    }
    assert!(!calls.iter().any(|call| call.starts_with("execve")), "a program was started: {calls:#?}");
}
