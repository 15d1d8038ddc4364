//! Network namespaces with veth pairs between them, deleted on drop.
//!
//! The kernels of small virtual machines often lack `sch_netem`. Loss is made with nftables instead: a rule that drops
//! chosen arriving segments. What was sent after a dropped segment arrives ahead of its retransmission, so the same
//! rule makes reordering.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::agent::need_root;
use crate::child::{Ended, Program};
use crate::raw;
use crate::temp::TempDir;

/// A network namespace of its own, loopback up.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `label` helps a person to find it.
    #[must_use]
    #[track_caller]
    pub fn new(label: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        need_root();
        let name = format!("ws{}-{}-{label}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// Its file: what `nsenter --net=` takes.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// A program that runs in it.
    #[must_use]
    pub fn program(&self, program: &str) -> Program {
        Program::under(&["nsenter", &format!("--net={}", self.path()), "--"], program)
    }

    /// Runs `work` on a thread that has entered it. Sockets made there stay there.
    #[track_caller]
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let file = File::open(self.path()).unwrap_or_else(|error| panic!("{}: {error}", self.path()));
        let entered = move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("entering the namespace");
            work()
        };
        thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A listener in it.
    #[must_use]
    #[track_caller]
    pub fn listen(&self, address: SocketAddr) -> TcpListener {
        self.run(|| raw::bind(address)).unwrap_or_else(|error| panic!("listening on {address}: {error}"))
    }

    /// Runs `ip` in it.
    #[track_caller]
    pub fn ip(&self, args: &[&str]) {
        let mut all = vec!["-n", &self.name];
        all.extend(args);
        ip(&all);
    }

    /// Gives it an nftables chain: its hook (`type filter hook input priority 0`) and its rules.
    #[track_caller]
    pub fn nft(&self, hook: &str, rules: &[&str]) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let table = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let rules: String = rules.iter().map(|rule| format!("    {rule}\n")).collect();
        let temp = TempDir::new("nft");
        let file = temp.file("rules", format!("table ip {table} {{\n  chain c {{\n    {hook};\n{rules}  }}\n}}\n"));
        let _ = self.program("nft").arg("-f").arg(file).run().well();
    }

    /// Sets a value below `/proc/sys/net`.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/net/{key}");
        self.run(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
    }

    /// A counter of the kernel for this namespace, as `TcpExt/TCPFastOpenActive`.
    #[must_use]
    #[track_caller]
    pub fn counter(&self, name: &str) -> u64 {
        let text = self.run(|| {
            ["snmp", "netstat"]
                .map(|file| {
                    fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect("counters of the kernel")
                })
                .concat()
        });
        counters(&text).get(name).copied().unwrap_or_else(|| panic!("the kernel has no counter {name}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Program::new("ip").args(["netns", "del", &self.name]).run();
    }
}

/// Joins two namespaces by a veth pair; addresses with their prefix length (`10.9.0.1/24`). Gives the devices' names.
#[track_caller]
pub fn join(left: &Namespace, left_address: &str, right: &Namespace, right_address: &str) -> [String; 2] {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let (a, b) = (format!("v{number}a"), format!("v{number}b"));
    ip(&["link", "add", &a, "netns", &left.name, "type", "veth", "peer", "name", &b, "netns", &right.name]);
    for (namespace, device, address) in [(left, &a, left_address), (right, &b, right_address)] {
        let mut args = vec!["addr", "add", address, "dev", device];
        if address.contains(':') {
            args.push("nodad");
        }
        namespace.ip(&args);
        namespace.ip(&["link", "set", device, "up"]);
    }
    [a, b]
}

#[track_caller]
fn ip(args: &[&str]) {
    let _: Ended = Program::new("ip").args(args).run().well();
}

/// The tables of `/proc/net/snmp` and `/proc/net/netstat`: a line of names, then a line of numbers.
fn counters(text: &str) -> BTreeMap<String, u64> {
    let lines: Vec<&str> = text.lines().collect();
    let mut counters = BTreeMap::new();
    for pair in lines.chunks_exact(2) {
        let Some((table, names)) = pair[0].split_once(": ") else { continue };
        let numbers = pair[1].split_once(": ").map_or("", |(_, numbers)| numbers);
        for (name, number) in names.split(' ').zip(numbers.split(' ')) {
            counters.insert(format!("{table}/{name}"), number.parse().unwrap_or(0));
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read_by_name() {
        let read = counters("Tcp: A B\nTcp: -1 7\nTcpExt: C\nTcpExt: 9\n");
        assert_eq!((read["Tcp/B"], read["TcpExt/C"]), (7, 9));
    }
}
