//! Which processes listen on which ports: a connection that comes in is theirs until somebody is seen to use it.

use std::collections::hash_map::Entry;

use foldhash::HashMap;

/// Listening ports remembered. A host rarely has more than hundreds; about 32 bytes each.
const MAX_LISTENERS: usize = 16_384;

/// Listening sockets, by network namespace and port.
#[derive(Debug, Default)]
pub(super) struct Listeners(HashMap<(u32, u16), Listening>);

/// Sockets that listen on one port.
#[derive(Debug)]
struct Listening {
    sockets: u32,
    tgid: u32,
}

impl Listeners {
    /// A socket of this process listens from now on; 0 where it is not known whose it is.
    pub(super) fn listens(&mut self, netns: u32, port: u16, tgid: u32) {
        let full = self.0.len() >= MAX_LISTENERS;
        match self.0.entry((netns, port)) {
            Entry::Occupied(mut entry) => {
                let listening = entry.get_mut();
                listening.sockets = listening.sockets.saturating_add(1);
                if tgid != 0 {
                    listening.tgid = tgid;
                }
            }
            Entry::Vacant(entry) => {
                if !full {
                    entry.insert(Listening { sockets: 1, tgid });
                }
            }
        }
    }

    /// One of the sockets does not any more.
    pub(super) fn listens_no_more(&mut self, netns: u32, port: u16) {
        if let Entry::Occupied(mut entry) = self.0.entry((netns, port)) {
            entry.get_mut().sockets -= 1;
            if entry.get().sockets == 0 {
                entry.remove();
            }
        }
    }

    /// The process that listens there.
    pub(super) fn who(&self, netns: u32, port: u16) -> Option<u32> {
        self.0.get(&(netns, port)).map(|listening| listening.tgid)
    }
}
