//! Totals of connections per process and role, for those who want numbers instead of a span each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::connection::Reported;
use super::failure;
use super::span::Resource;
use crate::flow::{Ending, Facts, Role};

/// Totals since the agent started.
#[derive(Debug, Default)]
pub struct Totals {
    by_process: BTreeMap<(u32, Option<bool>), Total>,
}

/// The connections of one process in one role.
#[derive(Clone, Debug, PartialEq)]
pub struct Total {
    /// The process; that of nobody in particular for those that had no room of their own.
    pub resource: Arc<Resource>,
    /// Which end it was; `None` where that is not known.
    pub role: Option<Role>,
    /// Connections that began, or were first seen.
    pub opened: u64,
    /// Those that ended.
    pub closed: u64,
    /// Those that were refused, timed out or were reset: a part of `closed`.
    pub failed: u64,
    /// Payload sent, bytes.
    pub sent: u64,
    /// Payload received, bytes.
    pub received: u64,
    /// TCP segments retransmitted.
    pub retransmits: u64,
}

/// Pairs of process and role that have totals of their own, about 200 bytes each; the rest is counted together.
const MAX_TOTALS: usize = 4096;
/// Stands for all processes that have no totals of their own.
const THE_REST: u32 = 0;

impl Totals {
    /// A connection began.
    pub fn opened(&mut self, tgid: u32, role: Option<Role>, resource: &Arc<Resource>) {
        self.of(tgid, role, resource).opened += 1;
    }

    /// More was sent and received than what had been counted `before`.
    pub fn moved(&mut self, tgid: u32, role: Option<Role>, resource: &Arc<Resource>, facts: &Facts, before: Reported) {
        let total = self.of(tgid, role, resource);
        total.sent = total.sent.saturating_add(facts.sent.saturating_sub(before.sent));
        total.received = total.received.saturating_add(facts.received.saturating_sub(before.received));
        total.retransmits += u64::from(facts.retransmits.saturating_sub(before.retransmits));
    }

    /// A connection of which so much was counted turned out to be another one's.
    pub fn taken_back(&mut self, tgid: u32, role: Option<Role>, counted: Reported) {
        let key = (tgid, is_server(role));
        let key = if self.by_process.contains_key(&key) { key } else { (THE_REST, key.1) };
        let Some(total) = self.by_process.get_mut(&key) else { return };
        total.opened = total.opened.saturating_sub(1);
        total.sent = total.sent.saturating_sub(counted.sent);
        total.received = total.received.saturating_sub(counted.received);
        total.retransmits = total.retransmits.saturating_sub(u64::from(counted.retransmits));
        if (total.opened, total.closed) == (0, 0) {
            self.by_process.remove(&key);
        }
    }

    /// A connection of which so much was counted for another one is of this process.
    pub fn taken_over(&mut self, tgid: u32, role: Option<Role>, resource: &Arc<Resource>, counted: Reported) {
        let total = self.of(tgid, role, resource);
        total.opened += 1;
        total.sent = total.sent.saturating_add(counted.sent);
        total.received = total.received.saturating_add(counted.received);
        total.retransmits += u64::from(counted.retransmits);
    }

    /// A connection ended.
    pub fn ended(&mut self, tgid: u32, role: Option<Role>, resource: &Arc<Resource>, ending: Ending) {
        let total = self.of(tgid, role, resource);
        total.closed += 1;
        total.failed += u64::from(failure::of_connection(ending).is_some());
    }

    /// All of them, in order of process id.
    pub fn iter(&self) -> impl Iterator<Item = &Total> {
        self.by_process.values()
    }

    fn of(&mut self, tgid: u32, role: Option<Role>, resource: &Arc<Resource>) -> &mut Total {
        let key = (tgid, is_server(role));
        let has_room = self.by_process.len() < MAX_TOTALS || self.by_process.contains_key(&key);
        let (key, resource) = match has_room {
            true => (key, Arc::clone(resource)),
            false => ((THE_REST, key.1), Arc::default()),
        };
        self.by_process.entry(key).or_insert_with(|| Total {
            resource,
            role,
            opened: 0,
            closed: 0,
            failed: 0,
            sent: 0,
            received: 0,
            retransmits: 0,
        })
    }
}

fn is_server(role: Option<Role>) -> Option<bool> {
    role.map(|role| role == Role::Server)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fixture;

    #[test]
    fn processes_without_room_of_their_own_have_no_name() {
        let mut totals = Totals::default();
        let named = Arc::new(Resource { service: "one".to_owned(), ..Resource::default() });
        (1..=5_000).for_each(|tgid| totals.opened(tgid, Some(Role::Server), &named));
        let rest: Vec<_> = totals.iter().filter(|total| *total.resource != *named).collect();
        assert_eq!(rest.iter().map(|total| total.opened).collect::<Vec<_>>(), [5_000 - MAX_TOTALS as u64]);
    }

    #[test]
    fn connections_are_summed_up_per_process_and_role() {
        let mut totals = Totals::default();
        let resource = Arc::new(Resource::default());
        let facts = Facts { sent: 30, received: 5, retransmits: 2, ..fixture::facts(Role::Client) };
        totals.opened(7, Some(Role::Client), &resource);
        totals.moved(7, Some(Role::Client), &resource, &facts, Reported::default());
        totals.moved(7, Some(Role::Client), &resource, &facts, Reported::now(&facts));
        totals.ended(7, Some(Role::Client), &resource, Ending::ResetByRemote);
        totals.opened(7, Some(Role::Server), &resource);
        let all: Vec<_> = totals.iter().collect();
        assert_eq!(all.len(), 2);
        let client = all[0];
        assert_eq!((client.role, client.opened, client.closed, client.failed), (Some(Role::Client), 1, 1, 1));
        assert_eq!((client.sent, client.received, client.retransmits), (30, 5, 2));
        assert_eq!((all[1].opened, all[1].closed), (1, 0));
    }

    #[test]
    fn a_connection_goes_with_the_process_that_uses_it() {
        let mut totals = Totals::default();
        let resource = Arc::new(Resource::default());
        let server = Some(Role::Server);
        let counted = Reported { sent: 30, received: 5, retransmits: 2 };
        let facts = Facts { sent: 30, received: 5, retransmits: 2, ..fixture::facts(Role::Server) };
        totals.opened(7, server, &resource);
        totals.opened(7, server, &resource);
        totals.moved(7, server, &resource, &facts, Reported::default());
        totals.taken_back(7, server, counted);
        totals.taken_over(8, server, &resource, counted);
        let all: Vec<_> =
            totals.iter().map(|total| (total.opened, total.sent, total.received, total.retransmits)).collect();
        assert_eq!(all, [(1, 0, 0, 0), (1, 30, 5, 2)]);
        totals.taken_back(7, server, Reported::default());
        assert_eq!(totals.iter().count(), 1, "who has nothing left is not listed");
    }

    #[test]
    fn what_has_no_room_is_counted_together() {
        let mut totals = Totals::default();
        let resource = Arc::new(Resource::default());
        for tgid in 1..=MAX_TOTALS as u32 + 10 {
            totals.opened(tgid, None, &resource);
        }
        assert_eq!(totals.iter().count(), MAX_TOTALS + 1);
        assert_eq!(totals.iter().next().map(|total| total.opened), Some(10));
    }
}
