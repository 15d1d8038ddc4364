//! The configuration file: what it can say, what is said of a bad one, and that it is obeyed while the agent runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use wirespan_tests::agent::{Agent, Launch, binary, need_root};
use wirespan_tests::child::{Child, Program};
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::span::{Kind, Span};
use wirespan_tests::temp::TempDir;
use wirespan_tests::{curl, port, servers};

const USAGE: Option<i32> = Some(2);

/// A configuration that is replaced as a whole, as editors and Kubernetes do.
struct Config {
    files: TempDir,
    path: PathBuf,
}

impl Config {
    fn new(text: &str) -> Self {
        let files = TempDir::new("configuration");
        let path = files.file("wirespan.yaml", text);
        Self { files, path }
    }

    fn replace(&self, text: &str) {
        let new = self.files.file("new", text);
        fs::rename(new, &self.path).expect("ours");
    }

    fn path(&self) -> &str {
        self.path.to_str().expect("plain")
    }

    #[track_caller]
    fn start(&self) -> Agent {
        Launch::new().args(["--config", self.path()]).start()
    }
}

/// Excludes this process.
fn without_us() -> String {
    format!("select:\n  exclude:\n    - pid: {}\n", std::process::id())
}

/// Whether a span is of this process and on this port. Ports are used again by whoever else is busy on this machine.
fn is_ours(span: &Span, port: u16) -> bool {
    span.is_on(port) && span.process() == std::process::id()
}

/// A request of this process to itself.
fn request(path: &str) -> u16 {
    let mut wire = Wire::open();
    let port = wire.port;
    wire.exchange(get(path), ok("x"));
    wire.close();
    port
}

/// Returns when what happened before has been worked on: a request of somebody else is shown.
#[track_caller]
fn fence(agent: &Agent, path: &str) {
    let nginx = servers::nginx(1);
    assert_eq!(curl::curl(&[&nginx.url(path)]).code, 0);
    agent.request(Kind::Client, nginx.port, path);
}

/// Waits until the agent has said this so many times.
#[track_caller]
fn says(agent: &Agent, words: &str, times: usize) {
    let said = agent.child().err().wait(wirespan_tests::PATIENCE, |err| {
        (err.lines.iter().filter(|line| line.contains(words)).count() >= times).then_some(())
    });
    assert!(said.is_some(), "`{words}` was not said {times} times:\n{}", agent.child().stderr());
}

#[test]
fn a_file_is_obeyed_and_obeyed_anew_when_it_changes() {
    let config = Config::new(&without_us());
    let agent = config.start();
    let unseen = request("/unseen");
    fence(&agent, "/others/first");
    // A connection that is excluded while it lives is not seen from then on.
    config.replace("connections: {report: spans}\n");
    says(&agent, "configuration: changed select.exclude", 1);
    let mut wire = Wire::open();
    let port = wire.port;
    wire.exchange(get("/seen"), ok("x"));
    agent.pair(port, "/seen");
    config.replace(&without_us());
    says(&agent, "configuration: changed select.exclude", 2);
    wire.exchange(get("/unseen/again"), ok("x"));
    let unseen_again = request("/unseen/again");
    fence(&agent, "/others/last");
    let stopped = agent.stop();
    for span in &stopped.spans {
        assert!(!is_ours(span, unseen) && !is_ours(span, unseen_again), "{span}");
        assert!(!is_ours(span, port) || span.path() != "/unseen/again", "{span}");
    }
    stopped.ledger.balances();
}

#[test]
fn a_connection_is_seen_whenever_its_process_is_selected() {
    const CHANGED: &str = "configuration: changed select.exclude";
    let excluded = without_us();
    let config = Config::new(&excluded);
    let agent = config.start();
    let mut wire = Wire::open();
    let port = wire.port;
    let mut exchange = |path: &str| wire.exchange(get(path), ok("x"));
    exchange("/unseen");
    let mut changes = 0;
    let mut select = |is_selected: bool| {
        config.replace(if is_selected { "connections: {report: spans}\n" } else { &excluded });
        changes += 1;
        says(&agent, CHANGED, changes);
    };
    for round in ["first", "second"] {
        select(true);
        let path = format!("/seen/{round}");
        exchange(&path);
        agent.pair(port, &path);
        select(false);
        // The first one tells the agent that it is to be unseen, the second one is.
        exchange("/unseen");
        exchange("/unseen");
    }
    // Nothing happens between these two.
    select(true);
    select(false);
    select(true);
    exchange("/seen/last");
    agent.pair(port, "/seen/last");
    let stopped = agent.stop();
    for span in &stopped.spans {
        assert!(!is_ours(span, port) || span.path() != "/unseen", "{span}");
    }
    stopped.ledger.balances();
}

