//! The page: every metric, its name, its help and where its value comes from.
//!
//! Names follow the Prometheus conventions: `wirespan_`, what is counted, its base unit, `_total` for what only grows.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::Mutex;

use super::Sources;
use super::cluster::Asked;
use super::desk::{Asker, CoreState};
use super::kernel::{self, Objects};
use super::own::{self, Process};
use super::totals::{Counters, Published};
use super::write::{counter, counters, gauge, gauges};
use crate::export::{Output, QueueGauge};
use crate::ledger::{Account, Count, Reason, Stage};
use crate::probe::verdict::{Standing, Verdict};

/// A page is handed out again for so long: whoever asks in a loop costs us ten pages a second, not more.
const FRESH: Duration = Duration::from_millis(100);

/// Makes pages, one at a time.
pub(super) struct Pages {
    sources: Sources,
    asker: Asker,
    last: Mutex<Last>,
}

/// What was known when the last page was made.
#[derive(Default)]
struct Last {
    page: Option<(Instant, Bytes)>,
    /// As the core said last: a core that is busy, or ends, leaves no hole in the page.
    core: Option<CoreState>,
    totals: Published,
}

impl Pages {
    pub(super) fn new(sources: Sources, asker: Asker) -> Self {
        Self { sources, asker, last: Mutex::default() }
    }

    /// The page of now.
    pub(super) async fn current(&self) -> Result<Bytes, fmt::Error> {
        let mut last = self.last.lock().await;
        if let Some((made, page)) = &last.page
            && made.elapsed() < FRESH
        {
            return Ok(page.clone());
        }
        if let Some(core) = self.asker.ask().await {
            last.totals.update(&core.totals);
            last.core = Some(core);
        }
        let reading = Reading {
            process: own::read(),
            objects: kernel::read(&self.sources.programs),
            records: Sums::of(&self.sources.ledger.records),
            spans: self.sources.queues.iter().map(|queue| self.spans_of(queue)).collect(),
            counts: Count::ALL.iter().map(|&count| (count, self.sources.ledger.counted(count))).collect(),
            verdicts: self.sources.verdicts.clone(),
            connections: last.core.as_ref().map(|core| core.connections),
            max_connections: self.sources.max_connections,
            addresses: last.core.as_ref().filter(|_| self.sources.kubernetes.is_some()).map(|core| core.addresses),
            cluster: self.sources.kubernetes.as_deref().map(Asked::of),
            totals: last.totals.iter().map(|(service, role, sum)| (service.to_owned(), role, *sum)).collect(),
        };
        let page = Bytes::from(reading.page()?);
        last.page = Some((Instant::now(), page.clone()));
        Ok(page)
    }

    fn spans_of(&self, queue: &QueueGauge) -> Spans {
        let ledger = &self.sources.ledger;
        let account = match queue.output {
            Output::Console => &ledger.console,
            Output::Otlp => &ledger.otlp,
        };
        let output = queue.output.label();
        Spans { output, sums: Sums::of(account), waiting: queue.spans(), capacity: queue.capacity }
    }
}

/// Everything that a page says.
#[derive(Clone, Debug, Default)]
struct Reading {
    process: Process,
    objects: Objects,
    records: Sums,
    /// By output.
    spans: Vec<Spans>,
    counts: Vec<(Count, u64)>,
    verdicts: Vec<Verdict>,
    connections: Option<usize>,
    max_connections: usize,
    /// Who has an address, if a cluster is asked for that.
    addresses: Option<usize>,
    cluster: Option<Asked>,
    /// By service and role.
    totals: Vec<(String, &'static str, Counters)>,
}

/// The spans of an output.
#[derive(Clone, Debug)]
struct Spans {
    output: &'static str,
    sums: Sums,
    /// Spans in its queue.
    waiting: usize,
    /// Spans that may be there.
    capacity: usize,
}

/// An account of the ledger, read once, so that what is shown of it adds up.
#[derive(Clone, Debug, Default)]
struct Sums {
    observed: u64,
    delivered: u64,
    losses: Vec<(Stage, Reason, u64)>,
}

impl Sums {
    fn of(account: &Account) -> Self {
        // What ends first: what is observed in between is in flight, and nothing ends before it was observed.
        let losses = account.losses().collect();
        let delivered = account.delivered();
        Self { losses, delivered, observed: account.observed() }
    }

