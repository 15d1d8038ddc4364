use std::collections::BTreeMap;

use super::*;
use crate::k8s::tally::{Ending, Kind};

/// A page of an agent that has something to say about everything.
fn reading() -> Reading {
    let program = kernel::Program { runs: 30, run_ns: 4_500_000, missed: 2 };
    Reading {
        process: Process {
            cpu_seconds: 1.25,
            resident_bytes: 20_971_520,
            virtual_bytes: 209_715_200,
            max_descriptors: Some(1024),
            start_seconds: 1_700_000_000.5,
        },
        objects: Objects {
            map_bytes: BTreeMap::from([("ringbuf", 1_077_904), ("sk_storage", 480)]),
            programs: BTreeMap::from([("egress".to_owned(), program)]),
            takes_times: Some(true),
            descriptors: 45,
        },
        records: Sums { observed: 10, delivered: 6, losses: vec![(Stage::Kernel, Reason::RingFull, 3)] },
        spans: vec![Spans {
            output: "otlp",
            sums: Sums { observed: 9, delivered: 5, losses: vec![(Stage::Export, Reason::Unreachable, 2)] },
            waiting: 1,
            capacity: 32_768,
        }],
        counts: vec![(Count::HoleBytes, 77)],
        verdicts: vec![Verdict { probe: "senders", standing: Standing::Degraded, reason: "for a reason".to_owned() }],
        connections: Some(4),
        max_connections: 32_768,
        addresses: Some(6),
        cluster: Some(Asked {
            requests: vec![(Kind::Pods, Ending::Ok, 8), (Kind::Services, Ending::Denied, 1)],
            bytes: vec![(Kind::Pods, 9_000)],
            watches: vec![(Kind::Pods, 3)],
            asks_dropped: 2,
            pods: 30,
            owners: 12,
        }),
        totals: vec![(
            "shop \"one\"\\\n".to_owned(),
            "client",
            Counters { opened: 3, closed: 2, failed: 1, sent: 100, received: 200, retransmits: 5 },
        )],
    }
}

/// Name and labels of each sample, and its value.
fn samples(page: &str) -> BTreeMap<&str, &str> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' ')).collect()
}

#[test]
fn a_page_says_everything_once() {
    let page = reading().page().expect("a page");
    insta::assert_snapshot!(page);
}

#[test]
fn every_metric_has_help_a_type_and_a_conventional_name() {
    let page = reading().page().expect("a page");
    assert!(page.ends_with("# EOF\n"));
    let mut described = BTreeMap::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a type");
        assert!(page.contains(&format!("# HELP {name} ")), "{name} has no help");
        assert!(described.insert(name, kind).is_none(), "{name} is described twice");
    }
    for sample in samples(&page).into_keys() {
        let name = sample.split('{').next().unwrap_or_default();
        let (family, kind) = described
            .iter()
            .find(|(family, kind)| {
                let suffix = match **kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                name == format!("{family}{suffix}")
            })
            .unwrap_or_else(|| panic!("{sample} is not described"));
        assert!(family.starts_with("wirespan_") || family.starts_with("process_"), "{family}, a {kind}");
    }
}

#[test]
fn an_account_adds_up_on_the_page() {
    let page = reading().page().expect("a page");
    let samples = samples(&page);
    let value = |name: &str| samples[name].parse::<i64>().expect("a number");
    assert_eq!(
        value("wirespan_records_observed_total"),
        value("wirespan_records_delivered_total")
            + value(r#"wirespan_records_dropped_total{stage="kernel",reason="ring_full"}"#)
            + value("wirespan_records_in_flight")
    );
}

#[test]
fn what_a_process_calls_itself_stays_within_its_label() {
    let page = reading().page().expect("a page");
    let expect = r#"wirespan_tcp_connections_opened_total{service_name="shop \"one\"\\\n",role="client"} 3"#;
    assert!(page.lines().any(|line| line == expect), "{page}");
}

#[test]
fn what_is_not_known_is_left_out() {
    let page = Reading::default().page().expect("a page");
    for name in ["process_max_fds", "wirespan_bpf_stats_enabled", "wirespan_connections ", "wirespan_tcp_"] {
        assert!(!page.contains(name), "{name}\n{page}");
    }
    assert!(samples(&page).contains_key("wirespan_records_observed_total"));
}
