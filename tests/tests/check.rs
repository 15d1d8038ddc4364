//! `wirespan check`: it says what `run` would say, leaves nothing behind, and disturbs nobody.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use serde_json::Value;
use wirespan_tests::agent::{Agent, Launch, binary, need_root};
use wirespan_tests::child::{Ended, Program};
use wirespan_tests::kernel;
use wirespan_tests::port;
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::receiver::{Protocol, Receiver};
use wirespan_tests::span::{Kind, Layer};
use wirespan_tests::temp::TempDir;

const ALL: Option<i32> = Some(0);
const DEGRADED: Option<i32> = Some(1);
const NOTHING: Option<i32> = Some(3);

/// What it says of each thing: its state, and why.
type Said = BTreeMap<String, (String, String)>;

fn check() -> Program {
    need_root();
    Program::new(binary()).args(["check", "--format", "json"])
}

/// Reads what it said. The exit code, the result and the states must agree.
#[track_caller]
fn read(ended: &Ended) -> (Value, Said) {
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    let report: Value =
        serde_json::from_str(&ended.stdout).map_err(|error| format!("{error}: {ended:?}")).expect("JSON");
    let mut said = Said::new();
    for section in ["host", "probes", "output"] {
        for item in report[section].as_array().expect("a list") {
            let text = |key: &str| item[key].as_str().expect("a text").to_owned();
            assert!(said.insert(text("name"), (text("state"), text("says"))).is_none(), "said twice: {item}");
        }
    }
    assert_eq!(report["exit_code"].as_i64(), ended.code().map(i64::from), "{report}");
    let has = |states: &[&str]| said.values().any(|(state, _)| states.contains(&state.as_str()));
    match report["result"].as_str().expect("a result") {
        "all" => {
            assert_eq!(ended.code(), ALL);
            assert!(!has(&["degraded", "unsupported", "broken", "missing"]), "{report}");
        }
        "degraded" => {
            assert_eq!(ended.code(), DEGRADED);
            assert!(has(&["degraded", "unsupported", "broken"]) && !has(&["missing"]), "{report}");
        }
        _ => assert_eq!((&report["result"], ended.code()), (&Value::from("nothing"), NOTHING), "{report}"),
    }
    (report, said)
}

#[track_caller]
fn is(said: &Said, name: &str, state: &str, words: &[&str]) {
    let (is, says) = said.get(name).ok_or_else(|| format!("{name} in {said:#?}")).expect("it is said");
    assert_eq!(is, state, "{name}: {says}");
    for word in words {
        assert!(says.contains(word), "`{word}` is missing in: {name}: {says}");
    }
}

/// How many attachments a process holds now; none once it is gone.
fn links_of(pid: u32) -> usize {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| target.to_string_lossy().contains("bpf_link")).count()
}

#[test]
fn its_verdicts_are_those_of_run() {
    let agent = Agent::start();
    let of_run: Vec<String> =
        agent.child().stderr().lines().filter_map(|line| line.strip_prefix("probe: ")).map(str::to_owned).collect();
    let (report, said) = read(&check().run());
    assert_ne!(report["result"], "nothing", "an agent runs here: {report}");
    for name in ["kernel", "btf", "cgroup2", "capabilities", "locked memory", "memory limit", "clock", "exporter"] {
        assert!(said.contains_key(name), "nothing is said of {name}: {said:#?}");
    }
    let probes = report["probes"].as_array().expect("a list");
    assert!(probes.len() >= 10, "{report}");
    for probe in probes {
        let (name, reason) = (probe["name"].as_str().expect("a name"), probe["says"].as_str().expect("a reason"));
        let line = of_run.iter().find(|line| line.starts_with(name)).ok_or_else(|| format!("{name} in {of_run:#?}"));
        let line = line.expect("run says it too");
        assert!(line.ends_with(reason), "check says `{reason}`, run says `{line}`");
        assert_eq!(probe["state"] == "ok", line[name.len()..].trim_start().starts_with("active"), "{probe} {line}");
    }
}

#[test]
fn a_person_gets_one_screen() {
    need_root();
    let ended = Program::new(binary()).arg("check").run();
    assert!(matches!(ended.code(), Some(0 | 1)), "{ended:?}");
    let lines = ended.stdout.lines().count();
    assert!((15..=40).contains(&lines), "{lines} lines:\n{}", ended.stdout);
    assert!(ended.stdout.contains("\nprobes\n") && !ended.stdout.contains('\x1b'), "{}", ended.stdout);
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(last.contains("works here"), "{}", ended.stdout);
}

#[test]
fn an_agent_that_runs_is_not_disturbed() {
    let agent = Agent::start();
    let held = kernel::held_by(agent.pid());
    let mut wire = Wire::open();
    let port = wire.port;
    let (mut sent, mut seen_attached) = (0, 0);
    for _ in 0..3 {
        let child = check().start();
        let mut most = 0;
        while child.runs() {
            wire.exchange(get(&format!("/during/{sent}")), ok("x"));
            sent += 1;
            most = most.max(links_of(child.pid()));
        }
        assert_ne!(read(&child.wait()).0["result"], "nothing");
        seen_attached += usize::from(most > 0);
    }
    assert!(seen_attached > 0, "nothing was ever attached by a check");
    wire.close();
    agent.connection(Kind::Server, port);
    assert_eq!(kernel::held_by(agent.pid()), held, "what the agent holds has changed");
    let stopped = agent.stop();
    for kind in [Kind::Client, Kind::Server] {
        let is_it = |span: &&std::sync::Arc<wirespan_tests::span::Span>| {
            span.layer == Layer::L7 && span.kind == kind && span.is_on(port)
        };
        assert_eq!(stopped.spans.iter().filter(is_it).count(), sent, "{kind:?}");
    }
    stopped.ledger.balances();
}

