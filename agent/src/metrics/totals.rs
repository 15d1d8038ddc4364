//! Totals of connections as counters: per service and role, so that processes that come and go make no new series; of a
//! bounded number; and never going back.

use std::collections::BTreeMap;

use crate::flow::Role;
use crate::redact;
use crate::trace::connection_totals::Total;

/// Pairs of service and role that have series of their own; what comes later is counted together. Six series each, about
/// 600 bytes of a page together.
const MAX_PAIRS: usize = 512;
/// More of a service's name is not shown, bytes: a process calls itself what it likes.
const MAX_NAME_BYTES: usize = 128;
/// Stands for all services that have no series of their own. None is called so: one without a name is `unknown_service`.
pub(super) const OTHER_SERVICES: &str = "";

/// What is counted of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) failed: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) retransmits: u64,
}

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Published(BTreeMap<(String, &'static str), Counters>);

impl Published {
    /// Takes over the core's totals.
    ///
    /// These may shrink: a connection is counted for another process once it is known who uses it. A counter that goes
    /// back would be taken for one that began anew, and all of it counted again; so each stays where it was until it is
    /// passed.
    pub(super) fn update(&mut self, totals: &[Total]) {
        let mut sums: BTreeMap<(String, &'static str), Counters> = BTreeMap::new();
        for total in totals {
            let role = role_name(total.role);
            let mut key = (redact::cut(&total.resource.service, MAX_NAME_BYTES).to_owned(), role);
            if !self.0.contains_key(&key) {
                if self.0.len() < MAX_PAIRS {
                    self.0.insert(key.clone(), Counters::default());
                } else {
                    key.0 = OTHER_SERVICES.to_owned();
                }
            }
            sums.entry(key).or_default().add(total);
        }
        for (key, sum) in sums {
            self.0.entry(key).or_default().raise(&sum);
        }
    }

    /// All of them, as service, role and counters.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'static str, &Counters)> {
        self.0.iter().map(|((service, role), counters)| (service.as_str(), *role, counters))
    }
}

impl Counters {
    fn add(&mut self, total: &Total) {
        let Total { resource: _, role: _, opened, closed, failed, sent, received, retransmits } = *total;
        let more = Self { opened, closed, failed, sent, received, retransmits };
        *self = self.with(&more, u64::saturating_add);
    }

    fn raise(&mut self, to: &Self) {
        *self = self.with(to, u64::max);
    }

    fn with(&self, other: &Self, join: fn(u64, u64) -> u64) -> Self {
        Self {
            opened: join(self.opened, other.opened),
            closed: join(self.closed, other.closed),
            failed: join(self.failed, other.failed),
            sent: join(self.sent, other.sent),
            received: join(self.received, other.received),
            retransmits: join(self.retransmits, other.retransmits),
        }
    }
}

const fn role_name(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Client) => "client",
        Some(Role::Server) => "server",
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::trace::span::Resource;

    fn total(service: &str, role: Option<Role>, opened: u64) -> Total {
        let resource = Arc::new(Resource { service: service.to_owned(), ..Resource::default() });
        Total { resource, role, opened, closed: 1, failed: 0, sent: 10, received: 20, retransmits: 0 }
    }

    fn opened(published: &Published) -> Vec<(&str, &str, u64)> {
        published.iter().map(|(service, role, counters)| (service, role, counters.opened)).collect()
    }

    #[test]
    fn processes_of_one_service_are_one_series() {
        let mut published = Published::default();
        let server = Some(Role::Server);
        published.update(&[total("nginx", server, 2), total("nginx", server, 3), total("nginx", None, 1)]);
        assert_eq!(opened(&published), [("nginx", "server", 5), ("nginx", "unknown", 1)]);
        let nginx = published.iter().next().map(|(_, _, counters)| *counters);
        let sum = Counters { opened: 5, closed: 2, failed: 0, sent: 20, received: 40, retransmits: 0 };
        assert_eq!(nginx, Some(sum));
    }

    #[test]
    fn a_counter_never_goes_back() {
        let mut published = Published::default();
        for (seen, said) in [(5, 5), (4, 5), (7, 7)] {
            published.update(&[total("nginx", None, seen)]);
            assert_eq!(opened(&published), [("nginx", "unknown", said)]);
        }
        published.update(&[]);
        assert_eq!(opened(&published), [("nginx", "unknown", 7)]);
    }

    #[test]
    fn who_comes_when_there_is_no_room_is_counted_together() {
        let mut published = Published::default();
        let all: Vec<_> = (0..MAX_PAIRS + 10).map(|n| total(&format!("service-{n}"), None, 1)).collect();
        published.update(&all);
        published.update(&all);
        assert_eq!(published.iter().count(), MAX_PAIRS + 1);
        assert_eq!(opened(&published)[0], (OTHER_SERVICES, "unknown", 10));
    }
}