#[test]
fn what_is_not_selected_costs_no_records() {
    let config = Config::new(&without_us());
    let agent = config.start();
    let before = agent.ledger().records.observed;
    let mut wire = Wire::open();
    for number in 0..500 {
        wire.exchange(get(&format!("/{number}")), ok("x"));
    }
    wire.close();
    let records = agent.ledger().records.observed - before;
    // Selected, it would be 2 000. Whatever else happens on this machine counts, too.
    assert!(records < 500, "{records} records of 500 requests");
    let _ = agent.stop();
}

#[test]
fn a_bad_file_keeps_the_old_one_and_says_what_is_wrong() {
    let config = Config::new(&without_us());
    let agent = config.start();
    config.replace("select:\n  exlude: []\n");
    says(&agent, "nothing is changed, because", 1);
    says(&agent, "wirespan.yaml:2: there is no `select.exlude`; the nearest is `select.exclude`", 1);
    let unseen = request("/still/unseen");
    fence(&agent, "/others");
    // What needs a new start is said in one line; the rest is obeyed.
    config.replace("connections: {segment: 5}\nlog: {filter: debug}\n");
    says(&agent, "configuration: connections.segment, log.filter cannot change while the agent runs", 1);
    let port = request("/seen");
    agent.pair(port, "/seen");
    let stopped = agent.stop();
    assert!(
        stopped.spans.iter().all(|span| !is_ours(span, unseen)),
        "it was seen: {:#?}",
        stopped.spans.iter().filter(|span| is_ours(span, unseen)).collect::<Vec<_>>()
    );
}

#[test]
fn the_swap_of_a_config_map_and_a_signal_are_noticed() {
    let files = TempDir::new("config-map");
    let root = files.path();
    let version = |name: &str, text: &str| {
        fs::create_dir(root.join(name)).expect("ours");
        files.file(&format!("{name}/wirespan.yaml"), text);
        symlink(name, root.join("..data_tmp")).expect("ours");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("ours");
    };
    version("..2026_01", &without_us());
    let path = root.join("wirespan.yaml");
    symlink("..data/wirespan.yaml", &path).expect("ours");
    let agent = Launch::new().env("WIRESPAN_CONFIG", &path).start();
    let unseen = request("/unseen");
    fence(&agent, "/others");
    version("..2026_02", "{}\n");
    says(&agent, "configuration: changed select.exclude", 1);
    let port = request("/seen");
    agent.pair(port, "/seen");
    agent.child().signal(Signal::HUP);
    says(&agent, "configuration: read anew, nothing is changed", 1);
    let stopped = agent.stop();
    assert!(
        stopped.spans.iter().all(|span| !is_ours(span, unseen)),
        "it was seen: {:#?}",
        stopped.spans.iter().filter(|span| is_ours(span, unseen)).collect::<Vec<_>>()
    );
}

/// A server that lives when the agent starts: what is short-lived may be gone before anybody can look whose it is.
fn server(wrappers: &[&str]) -> (Child, String) {
    let port = port::unused();
    let program = Program::under(wrappers, "python3").args(["-u", "-m", "http.server", "--bind", "127.0.0.1"]);
    let child = program.arg(port.to_string()).start();
    child.wait_out("Serving HTTP");
    (child, format!("http://127.0.0.1:{port}"))
}

#[test]
fn owners_and_services_are_selected() {
    let (_root, root) = server(&[]);
    let (_nobody, nobody) = server(&["setpriv", "--reuid=nobody", "--clear-groups", "--"]);
    let (_chosen, chosen) = server(&["env", "OTEL_SERVICE_NAME=chosen"]);
    let config = Config::new("select:\n  include:\n    - user: nobody\n    - service: chosen\n");
    let agent = config.start();
    for (server, path) in [(&root, "/root"), (&nobody, "/nobody"), (&chosen, "/chosen")] {
        assert_eq!(curl::curl(&[&format!("{server}{path}")]).code, 0);
    }
    for path in ["/nobody", "/chosen"] {
        agent.span(path, |span| span.kind == Kind::Server && span.path() == path);
    }
    let stopped = agent.stop();
    assert!(stopped.spans.iter().all(|span| span.path() != "/root"), "{:#?}", stopped.spans);
}