    fn in_flight(&self) -> i64 {
        let ended = self.delivered + self.losses.iter().map(|loss| loss.2).sum::<u64>();
        self.observed.cast_signed() - ended.cast_signed()
    }
}

impl Reading {
    fn page(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut page = String::new();
        text::encode(&mut page, &registry)?;
        Ok(page)
    }

    fn process(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let process = &self.process;
        counter(out, "process_cpu", "User and system time of the agent.", Some(&Unit::Seconds), &process.cpu_seconds)?;
        gauge(
            out,
            "process_resident_memory",
            "Memory of the agent, without its maps.",
            Some(&Unit::Bytes),
            &process.resident_bytes,
        )?;
        gauge(out, "process_virtual_memory", "Addresses of the agent.", Some(&Unit::Bytes), &process.virtual_bytes)?;
        gauge(out, "process_start_time", "When it began, since 1970.", Some(&Unit::Seconds), &process.start_seconds)?;
        gauge(out, "process_open_fds", "Descriptors that it has.", None, &self.objects.descriptors)?;
        if let Some(most) = process.max_descriptors {
            gauge(out, "process_max_fds", "Descriptors that it may have.", None, &most)?;
        }
        let mut build = out.encode_descriptor("wirespan_build", "This program.", None, MetricType::Info)?;
        build.encode_info(&[("version", env!("CARGO_PKG_VERSION")), ("architecture", std::env::consts::ARCH)])
    }

    fn kernel(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Objects { map_bytes, programs, takes_times, descriptors: _ } = &self.objects;
        let bytes = map_bytes.iter().map(|(&kind, &bytes)| ([("type", kind)], bytes));
        let help = "Memory of the maps in the kernel, by their type; what is kept with sockets is not in it.";
        gauges(out, "wirespan_bpf_map_memory", help, Some(&Unit::Bytes), bytes)?;
        if let Some(takes_times) = takes_times {
            let help = "Whether the kernel takes run times (sysctl kernel.bpf_stats_enabled); without it runs stay 0.";
            gauge(out, "wirespan_bpf_stats_enabled", help, None, &u32::from(*takes_times))?;
        }
        let of = |what: fn(&kernel::Program) -> u64| {
            programs.iter().map(move |(name, program)| ([("program", name.as_str())], what(program)))
        };
        let help = "Runs of the kernel programs while run times were taken.";
        counters(out, "wirespan_bpf_program_runs", help, None, of(|program| program.runs))?;
        let times = programs.iter().map(|(name, program)| ([("program", name.as_str())], program.run_ns as f64 / 1e9));
        let help = "Time that the kernel programs took while run times were taken.";
        counters(out, "wirespan_bpf_program_run", help, Some(&Unit::Seconds), times)?;
        let help = "Runs that the kernel left out, because the program was running on that CPU already.";
        counters(out, "wirespan_bpf_program_missed_runs", help, None, of(|program| program.missed))?;
        let all = [Standing::Active, Standing::Degraded, Standing::Unsupported, Standing::Broken];
        let standings = self.verdicts.iter().flat_map(|verdict| {
            all.map(|standing| {
                let labels = [("probe", verdict.probe.to_owned()), ("standing", standing.to_string())];
                (labels, u32::from(verdict.standing == standing))
            })
        });
        gauges(out, "wirespan_probe_standing", "How well each probe works: 1 for how it does.", None, standings)
    }

