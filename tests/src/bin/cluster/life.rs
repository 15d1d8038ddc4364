//! The agent's pod as the chart makes it: what it may do, when it is ready, how it ends, how another one takes its place.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use wirespan_tests::ledger::Ledger;
use wirespan_tests::span::Kind;

use crate::bed::{POD_PATIENCE, Pod, until};
use crate::bookinfo::{ask, drive};
use crate::kept::KeptConnection;
use crate::report::Check;
use crate::stack::{AGENT, AGENT_LABELS, Stack};

pub(crate) const ALL: &[Check] = &[
    Check { name: "the agent may do what the chart says, and nothing else", holds: rights },
    Check { name: "an agent is ready when its probes are attached, and not before", holds: ready },
    Check { name: "an agent that can't attach its probes is never ready, and says what it lacks", holds: lacking },
    Check { name: "a mistake in the ConfigMap is told by the pod, and what held before goes on", holds: mistaken },
    Check { name: "an agent that is asked to end hands over what it has seen, and says what it lost", holds: drained },
    Check { name: "a roll-out costs no request and no span", holds: rolled_out },
];

/// `include/uapi/linux/capability.h`.
const CAPABILITIES: &[(&str, u32)] =
    &[("DAC_READ_SEARCH", 2), ("NET_ADMIN", 12), ("SYS_PTRACE", 19), ("SYS_NICE", 23), ("PERFMON", 38), ("BPF", 39)];
/// What is left of them once it runs.
const KEPT: &[&str] = &["DAC_READ_SEARCH", "SYS_PTRACE"];
/// Requests right before the end.
const LAST_REQUESTS: usize = 50;

fn rights(stack: &Stack) {
    let pod = stack.agent();
    let container = &pod.0["spec"]["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(
        (&context["privileged"], &context["allowPrivilegeEscalation"], &context["readOnlyRootFilesystem"]),
        (&json!(false), &json!(false), &json!(true)),
    );
    let names: BTreeSet<_> = CAPABILITIES.iter().map(|(name, _)| *name).collect();
    let given = context["capabilities"]["add"].as_array().expect("a list").iter().filter_map(Value::as_str);
    assert_eq!(given.collect::<BTreeSet<_>>(), names);
    // That is what was asked for; this is what the kernel lets it do.
    let process = process(&pod).expect("it runs");
    let of_all: Vec<&str> = names.into_iter().collect();
    let status = status(&process);
    assert_eq!(capabilities(&status, "CapBnd"), mask(&of_all), "{}", status["CapBnd"]);
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    for task in fs::read_dir(process.join("task")).expect("it has threads").flatten() {
        let status = self::status(&task.path());
        for set in ["CapEff", "CapPrm"] {
            let more = capabilities(&status, set) & !mask(KEPT);
            assert_eq!(more, 0, "{} has more in {set}: {more:x}", status["Name"]);
        }
    }
    let mounts = fs::read_to_string(process.join("mountinfo")).expect("it has mounts");
    // `proc_pid_mountinfo(5)`: the mount point is field 5, its options field 6.
    let options: BTreeMap<_, _> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(4);
            Some((fields.next()?, fields.next()?))
        })
        .collect();
    for place in ["/", "/sys/fs/cgroup", "/sys/kernel/btf", "/etc/wirespan"] {
        assert!(options[place].split(',').any(|option| option == "ro"), "{place} can be written: {}", options[place]);
    }
    let namespace = |process: &Path, kind: &str| fs::read_link(process.join("ns").join(kind)).expect("it has one");
    for (kind, is_nodes) in [("pid", true), ("net", false), ("mnt", false), ("ipc", false), ("uts", false)] {
        assert_eq!(namespace(&process, kind) == namespace(Path::new("/proc/self"), kind), is_nodes, "{kind}");
    }
}

fn ready(stack: &Stack) {
    let before = stack.agent();
    stack.bed.kubectl(&["delete", "pod", "--namespace", AGENT, "--wait=false", before.name()]);
    let mut was_seen_unready = false;
    until("the next agent is ready", POD_PATIENCE, || {
        let next = stack.bed.pods(AGENT, AGENT_LABELS).into_iter().find(|pod| pod.uid() != before.uid())?;
        was_seen_unready |= !next.is_ready();
        // It was asked before it is looked for probes, which are not taken off again.
        next.is_ready()
            .then(|| assert!(process(&next).is_some_and(|process| has_probes(&process)), "ready without probes"))
    });
    assert!(was_seen_unready, "it was ready before it was looked at");
}

