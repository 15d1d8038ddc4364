//! What the cluster changes on the machine beside its own folders, and how it is put back.
//!
//! What was there before is written down once, before the first change, and read by `down`, which may be another process on
//! another day.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::place::{NODE_ADDRESS, NODE_BRIDGE, POD_BRIDGE, Place};
use crate::command::{command, output, run, succeeds};

/// Settings of the kernel that the kubelet, kube-proxy and the CNI plugins change, or that we do.
const SETTINGS: &[&str] = &[
    "net.ipv4.ip_forward",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.ipv4.conf.all.route_localnet",
    "net.ipv6.conf.all.forwarding",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
];

/// What the cluster needs of them. The bridge's packets must pass the rules that stand for Services.
const NEEDED: &[(&str, &str)] = &[("net.ipv4.ip_forward", "1"), ("net.bridge.bridge-nf-call-iptables", "1")];

/// How rules of kube-proxy and of the CNI plugins begin.
const CHAINS: &[&str] = &["KUBE-", "CNI-"];

/// Tables that `iptables` makes in nftables, where they stay when they are empty.
const TABLES: &[&str] = &["filter", "nat", "mangle", "raw", "security"];

/// Network namespaces of pods, as the container runtime names them.
const NAMESPACES: &str = "/run/netns";

/// Writes down what is there, unless it was written down before, and prepares the host.
pub(crate) fn prepare(place: &Place) -> Result<()> {
    let file = before_file(place);
    if !file.is_file() {
        if let Some(chain) = iptables_chains("iptables")?.into_iter().next() {
            bail!("this machine has the chain {chain} of another Kubernetes: stop that one first");
        }
        let before = json!({
            "settings": SETTINGS.iter().filter_map(|name| Some((*name, setting(name)?))).collect::<BTreeMap<_, _>>(),
            "tables": nft_tables()?,
            "namespaces": namespaces(),
        });
        fs::write(&file, before.to_string()).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    for (name, value) in NEEDED {
        // A kernel without bridge netfilter has no such setting, and sends the packets through the rules anyway.
        if setting(name).is_some() {
            set(name, value)?;
        }
    }
    if !Path::new("/sys/class/net").join(NODE_BRIDGE).exists() {
        run(command("ip").args(["link", "add", NODE_BRIDGE, "type", "bridge"]))?;
    }
    run(command("ip").args(["address", "replace", &format!("{NODE_ADDRESS}/24"), "dev", NODE_BRIDGE]))?;
    run(command("ip").args(["link", "set", NODE_BRIDGE, "up"]))
}

/// Puts back what [`prepare`] found, when no daemon of the cluster runs any more.
pub(crate) fn restore(place: &Place) -> Result<()> {
    unmount(place)?;
    for bridge in [POD_BRIDGE, NODE_BRIDGE] {
        if Path::new("/sys/class/net").join(bridge).exists() {
            run(command("ip").args(["link", "delete", bridge]))?;
        }
    }
    remove_cgroups();
    let Ok(text) = fs::read_to_string(before_file(place)) else { return Ok(()) };
    let before: Value = serde_json::from_str(&text).context("what was there before the cluster cannot be read")?;
    for program in ["iptables", "ip6tables"] {
        remove_chains(program)?;
    }
    let were = strings(&before["tables"]);
    for table in nft_tables()?.difference(&were) {
        remove_if_empty(table)?;
    }
    for name in namespaces().difference(&strings(&before["namespaces"])) {
        let path = Path::new(NAMESPACES).join(name);
        succeeds(command("umount").arg("--lazy").arg(&path));
        // It may be gone with its pod.
        let _ = fs::remove_file(path);
    }
    for (name, value) in before["settings"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if setting(name).is_some_and(|now| now != value) {
            set(name, value)?;
        }
    }
    Ok(())
}

fn before_file(place: &Place) -> PathBuf {
    place.run.join("before.json")
}

fn setting_file(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

fn setting(name: &str) -> Option<String> {
    fs::read_to_string(setting_file(name)).ok().map(|text| text.trim().to_owned())
}

fn set(name: &str, value: &str) -> Result<()> {
    fs::write(setting_file(name), value).with_context(|| format!("{name} cannot be set to {value}"))
}

/// Everything that is mounted below the cluster's folder, the innermost first.
fn unmount(place: &Place) -> Result<()> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let below = format!("{}/", place.run.display());
    let mut points: Vec<_> = text.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    points.retain(|point| point.starts_with(&below));
    points.sort_unstable();
    for point in points.iter().rev() {
        run(command("umount").args(["--lazy", point]))?;
    }
    Ok(())
}

/// The kubelet leaves its groups, in each hierarchy.
fn remove_cgroups() {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        remove_cgroup(&hierarchy.path().join("kubepods"));
    }
    // Where there is only one.
    remove_cgroup(Path::new("/sys/fs/cgroup/kubepods"));
}

