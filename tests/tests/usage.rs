//! What a user can ask for, and what is said when it cannot be had.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use rustix::process::Signal;
use wirespan_tests::agent::{self, Agent, Launch, binary, need_root};
use wirespan_tests::child::{Ended, Program};
use wirespan_tests::raw::{Wire, get, ok};
use wirespan_tests::span::{Kind, Layer, Span, Value, Want, is};
use wirespan_tests::temp::TempDir;
use wirespan_tests::{PATIENCE, curl, kernel, names, servers};

const USAGE: Option<i32> = Some(2);
const CANNOT_TRACE: Option<i32> = Some(3);
const OUTPUT_FAILED: Option<i32> = Some(4);

#[track_caller]
fn says(ended: &Ended, code: Option<i32>, words: &[&str]) {
    assert_eq!(ended.code(), code, "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is missing in\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(ended.stdout.is_empty(), "standard output is for spans alone:\n{}", ended.stdout);
}

#[track_caller]
fn traffic(path: &str) -> u16 {
    let mut wire = Wire::open();
    let port = wire.port;
    wire.exchange(get(path), ok("used"));
    wire.close();
    port
}

fn requests(spans: &[Arc<Span>], port: u16) -> Vec<Arc<Span>> {
    spans.iter().filter(|span| span.layer == Layer::L7 && span.is_on(port)).cloned().collect()
}

#[test]
fn the_help_documents_every_exit_code() {
    let help = Program::new(binary()).args(["run", "--help"]).run().well();
    for words in ["--only", "--except", "--format", "--buffer-kib", "OTEL_EXPORTER_OTLP_ENDPOINT", "SIGUSR1"] {
        assert!(help.stdout.contains(words), "{words} is missing in\n{}", help.stdout);
    }
    for code in [0, 2, 3, 4] {
        assert!(help.stdout.contains(&format!("\n  {code} ")), "exit code {code} is missing in\n{}", help.stdout);
    }
}

#[test]
fn an_unknown_flag_is_named_and_ends_with_2() {
    says(&Program::new(binary()).args(["run", "--onyl", "exe:nginx"]).run(), USAGE, &["--onyl", "--only"]);
    says(&Program::new(binary()).args(["run", "--only", "nginx"]).run(), USAGE, &["nginx", "exe:"]);
    says(&Program::new(binary()).args(["dance"]).run(), USAGE, &["dance"]);
}

#[test]
fn without_root_it_says_so_and_ends_with_3() {
    need_root();
    let files = TempDir::new("nobody");
    // Everybody may run the copy.
    let copy = files.program(&binary(), "wirespan");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"];
    let ended = Program::under(&nobody, &copy).args(["run"]).run();
    says(&ended, CANNOT_TRACE, &["root"]);
    assert!(!ended.stderr.contains("ready:"), "{}", ended.stderr);
}

#[test]
fn without_btf_it_says_what_is_missing_and_ends_with_3() {
    need_root();
    let without = ["unshare", "--mount", "--", "sh", "-c", "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"", "sh"];
    let ended = Program::under(&without, binary()).args(["run"]).run();
    says(&ended, CANNOT_TRACE, &["/sys/kernel/btf/vmlinux"]);
}

#[test]
fn without_a_cgroup2_mount_it_finds_another_way() {
    let without = ["unshare", "--mount", "--", "sh", "-c", "umount --lazy --all --types cgroup2 && exec \"$@\"", "sh"];
    let agent = Launch::under(&without).start();
    let port = traffic("/no/cgroup2");
    let pair = agent.pair(port, "/no/cgroup2");
    assert_eq!(pair.server.int("http.response.status_code"), 200);
}

#[test]
fn output_that_fails_ends_with_4() {
    need_root();
    let full = ["sh", "-c", "exec \"$@\" > /dev/full", "sh"];
    let agent = Program::under(&full, binary()).args(["run", "--format", "json"]).start();
    agent.wait_err("ready:");
    traffic("/full");
    says(&agent.wait(), OUTPUT_FAILED, &["standard output"]);
}

#[test]
fn it_says_what_is_active_and_then_that_it_is_ready() {
    need_root();
    let files = TempDir::new("notify");
    let path = files.path().join("socket");
    let socket = UnixDatagram::bind(&path).expect("a socket to be notified on");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let agent = Launch::new().env("NOTIFY_SOCKET", &path).start();
    let mut message = [0; 256];
    let len = socket.recv(&mut message).expect("a message for systemd");
    assert!(message[..len].starts_with(b"READY=1"), "{:?}", String::from_utf8_lossy(&message[..len]));
    let said = agent.child().stderr();
    let verdicts = said.lines().filter(|line| line.starts_with("probe: ")).count();
    assert!(verdicts >= 5, "one line for each probe:\n{said}");
    assert!(said.find("probe: ") < said.find("ready:"), "{said}");
    let stopped = agent.stop();
    let len = socket.recv(&mut message).expect("another message");
    assert!(message[..len].starts_with(b"STOPPING=1"));
    stopped.ledger.balances();
}

#[test]
fn the_console_shows_a_person_the_request_and_who_made_it() {
    need_root();
    let nginx = servers::nginx(1);
    let agent = Program::new(binary()).args(["run"]).stopped_by(Signal::INT).start();
    agent.wait_err("ready:");
    assert_eq!(curl::curl(&[&nginx.url("/for/people")]).code, 0);
    let line = agent.wait_out("/for/people");
    assert!(!line.contains('\x1b'), "colours in a pipe: {line:?}");
    let ended = agent.stop().well();
    for word in ["curl", "nginx", "GET", "200"] {
        assert!(ended.stdout.contains(word), "{word} is missing in\n{}", ended.stdout);
    }
    assert!(ended.stderr.contains("ledger: records: "), "{}", ended.stderr);
}

#[test]
fn only_what_is_selected_is_shown() {
    let nginx = servers::nginx(1);
    let agent = Launch::new().args(["--only", "exe:curl"]).start();
    let _ = curl::curl(&[&nginx.url("/selected")]);
    let wire = traffic("/not/selected");
    agent.request(Kind::Client, nginx.port, "/selected");
    let stopped = agent.stop();
    assert!(requests(&stopped.spans, nginx.port).iter().all(|span| span.kind == Kind::Client), "{:#?}", stopped.spans);
    assert!(stopped.spans.iter().all(|span| !span.is_on(wire)), "{:#?}", stopped.spans);
    stopped.ledger.balances();
}

/// The agent has no chance to tell the kernel programs that the process has become another.
#[test]
fn who_was_not_selected_is_shown_from_the_moment_it_runs_a_program_that_is() {
    let nginx = servers::nginx(1);
    let agent = Launch::new().args(["--only", "exe:curl"]).start();
    let shell =
        Program::new("bash").args(["-c", "kill -STOP $$; exec curl --silent $0", &nginx.url("/becomes")]).start();
    kernel::wait_until_deselected(agent.pid(), shell.pid());
    agent.child().signal(Signal::STOP);
    shell.signal(Signal::CONT);
    let _ = shell.wait().well();
    agent.child().signal(Signal::CONT);
    agent.request(Kind::Client, nginx.port, "/becomes");
}

#[test]
fn what_is_excepted_is_not_shown() {
    let nginx = servers::nginx(1);
    let mut wire = Wire::open();
    let agent = Launch::new().args(["--except", &format!("port:{}", wire.port), "--except", "exe:nginx"]).start();
    wire.exchange(get("/excepted/port"), ok("x"));
    let port = wire.port;
    wire.close();
    let _ = curl::curl(&[&nginx.url("/excepted/exe")]);
    agent.request(Kind::Client, nginx.port, "/excepted/exe");
    let stopped = agent.stop();
    assert!(stopped.spans.iter().all(|span| !span.is_on(port)), "{:#?}", stopped.spans);
    assert!(requests(&stopped.spans, nginx.port).iter().all(|span| span.kind == Kind::Client), "{:#?}", stopped.spans);
    stopped.ledger.balances();
}

#[test]
fn a_port_and_a_process_can_be_selected() {
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    let ((mut chosen, _chosen), (mut other, _other)) = (Wire::with_listener(address), Wire::with_listener(address));
    let nginx = servers::nginx(1);
    let only = [format!("port:{}", chosen.port), format!("pid:{}", std::process::id())];
    let agent = Launch::new().args(["--only", &only[0], "--only", &only[1]]).start();
    other.exchange(get("/other/port"), ok("x"));
    let _ = curl::curl(&[&nginx.url("/other/process")]);
    chosen.exchange(get("/chosen"), ok("x"));
    agent.pair(chosen.port, "/chosen");
    let stopped = agent.stop();
    for span in &stopped.spans {
        assert!(span.is_on(chosen.port) && span.process() == std::process::id(), "{span}");
    }
}

#[test]
fn connections_can_be_left_out() {
    for what in ["off", "metrics"] {
        let agent = Launch::new().args(["--connections", what]).start();
        let port = traffic("/alone");
        agent.pair(port, "/alone");
        let stopped = agent.stop();
        assert!(stopped.spans.iter().all(|span| span.layer == Layer::L7), "--connections {what}: {:#?}", stopped.spans);
        for span in requests(&stopped.spans, port) {
            span.expect([(names::CONNECTION_ID, Want::Present)]);
        }
    }
}

#[test]
fn the_older_names_can_be_had_too() {
    let agent = Launch::new().env("OTEL_SEMCONV_STABILITY_OPT_IN", "http/dup").start();
    let port = traffic("/older?q=1");
    let pair = agent.pair(port, "/older");
    for span in [&pair.client, &pair.server] {
        span.expect([
            ("http.request.method", is("GET")),
            ("http.method", is("GET")),
            ("http.response.status_code", is(200)),
            ("http.status_code", is(200)),
        ]);
    }
    pair.server.expect([("http.target", is("/older?q=1"))]);
}

#[test]
fn no_secret_leaves_the_machine() {
    let agent = Agent::start();
    let secrets = [
        "s3cr3t-signature",
        "s3cr3t-sig",
        "s3cr3t-token",
        "s3cr3t-user",
        "s3cr3t-word",
        "s3cr3t-cookie",
        "s3cr3t-bearer",
        "s3cr3t-body",
        "s3cr3t-answer",
        "s3cr3t-key",
    ];
    let mut wire = Wire::open();
    let body = "password=s3cr3t-body";
    wire.exchange(
        format!(
            "POST http://s3cr3t-user:s3cr3t-word@far.test/secret?page=2&X-Amz-Signature=s3cr3t-signature&sig=s3cr3t-sig\
             &access_token=s3cr3t-token&api_key=s3cr3t-key HTTP/1.1\r\nHost: far.test\r\nAuthorization: Bearer s3cr3t-bearer\r\n\
             Cookie: id=s3cr3t-cookie\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ),
        "HTTP/1.1 200 OK\r\nSet-Cookie: id=s3cr3t-cookie\r\nContent-Length: 13\r\n\r\ns3cr3t-answer",
    );
    let pair = agent.pair(wire.port, "/secret");
    pair.server.expect([(
        "url.query",
        is("page=2&X-Amz-Signature=REDACTED&sig=REDACTED&access_token=REDACTED&api_key=REDACTED"),
    )]);
    assert!(pair.client.str("url.full").starts_with("http://REDACTED:REDACTED@far.test"), "{}", pair.client);
    let stopped = agent.stop();
    for span in requests(&stopped.spans, wire.port) {
        for secret in secrets {
            assert!(!format!("{span:?}").contains(secret), "{secret} in\n{span}");
        }
    }
    for secret in secrets {
        assert!(!stopped.ended.stderr.contains(secret), "{secret} on standard error");
    }
}

#[test]
fn a_recording_gives_the_same_bytes_each_time_it_is_replayed() {
    need_root();
    let files = TempDir::new("recording");
    let file = files.path().join("session");
    let nginx = servers::nginx(1);
    let recorder = Program::new(binary()).arg("record").arg(&file).stopped_by(Signal::INT).start();
    recorder.wait_err("ready:");
    for number in 0..20 {
        assert_eq!(curl::curl(&[&nginx.url(&format!("/recorded/{number}"))]).code, 0);
    }
    let mut wire = Wire::open();
    wire.ask((0..10).map(|n| get(&format!("/piped/{n}"))).collect::<String>());
    wire.answer((0..10).map(|_| ok("x")).collect::<String>());
    let ended = recorder.stop().well();
    assert!(ended.stdout.is_empty() && ended.stderr.contains("ledger: records: "), "{ended:?}");
    let mode = fs::metadata(&file).expect("the recording is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others may read the recording");

    let replay = || Program::new(binary()).arg("replay").arg(&file).run().well().stdout;
    let (first, second) = (replay(), replay());
    assert!(first == second, "the same file gave different bytes");
    let spans: Vec<Span> = first.lines().flat_map(|line| agent::read_line(line).expect("a line of spans")).collect();
    let of = |kind: Kind, port: u16, path: &str| {
        spans.iter().filter(|span| span.kind == kind && span.is_on(port) && span.path() == path).count()
    };
    for kind in [Kind::Client, Kind::Server] {
        for number in 0..20 {
            assert_eq!(of(kind, nginx.port, &format!("/recorded/{number}")), 1, "{kind:?} /recorded/{number}");
        }
        for number in 0..10 {
            assert_eq!(of(kind, wire.port, &format!("/piped/{number}")), 1, "{kind:?} /piped/{number}");
        }
    }
    let curl_span = spans.iter().find(|span| span.kind == Kind::Client && span.path() == "/recorded/0");
    curl_span.expect("it was found above").expect_resource([("service.name", is("curl"))]);

    // What is no recording is named, and is no reason to panic.
    let broken = files.file("broken", &fs::read(&file).expect("the recording")[..200]);
    let nonsense = files.file("nonsense", "this is no recording");
    let ended = Program::new(binary()).arg("replay").arg(&nonsense).run();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("nonsense") && !ended.stderr.contains("panicked"), "{ended:?}");
    let ended = Program::new(binary()).arg("replay").arg(&broken).run();
    assert!(matches!(ended.code(), Some(0 | 1)) && !ended.stderr.contains("panicked"), "{ended:?}");
}

#[test]
fn json_is_otlp_json() {
    need_root();
    let agent = Program::new(binary()).args(["run", "--format", "json"]).stopped_by(Signal::INT).start();
    agent.wait_err("ready:");
    traffic("/json");
    let line = agent.wait_out("/json");
    let value: serde_json::Value = serde_json::from_str(&line).expect("a line is a JSON object");
    let each = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let scopes = each(&value["resourceSpans"]).into_iter().flat_map(|resource| each(&resource["scopeSpans"]));
    let span = scopes.flat_map(|scope| each(&scope["spans"])).find(|span| span.to_string().contains("/json"));
    let span = span.expect("the line has the span in it");
    let hex = |key: &str, digits: usize| {
        let id = span[key].as_str().unwrap_or_default();
        assert!(
            id.len() == digits && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{key}: {id}"
        );
    };
    hex("traceId", 32);
    hex("spanId", 16);
    assert!(span["kind"].is_i64() || span["kind"].is_u64(), "{}", span["kind"]);
    for key in ["startTimeUnixNano", "endTimeUnixNano"] {
        assert!(span[key].as_str().is_some_and(|time| time.parse::<u64>().is_ok()), "{key}: {}", span[key]);
    }
    let attributes = span["attributes"].as_array().expect("attributes");
    let status = attributes.iter().find(|pair| pair["key"] == "http.response.status_code").expect("a status");
    assert_eq!(status["value"]["intValue"], "200", "64-bit integers are text in JSON");
    let parsed = agent::read_line(&line).expect("a line of spans");
    let parsed = parsed.iter().find(|span| span.path() == "/json").expect("the same span");
    assert_eq!(parsed.get("http.response.status_code"), Some(&Value::Int(200)));
}
