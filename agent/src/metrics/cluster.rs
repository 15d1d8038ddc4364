//! What asking a cluster costs, and what is kept of it.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;

use super::write::{counter, counters, gauge};
use crate::k8s::tally::{Ending, Kind, Tally};

/// What was asked, read once.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// By kind and result; those that happened.
    pub(super) requests: Vec<(Kind, Ending, u64)>,
    /// By kind.
    pub(super) bytes: Vec<(Kind, u64)>,
    /// By kind.
    pub(super) watches: Vec<(Kind, u64)>,
    pub(super) asks_dropped: u64,
    pub(super) pods: u64,
    pub(super) owners: u64,
}

impl Asked {
    pub(super) fn of(tally: &Tally) -> Self {
        let results = Kind::ALL.iter().flat_map(|&kind| Ending::ALL.iter().map(move |&ending| (kind, ending)));
        let requests = results.map(|(kind, ending)| (kind, ending, tally.requests(kind, ending)));
        let watches = Kind::ALL.iter().map(|&kind| (kind, tally.watches(kind)));
        Self {
            requests: requests.filter(|(.., n)| *n > 0).collect(),
            bytes: Kind::ALL.iter().map(|&kind| (kind, tally.bytes(kind))).collect(),
            watches: watches.filter(|(_, n)| *n > 0).collect(),
            asks_dropped: tally.asks_dropped(),
            pods: tally.pods(),
            owners: tally.owners(),
        }
    }

    pub(super) fn encode(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let requests =
            self.requests.iter().map(|(kind, ending, n)| ([("kind", kind.label()), ("result", ending.label())], *n));
        let help = "Requests to the API server that ended, watches included.";
        counters(out, "wirespan_kubernetes_requests", help, None, requests)?;
        let bytes = self.bytes.iter().map(|(kind, n)| ([("kind", kind.label())], *n));
        let help = "What was read of its answers.";
        counters(out, "wirespan_kubernetes_read", help, Some(&Unit::Bytes), bytes)?;
        let watches = self.watches.iter().map(|(kind, n)| ([("kind", kind.label())], *n));
        let help = "Watches begun: each lives for minutes.";
        counters(out, "wirespan_kubernetes_watches", help, None, watches)?;
        let help = "Addresses that were not looked up, because too many waited.";
        counter(out, "wirespan_kubernetes_lookups_dropped", help, None, &self.asks_dropped)?;
        gauge(out, "wirespan_kubernetes_pods", "Pods of this node that are remembered.", None, &self.pods)?;
        gauge(out, "wirespan_kubernetes_owners", "Owners of pods that are remembered.", None, &self.owners)
    }
}
