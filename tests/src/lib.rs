//! What the end-to-end tests share: the agent as a child, real servers, hand-written peers, namespaces, receivers.
//!
//! A test that cannot do what it should fails: there are no skips. A failed expectation is a panic that says what was
//! waited for and what was seen instead. Nothing here sleeps to wait for an effect; a deadline only bounds a failure.
#![allow(clippy::panic, reason = "this crate is a test harness: its failures are panics")]

pub mod agent;
pub mod api_server;
pub mod apps;
pub mod attributes;
pub mod cgroup;
pub mod child;
pub mod curl;
pub mod expect;
pub mod harmless;
pub mod kernel;
pub mod ledger;
pub mod names;
pub mod netns;
pub mod port;
pub mod raw;
pub mod receiver;
pub mod recording;
pub mod scrape;
pub mod servers;
pub mod span;
pub mod temp;
pub mod watch;

use std::time::Duration;

/// Debian packages that the tests need. `golang` is any Go of 1.19 or later on the `PATH`.
pub const PACKAGES: &[&str] = &[
    "apache2-bin",
    "bpftool",
    "curl",
    "golang-go",
    "iproute2",
    "nftables",
    "nginx",
    "nodejs",
    "openssl",
    "python3",
    "strace",
    "util-linux",
    "wrk",
];

/// How long something may take that should be there at once. It bounds a failure; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The promise: a request's spans are shown within this time.
pub const SPAN_DELAY: Duration = Duration::from_secs(2);