fn remove_cgroup(group: &Path) {
    let below = fs::read_dir(group).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_cgroup(&entry.path());
    }
    // One that is not empty is somebody else's.
    let _ = fs::remove_dir(group);
}

fn namespaces() -> BTreeSet<String> {
    let entries = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("cni-")).collect()
}

fn strings(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Tables of nftables that have the name of one of `iptables`, as `family name`.
fn nft_tables() -> Result<BTreeSet<String>> {
    let list = output(command("nft").args(["list", "tables"]))?;
    let tables = list.lines().filter_map(|line| line.strip_prefix("table "));
    let of_iptables = |table: &&str| {
        table
            .split_once(' ')
            .is_some_and(|(family, name)| ["ip", "ip6"].contains(&family) && TABLES.contains(&name.trim()))
    };
    Ok(tables.filter(of_iptables).map(|table| table.trim().to_owned()).collect())
}

/// A table in which chains are left, but no rule in any of them.
fn remove_if_empty(table: &str) -> Result<()> {
    let words: Vec<_> = table.split(' ').collect();
    if is_without_rules(&output(command("nft").args(["list", "table"]).args(&words))?) {
        run(command("nft").args(["delete", "table"]).args(&words))?;
    }
    Ok(())
}

/// Whether what nft lists of a table are chains and their heads alone.
fn is_without_rules(listing: &str) -> bool {
    let heads = ["table ", "chain ", "type ", "}"];
    listing.lines().map(str::trim).all(|line| line.is_empty() || heads.iter().any(|head| line.starts_with(head)))
}

/// Names of the cluster's chains in any table.
fn iptables_chains(program: &str) -> Result<BTreeSet<String>> {
    Ok(saved(program)?.lines().filter_map(|line| own_chain(line.strip_prefix(':')?)).map(str::to_owned).collect())
}

fn saved(program: &str) -> Result<String> {
    output(&mut command(format!("{program}-save")))
}

/// The name of the chain at the start of a line, if it is one of the cluster's.
fn own_chain(text: &str) -> Option<&str> {
    text.split_whitespace().next().filter(|name| CHAINS.iter().any(|begin| name.starts_with(begin)))
}

/// Removes the cluster's chains and the rules that lead to them.
fn remove_chains(program: &str) -> Result<()> {
    let removal = removal(&saved(program)?);
    if removal.is_empty() {
        return Ok(());
    }
    use std::io::Write;
    let mut restore = command(format!("{program}-restore"));
    let mut child = restore.arg("--noflush").stdin(std::process::Stdio::piped()).spawn()?;
    child.stdin.take().context("its input is piped")?.write_all(removal.as_bytes())?;
    if !child.wait()?.success() {
        bail!("{program}-restore did not remove the cluster's chains");
    }
    Ok(())
}

/// What removes the cluster's chains from rules that were saved, as input of `iptables-restore --noflush`.
fn removal(saved: &str) -> String {
    let mut removal = String::new();
    let (mut rules, mut chains) = (String::new(), Vec::new());
    for line in saved.lines() {
        if let Some(table) = line.strip_prefix('*') {
            removal.push_str(&format!("*{table}\n"));
        } else if let Some(chain) = line.strip_prefix(':').and_then(own_chain) {
            chains.push(chain.to_owned());
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let leads_to_own = rule.split(' ').any(|word| own_chain(word).is_some());
            if own_chain(rule).is_none() && leads_to_own {
                rules.push_str(&format!("-D {rule}\n"));
            }
        } else if line == "COMMIT" {
            removal.push_str(&rules);
            // All are emptied first: they lead to each other.
            for (letter, chain) in
                chains.iter().map(|chain| ('F', chain)).chain(chains.iter().map(|chain| ('X', chain)))
            {
                removal.push_str(&format!("-{letter} {chain}\n"));
            }
            removal.push_str("COMMIT\n");
            rules.clear();
            chains.clear();
        }
    }
    if removal.contains("\n-") { removal } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_chains_and_what_leads_to_them_are_removed() {
        let saved = "\
# Generated
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SEP-A - [0:0]
:MINE - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -j MINE
-A KUBE-SERVICES -j KUBE-SEP-A
COMMIT
";
        assert_eq!(
            removal(saved),
            "*nat\n-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n-F KUBE-SERVICES\n\
             -F KUBE-SEP-A\n-X KUBE-SERVICES\n-X KUBE-SEP-A\nCOMMIT\n"
        );
        assert_eq!(removal("*nat\n:MINE - [0:0]\n-A MINE -j ACCEPT\nCOMMIT\n"), "");
    }

    #[test]
    fn a_table_is_empty_if_no_chain_has_a_rule() {
        let empty = "table ip nat {\n\tchain PREROUTING {\n\t\ttype nat hook prerouting priority dstnat; policy accept;\n\t}\n}\n";
        assert!(is_without_rules(empty));
        assert!(!is_without_rules("table ip nat {\n\tchain X {\n\t\tcounter packets 0 bytes 0 accept\n\t}\n}\n"));
    }
}