#[test]
fn the_configuration_can_be_looked_at() {
    let config =
        Config::new("connections:\n  segment: 5\notlp:\n  endpoint: http://c:4318\n  headers: {key: s3cret}\n");
    let run = |arguments: &[&str]| Program::new(binary()).args(arguments).env("WIRESPAN_LOG_FILTER", "debug").run();
    let printed = run(&["config", "print", "--config", config.path(), "--max-connections", "9"]).well().stdout;
    for (value, place) in [
        ("segment: 5", "wirespan.yaml:2"),
        ("max: 9", "--max-connections"),
        ("filter: debug", "WIRESPAN_LOG_FILTER"),
        ("report: spans", "default"),
        ("headers: {key: REDACTED}", "wirespan.yaml:5"),
    ] {
        let line = printed.lines().find(|line| line.trim_start().starts_with(value));
        assert!(line.is_some_and(|line| line.ends_with(place)), "{value} {place} is not in\n{printed}");
    }
    let schema: serde_json::Value = serde_json::from_str(&run(&["config", "schema"]).well().stdout).expect("JSON");
    assert_eq!(schema["properties"]["connections"]["properties"]["segment"]["maximum"], 86_400);
    let good = run(&["config", "check", "--config", config.path()]).well();
    assert!(good.stderr.contains("good") && good.stdout.is_empty(), "{good:?}");
}

#[test]
fn what_is_wrong_is_named_with_its_line_before_anything_is_attached() {
    need_root();
    for (text, words) in [
        (
            "select:\n  includes: []\n",
            "wirespan.yaml:2: there is no `select.includes`; the nearest is `select.include`",
        ),
        ("\nconnections:\n  segment: soon\n", "wirespan.yaml:3: `connections.segment` is `soon`"),
        ("select: {include: [exe:a], exclude: [exe:a]}\n", "wirespan.yaml:1: `exe:a` is both included and excluded"),
        (
            "select: {include: [user:no-such-user]}\n",
            "wirespan.yaml:1: no user of this machine is called `no-such-user`",
        ),
        ("log: {filter: wirespan=loud}\n", "wirespan.yaml:1: `wirespan=loud` is no filter"),
        ("otlp:\n  endpoint: ftp://x\n", "wirespan.yaml:2: `otlp.endpoint`: unknown scheme"),
        (
            "otlp:\n  endpoint: http://c:1\n  client_key: /k\n",
            "wirespan.yaml:3: `otlp.client_key` is set, but `otlp.client_certificate` is not",
        ),
    ] {
        let config = Config::new(text);
        for command in [&["run"][..], &["config", "check"]] {
            let ended = Program::new(binary()).args(command).args(["--config", config.path()]).run();
            assert_eq!(ended.code(), USAGE, "{text}: {ended:?}");
            assert!(ended.stderr.contains(words) && !ended.stderr.contains("probe:"), "{text}: {}", ended.stderr);
        }
    }
}

#[test]
fn a_file_that_everybody_may_write_is_refused() {
    need_root();
    let config = Config::new("{}\n");
    fs::set_permissions(Path::new(config.path()), fs::Permissions::from_mode(0o666)).expect("ours");
    for command in [&["run"][..], &["record", "/dev/null"], &["config", "print"]] {
        let ended = Program::new(binary()).args(command).args(["--config", config.path()]).run();
        assert_eq!(ended.code(), USAGE, "{command:?}: {ended:?}");
        for word in ["--config", "wirespan.yaml", "0666", "chmod o-w"] {
            assert!(ended.stderr.contains(word), "`{word}` is missing in\n{}", ended.stderr);
        }
    }
}

#[test]
fn a_recording_holds_the_changes_and_is_replayed_to_the_same_bytes() {
    need_root();
    let config = Config::new(&without_us());
    let file = config.files.path().join("session");
    let record = Program::new(binary()).arg("record").arg(&file).args(["--config", config.path()]);
    let recorder = record.stopped_by(Signal::INT).start();
    recorder.wait_err("ready:");
    config.replace("select: {exclude: [exe:nobody-runs-this]}\n");
    recorder.wait_err("configuration: changed select.exclude");
    request("/recorded");
    let _ = recorder.stop().well();
    let recorded = fs::read(&file).expect("it was written");
    let holds = |text: &str| recorded.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(r#"{"selection":{"only":[],"except":["exe:nobody-runs-this"]}}"#), "the change is in it");
    let replay = || Program::new(binary()).arg("replay").arg(&file).run().well().stdout;
    let first = replay();
    assert!(first.contains("/recorded") && first == replay(), "the same file gave different bytes");
}