    fn ledger(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let records = &self.records;
        counter(out, "wirespan_records_observed", "Records of the kernel programs.", None, &records.observed)?;
        counter(out, "wirespan_records_delivered", "Records that were made use of.", None, &records.delivered)?;
        let losses = records
            .losses
            .iter()
            .map(|&(stage, reason, n)| ([("stage", stage.label()), ("reason", reason.label())], n));
        counters(out, "wirespan_records_dropped", "Records that were not, by stage and reason.", None, losses)?;
        gauge(out, "wirespan_records_in_flight", "Records that are under way.", None, &records.in_flight())?;

        let of = || self.spans.iter().map(|spans| ([("output", spans.output)], spans));
        let observed = of().map(|(labels, spans)| (labels, spans.sums.observed));
        counters(out, "wirespan_spans_observed", "Spans made, by output.", None, observed)?;
        let delivered = of().map(|(labels, spans)| (labels, spans.sums.delivered));
        counters(out, "wirespan_spans_delivered", "Spans printed or taken by the receiver.", None, delivered)?;
        let losses = self.spans.iter().flat_map(|spans| {
            let labels = |stage: Stage, reason: Reason| {
                [("output", spans.output), ("stage", stage.label()), ("reason", reason.label())]
            };
            spans.sums.losses.iter().map(move |&(stage, reason, n)| (labels(stage, reason), n))
        });
        counters(out, "wirespan_spans_dropped", "Spans that were not, by output, stage and reason.", None, losses)?;
        let in_flight = of().map(|(labels, spans)| (labels, spans.sums.in_flight()));
        gauges(out, "wirespan_spans_in_flight", "Spans that wait or are being sent.", None, in_flight)?;
        let waiting = of().map(|(labels, spans)| (labels, spans.waiting));
        gauges(out, "wirespan_export_queue_spans", "Spans that wait in the queue of an output.", None, waiting)?;
        let capacity = of().map(|(labels, spans)| (labels, spans.capacity));
        gauges(out, "wirespan_export_queue_capacity_spans", "Spans that may wait there.", None, capacity)?;
        self.counts
            .iter()
            .try_for_each(|(count, n)| counter(out, &format!("wirespan_{}", count.label()), count.help(), None, n))
    }

    fn connections(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(connections) = self.connections {
            gauge(out, "wirespan_connections", "Connections that are being followed.", None, &connections)?;
        }
        if let Some(addresses) = self.addresses {
            let help = "Addresses of others that are remembered, or being asked for.";
            gauge(out, "wirespan_peer_addresses", help, None, &addresses)?;
        }
        let help = "Connections that are followed at most (--max-connections).";
        gauge(out, "wirespan_connections_limit", help, None, &self.max_connections)?;
        if self.totals.is_empty() {
            return Ok(());
        }
        let of = |what: fn(&Counters) -> u64| {
            let labels = |service, role| [("service_name", service), ("role", role)];
            self.totals.iter().map(move |(service, role, sum)| (labels(service.as_str(), *role), what(sum)))
        };
        let opened = of(|sum| sum.opened);
        counters(out, "wirespan_tcp_connections_opened", "Connections that began or were first seen.", None, opened)?;
        let closed = of(|sum| sum.closed);
        counters(out, "wirespan_tcp_connections_closed", "Connections that ended.", None, closed)?;
        let help = "Connections that were refused, timed out or were reset: a part of those closed.";
        counters(out, "wirespan_tcp_connections_failed", help, None, of(|sum| sum.failed))?;
        counters(out, "wirespan_tcp_sent", "Payload sent.", Some(&Unit::Bytes), of(|sum| sum.sent))?;
        counters(out, "wirespan_tcp_received", "Payload received.", Some(&Unit::Bytes), of(|sum| sum.received))?;
        let again = of(|sum| sum.retransmits);
        counters(out, "wirespan_tcp_retransmitted_segments", "Segments retransmitted.", None, again)
    }
}

impl Collector for Reading {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        self.process(&mut out)?;
        self.kernel(&mut out)?;
        self.ledger(&mut out)?;
        self.connections(&mut out)?;
        self.cluster.iter().try_for_each(|asked| asked.encode(&mut out))
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