fn lacking(stack: &Stack) {
    let set = stack.bed.get(&["daemonset", "--namespace", AGENT, AGENT]);
    let mut spec = set["spec"]["template"]["spec"].clone();
    let capabilities = spec["containers"][0]["securityContext"]["capabilities"]["add"].as_array_mut().expect("a list");
    capabilities.retain(|name| name != "BPF");
    spec["restartPolicy"] = json!("Never");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lacking", "namespace": AGENT}, "spec": spec,
    });
    stack.bed.apply(&pod.to_string());
    let ended = until("it has ended", POD_PATIENCE, || {
        let pod = stack.bed.pod(AGENT, "lacking");
        assert!(!pod.is_ready(), "ready without a right to attach probes");
        (pod.text("/status/phase") == "Failed").then_some(pod)
    });
    let log = stack.bed.kubectl(&["logs", "--namespace", AGENT, "lacking"]);
    stack.bed.kubectl(&["delete", "pod", "--namespace", AGENT, "lacking"]);
    assert_eq!(ended.0["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3, "{log}");
    assert!(log.contains("CAP_BPF"), "{log}");
}

fn mistaken(stack: &Stack) {
    let agent = stack.agent();
    let good = stack.bed.get(&["configmap", "--namespace", AGENT, AGENT]);
    let good = good["data"]["wirespan.yaml"].as_str().expect("a file").to_owned();
    let write = |file: &str, round: &str| {
        let patch = json!({"data": {"wirespan.yaml": file}}).to_string();
        stack.bed.kubectl(&["patch", "configmap", "--namespace", AGENT, AGENT, "--type=merge", "--patch", &patch]);
        // A kubelet looks at a pod that changes at once, else after a minute.
        let note = format!("wirespan.io/round={round}");
        stack.bed.kubectl(&["annotate", "pod", "--namespace", AGENT, agent.name(), "--overwrite", &note]);
    };
    let becomes = |what: &str, is_ready: bool| {
        until(what, POD_PATIENCE, || (stack.bed.pod(AGENT, agent.name()).is_ready() == is_ready).then_some(()));
    };
    write(&format!("{good}selct: {{}}\n"), "bad");
    becomes("an agent with a mistake in its file is not ready", false);
    let number = drive(stack);
    stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
    write(&good, "good");
    becomes("it is ready again", true);
    assert_eq!(stack.agent().uid(), agent.uid());
    let log = stack.bed.kubectl(&["logs", "--namespace", AGENT, agent.name()]);
    assert!(log.contains("selct"), "it does not say which mistake:\n{log}");
}

fn drained(stack: &Stack) {
    let agent = stack.agent();
    let log = stack.bed.start_kubectl(&["logs", "--follow", "--namespace", AGENT, agent.name()]);
    log.wait_out("ready: ");
    let kept = KeptConnection::open(stack);
    let numbers: Vec<_> = (0..LAST_REQUESTS).map(|_| kept.ask()).collect();
    stack.bed.kubectl(&["delete", "pod", "--namespace", AGENT, "--wait=false", agent.name()]);
    let said = log.wait_within(POD_PATIENCE).well().stdout;
    for number in numbers {
        for service in ["productpage", "details", "reviews"] {
            stack.spans.request(Kind::Server, &format!("/{service}/{number}"));
        }
    }
    let ledgers = Ledger::read(said.lines()).expect("a ledger");
    let ledger = ledgers.last().unwrap_or_else(|| panic!("it says nothing of what it lost:\n{said}"));
    ledger.balances();
    let sent = &ledger.spans["otlp"];
    let at_least = i64::try_from(LAST_REQUESTS).expect("few");
    assert!(sent.delivered > at_least && sent.dropped == 0 && sent.in_flight == 0, "{sent:?}");
    assert_eq!(ledger.records.in_flight, 0, "{:?}", ledger.records);
    stack.agent();
}

fn rolled_out(stack: &Stack) {
    let before = stack.agent();
    let page = stack.page();
    let is_over = AtomicBool::new(false);
    let numbers = thread::scope(|scope| {
        // Every answer must be one.
        let new = scope.spawn(|| {
            let mut numbers = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                numbers.push(ask(page));
            }
            numbers
        });
        let on_one = scope.spawn(|| {
            let kept = KeptConnection::open(stack);
            let mut numbers = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                numbers.push(kept.ask());
            }
            numbers
        });
        // A change for which pods are replaced.
        let rolled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            stack.install_agent(&["restartOnChange=true", "config.kubernetes.cluster_name=rolled"]);
        }));
        is_over.store(true, Ordering::Relaxed);
        let numbers = [new, on_one].map(|thread| thread.join().expect("every request was answered")).concat();
        rolled.expect("it was rolled out");
        numbers
    });
    assert_ne!(stack.agent().uid(), before.uid());
    eprintln!("          {} requests meanwhile", numbers.len());
    for number in numbers {
        stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
    }
    let number = drive(stack);
    let span = stack.spans.request(Kind::Server, &format!("/productpage/{number}"));
    span.expect_resource([("k8s.cluster.name", wirespan_tests::span::is("rolled"))]);
}

/// The agent's process, by the node's own number.
pub(crate) fn process(pod: &Pod) -> Option<PathBuf> {
    fs::read_dir("/proc").expect("it is mounted").flatten().map(|entry| entry.path()).find(|process| {
        let is_agent = fs::read_link(process.join("exe")).is_ok_and(|program| program.ends_with("usr/bin/wirespan"));
        is_agent && fs::read_to_string(process.join("cgroup")).is_ok_and(|groups| groups.contains(pod.uid()))
    })
}

/// Whether a process holds links of kernel programs to where they are attached.
fn has_probes(process: &Path) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|file| file.to_string_lossy().starts_with("anon_inode:bpf_link"))
}

fn status(process: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(process.join("status")).expect("it runs");
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// A set of capabilities of a thread.
fn capabilities(status: &BTreeMap<String, String>, set: &str) -> u64 {
    u64::from_str_radix(&status[set], 16).expect("a set is written in hexadecimal digits")
}

fn mask(names: &[&str]) -> u64 {
    let bit = |name: &&str| {
        let known = CAPABILITIES.iter().find(|(known, _)| known == name);
        1 << known.unwrap_or_else(|| panic!("no capability {name}")).1
    };
    names.iter().map(bit).sum()
}
