//! Sockets that were there before us, in every network namespace that some process lives in, with their owners.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use wirespan_common::record::Endpoint;

use super::diag::{self, Entry};
use super::scan;
use crate::flow::fact::{Listener, Socket};

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Sockets that listen, by namespace.
    pub listeners: Vec<Listener>,
    /// Connections, by namespace.
    pub sockets: Vec<Socket>,
    /// Namespaces that could not be looked into, and why.
    pub unseen: Vec<(u32, io::Error)>,
}

/// Lists listening and established TCP sockets of the whole machine.
///
/// Needs the right to enter network namespaces (CAP_SYS_ADMIN) for those that are not our own, and to look at other
/// users' files (CAP_SYS_PTRACE) to know owners.
///
/// # Errors
///
/// If `/proc` can't be read at all.
pub fn find() -> io::Result<Found> {
    let ids = scan::ids()?;
    let namespaces = namespaces(&ids);
    let own = fs::metadata("/proc/thread-self/ns/net").map_or(0, |status| namespace_number(&status));
    let mut found = Found::default();
    let mut listed = Vec::new();
    for (number, namespace) in namespaces {
        let entries = if number == own { diag::tcp_sockets() } else { list_in(&namespace) };
        match entries {
            Ok(entries) => listed.push((number, entries)),
            Err(error) => found.unseen.push((number, error)),
        }
    }
    let owners = Owners::of(&listed, &ids);
    for (number, entries) in &listed {
        found.add(*number, entries, &owners);
    }
    Ok(found)
}

impl Found {
    fn add(&mut self, netns: u32, entries: &[Entry], owners: &Owners) {
        let ports = Ports::listened_on(entries);
        for entry in entries {
            let (local, tgid) = (entry.local, owners.of_inode(entry.inode));
            if entry.listens {
                self.listeners.push(Listener { local, netns, tgid });
            } else if entry.inode != 0 {
                // Without an inode no process has it any more: the kernel only finishes it.
                let accepted = ports.tell(&local, &entry.remote);
                self.sockets.push(Socket { cookie: entry.cookie, local, remote: entry.remote, netns, accepted, tgid });
            }
        }
    }
}

/// Every network namespace that some process lives in, by its number, held open.
fn namespaces(ids: &[u32]) -> BTreeMap<u32, File> {
    let mut namespaces = BTreeMap::new();
    for id in ids {
        let path = format!("/proc/{id}/ns/net");
        let Ok(status) = fs::metadata(&path) else { continue };
        let number = namespace_number(&status);
        if !namespaces.contains_key(&number)
            && let Ok(file) = File::open(&path)
            // The process may be gone and its number used again since: what was opened counts.
            && let Ok(status) = file.metadata()
        {
            namespaces.insert(namespace_number(&status), file);
        }
    }
    namespaces
}

/// Namespace numbers are 32 bits wide in the kernel.
fn namespace_number(status: &fs::Metadata) -> u32 {
    u32::try_from(status.ino()).unwrap_or(0)
}

/// Lists the sockets of another namespace, from a thread that enters it and ends there.
fn list_in(namespace: &File) -> io::Result<Vec<Entry>> {
    thread::scope(|scope| {
        let visitor = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            diag::tcp_sockets()
        })?;
        visitor.join().unwrap_or_else(|_| Err(io::Error::other("looking into the namespace failed")))
    })
}

/// Which process holds which socket. Of several, the one with the lowest id: a master rather than its workers.
struct Owners(HashMap<u64, u32>);

impl Owners {
    fn of(listed: &[(u32, Vec<Entry>)], ids: &[u32]) -> Self {
        let wanted: HashSet<u64> =
            listed.iter().flat_map(|(_, entries)| entries.iter().map(|entry| entry.inode)).collect();
        let mut owners = HashMap::with_capacity(wanted.len());
        for &id in ids {
            // Gone, or not ours to look at.
            let Ok(files) = fs::read_dir(format!("/proc/{id}/fd")) else { continue };
            for file in files.flatten() {
                let Some(inode) = fs::read_link(file.path()).ok().and_then(|target| socket_inode(target.to_str()?))
                else {
                    continue;
                };
                if wanted.contains(&inode) {
                    owners.entry(inode).or_insert(id);
                }
            }
        }
        Self(owners)
    }

    fn of_inode(&self, inode: u64) -> u32 {
        self.0.get(&inode).copied().unwrap_or(0)
    }
}

/// `socket:[12345]`
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The addresses of one namespace on which connections are accepted.
#[derive(Default)]
struct Ports {
    exact: HashSet<Endpoint>,
    any_v4: HashSet<u16>,
    any_v6: HashSet<u16>,
}

impl Ports {
    fn listened_on(entries: &[Entry]) -> Self {
        let mut ports = Self::default();
        for Entry { local, v6_only, .. } in entries.iter().filter(|entry| entry.listens) {
            let address = std::net::Ipv6Addr::from(local.addr);
            if address.is_unspecified() {
                ports.any_v6.insert(local.port);
                if !v6_only {
                    ports.any_v4.insert(local.port);
                }
            } else if address.to_ipv4_mapped().is_some_and(|v4| v4.is_unspecified()) {
                ports.any_v4.insert(local.port);
            } else {
                ports.exact.insert(*local);
            }
        }
        ports
    }

    /// Whether the end `local` accepted the connection, if that can be told.
    fn tell(&self, local: &Endpoint, remote: &Endpoint) -> Option<bool> {
        if self.accept(local) { Some(true) } else { self.accept(remote).then_some(false) }
    }

    fn accept(&self, local: &Endpoint) -> bool {
        let is_v4 = std::net::Ipv6Addr::from(local.addr).to_ipv4_mapped().is_some();
        let any = if is_v4 { &self.any_v4 } else { &self.any_v6 };
        any.contains(&local.port) || self.exact.contains(local)
    }
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