#[test]
fn it_detaches_at_once() {
    need_root();
    // A receiver that takes the connection and says nothing: the check waits for it last.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let endpoint = format!("http://{}", silent.local_addr().expect("it is bound"));
    let child = check().env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).start();
    let (stream, _) = silent.accept().expect("the check connects");
    assert!(child.runs());
    let held = kernel::held_by(child.pid());
    assert!(held.is_empty(), "still held while it waits for the receiver: {held:?}");
    let (_, said) = read(&child.wait());
    is(&said, "exporter", "degraded", &[&endpoint, "no answer within"]);
    drop(stream);
}

#[test]
fn what_the_exporter_can_reach_is_tried() {
    for (protocol, name) in [(Protocol::Grpc, "grpc"), (Protocol::Http, "http/protobuf")] {
        for compression in ["none", "gzip"] {
            let receiver = Receiver::start(protocol);
            let ended = check()
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", name)
                .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
                .run();
            let (_, said) = read(&ended);
            is(&said, "exporter", "ok", &[name]);
            let got = receiver.stop();
            assert!(got.bad.is_empty() && got.batches.len() == 1 && got.spans().count() == 0, "{got:?}");
        }
    }
    let endpoint = format!("http://127.0.0.1:{}", port::unused());
    let (_, said) = read(&check().env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint).run());
    is(&said, "exporter", "degraded", &[&endpoint, "refused"]);
    let wrong = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon")];
    let ended = wrong.iter().fold(check(), |program, (name, value)| program.env(name, value)).run();
    let (report, said) = read(&ended);
    is(&said, "exporter", "missing", &["OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon"]);
    assert_eq!(report["result"], "nothing", "run would not start");
}

#[test]
fn without_root_it_says_what_it_could_not_find_out() {
    need_root();
    let files = TempDir::new("check");
    let copy = files.program(&binary(), "wirespan");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"];
    let (report, said) = read(&Program::under(&nobody, &copy).args(["check", "--format", "json"]).run());
    assert_eq!(report["result"], "nothing", "{report}");
    assert!(report["reason"].as_str().is_some_and(|reason| reason.contains("root")), "{report}");
    is(&said, "capabilities", "missing", &["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
    is(&said, "CAP_SYS_PTRACE", "degraded", &["not held"]);
    is(&said, "btf", "ok", &["/sys/kernel/btf/vmlinux"]);
    is(&said, "process birth", "unknown", &["not tried", "sched_process_fork"]);
    is(&said, "packets sent", "unknown", &["not tried"]);
}

#[test]
fn one_missing_capability_is_named() {
    need_root();
    for (left_out, name, state) in [("net_admin", "capabilities", "missing"), ("sys_nice", "CAP_SYS_NICE", "degraded")]
    {
        let without = ["setpriv", &format!("--bounding-set=-{left_out}"), "--"];
        let (_, said) = read(&Program::under(&without, binary()).args(["check", "--format", "json"]).run());
        is(&said, name, state, &[]);
    }
}

#[test]
fn without_type_information_nothing_works_and_it_says_why() {
    need_root();
    let without = ["unshare", "--mount", "--", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"", "sh"];
    let (report, said) = read(&Program::under(&without, binary()).args(["check", "--format", "json"]).run());
    is(&said, "btf", "missing", &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"]);
    assert_eq!(report["result"], "nothing");
}

#[test]
fn a_low_memory_limit_is_told() {
    need_root();
    let files = TempDir::new("limit");
    let group = files.path().join("group/inner");
    std::fs::create_dir_all(&group).expect("a directory");
    std::fs::write(group.join("memory.max"), "max\n").expect("a file");
    std::fs::write(group.parent().expect("it has one").join("memory.max"), "104857600\n").expect("a file");
    let groups = files.file("groups", "0::/group/inner\n");
    let mounts = files.file("mounts", format!("1 1 0:1 / {} rw - cgroup2 none rw\n", files.path().display()));
    // The kernel's answers are replaced for this process alone.
    let script =
        "mount --bind \"$0\" /proc/$$/cgroup && mount --bind \"$1\" /proc/$$/mountinfo && shift && exec \"$@\"";
    let (groups, mounts) = (groups.to_string_lossy().into_owned(), mounts.to_string_lossy().into_owned());
    let under = ["unshare", "--mount", "--", "sh", "-c", script, &groups, &mounts];
    let (_, said) = read(&Program::under(&under, binary()).args(["check", "--format", "json"]).run());
    is(&said, "memory limit", "degraded", &["100 MiB", "group/memory.max", "200 MiB"]);
}

#[test]
fn an_untrusted_file_is_told_as_run_would() {
    let files = TempDir::new("untrusted");
    let file = files.file("ca.pem", "anything");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("it is ours");
    let (report, said) = read(&check().env("OTEL_EXPORTER_OTLP_CERTIFICATE", &file).run());
    is(&said, "configuration", "missing", &["OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem", "chmod o-w"]);
    assert_eq!(report["result"], "nothing");
}

#[test]
fn a_launch_after_a_check_works() {
    let _ = read(&check().run());
    let agent = Launch::new().start();
    agent.fence();
    agent.stop().ledger.balances();
}
