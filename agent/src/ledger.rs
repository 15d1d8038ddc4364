//! The one ledger: `observed = delivered + dropped(stage, reason) + in flight`, for records and for the spans of each
//! output, exact at any time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident => $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[doc = $doc])* $variant,)+ }

        impl $name {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As it is printed and exported.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// What it is, in a sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),*).trim_ascii(),)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

labels! {
    /// Where something was dropped.
    Stage {
        /// In the kernel programs.
        Kernel => "kernel",
        /// Reading the ring buffers and merging them.
        Merge => "merge",
        /// Connections and streams.
        Flow => "flow",
        /// From exchanges to spans.
        Trace => "trace",
        /// Waiting to be sent.
        Queue => "queue",
        /// Sending.
        Export => "export",
    }
}

labels! {
    /// Why something was dropped.
    Reason {
        /// The ring buffer of its CPU was full.
        RingFull => "ring_full",
        /// It did not make sense.
        Malformed => "malformed",
        /// A table had no room.
        TableFull => "table_full",
        /// A queue had no room.
        QueueFull => "queue_full",
        /// It belongs to the agent itself.
        Own => "own",
        /// The user asked not to see it.
        Deselected => "deselected",
        /// Its connection's requests are left out while the machine has no time for them.
        Shed => "shed",
        /// The receiver said no, for good.
        Rejected => "rejected",
        /// The receiver could not be reached, or did not answer in time, for as long as we try.
        Unreachable => "unreachable",
        /// Larger than a request may be.
        TooLarge => "too_large",
        /// The agent ended before it could be sent.
        Shutdown => "shutdown",
        /// More than a person can follow: counted in a line of its own instead of shown.
        Summarised => "summarised",
        /// Whoever read the output has closed it.
        Closed => "closed",
    }
}

labels! {
    /// Things that are worth a count but lose nothing that was owed.
    Count {
        /// Connections evicted while they lived.
        EvictedConnections => "evicted_connections",
        /// Times that a stream's missing bytes were given up.
        Holes => "holes",
        /// Bytes of streams that were given up.
        HoleBytes => "hole_bytes",
        /// Messages that began with bytes of no known meaning.
        Garbage => "garbage",
        /// Heads that break the rules of their protocol.
        MalformedHeads => "malformed_heads",
        /// Heads longer than what is copied of them.
        TruncatedHeads => "truncated_heads",
        /// Streams in which reading went on at a later message.
        Resynchronised => "resynchronised",
        /// Requests given up because too many were open on their connection.
        TooManyOpen => "too_many_open",
        /// Records that came after later ones had been processed.
        LateRecords => "late_records",
        /// Payloads seen at a listening socket whose connection never showed up.
        OrphanSegments => "orphan_segments",
        /// Connections of no known protocol.
        UnknownProtocol => "unknown_protocol",
        /// Packets that the kernel programs could not read.
        BadPackets => "bad_packets",
        /// Sockets for which the kernel had no memory for our state.
        NoStorage => "no_storage",
        /// Requests and connections not joined because more than one client could be their other end.
        AmbiguousJoins => "ambiguous_joins",
        /// Requests that were no longer remembered when their server's end may still have come.
        EvictedJoins => "evicted_joins",
        /// Calls that were not linked, because it was not sure enough for whom they were made: a span link names who it may be.
        UnsureLinks => "unsure_links",
        /// Calls that were not linked, because two proofs named different requests.
        LinkContradictions => "link_contradictions",
        /// Requests and processes for whose calls no parent is looked for, because too many were open.
        EvictedLinks => "evicted_links",
        /// Calls that were not linked, because too many requests were open, too much was to be compared in that second, or the process
        /// had not made any before.
        UncomparedLinks => "uncompared_links",
        /// Spans that could not wait as long as they should for what their links depend on.
        HurriedLinks => "hurried_links",
        /// Processes forgotten while they lived.
        EvictedProcesses => "evicted_processes",
        /// Runs of a kernel program that the kernel left out, because the program was running on the same CPU already.
        MissedRuns => "missed_runs",
        /// Processes of Go programs whose goroutines can't be read.
        UnreadGoroutines => "unread_goroutines",
        /// Spans of processes in pods that were given away without the names of these, because they were not known in time.
        UnidentifiedSpans => "unidentified_spans",
        /// Spans of which it was not known in time who was at the other end.
        UnknownPeers => "unknown_peers",
        /// Payloads that could not be copied from their packets.
        CopyFailed => "copy_failed",
        /// Requests that were left out, each at each of its ends, because the machine had no time for them.
        ShedRequests => "shed_requests",
    }
}

const STAGES: usize = Stage::ALL.len();
const REASONS: usize = Reason::ALL.len();

/// The account of one kind of thing: records, or the spans of one output.
#[derive(Debug, Default)]
pub struct Account {
    observed: AtomicU64,
    delivered: AtomicU64,
    dropped: [[AtomicU64; REASONS]; STAGES],
}

impl Account {
    /// So many more exist.
    pub fn observe(&self, n: u64) {
        self.observed.fetch_add(n, Ordering::Relaxed);
    }

    /// So many reached their end as they should.
    pub fn deliver(&self, n: u64) {
        self.delivered.fetch_add(n, Ordering::Relaxed);
    }

    /// So many are lost.
    pub fn lose(&self, stage: Stage, reason: Reason, n: u64) {
        self.dropped[stage as usize][reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// How many ever existed.
    #[must_use]
    pub fn observed(&self) -> u64 {
        self.observed.load(Ordering::Relaxed)
    }

    /// How many reached their end.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    /// How many were lost at a stage for a reason.
    #[must_use]
    pub fn dropped(&self, stage: Stage, reason: Reason) -> u64 {
        self.dropped[stage as usize][reason as usize].load(Ordering::Relaxed)
    }

    /// How many were lost in all.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.losses().map(|(_, _, n)| n).sum()
    }

    /// Losses that happened, by stage and reason.
    pub fn losses(&self) -> impl Iterator<Item = (Stage, Reason, u64)> + '_ {
        Stage::ALL.iter().flat_map(move |&stage| {
            Reason::ALL
                .iter()
                .map(move |&reason| (stage, reason, self.dropped(stage, reason)))
                .filter(|loss| loss.2 > 0)
        })
    }

    /// How many are still under way. Negative would mean that something was counted twice.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.observed().cast_signed() - self.delivered().cast_signed() - self.lost().cast_signed()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "observed {} = delivered {} + dropped {} + in flight {}",
            self.observed(),
            self.delivered(),
            self.lost(),
            self.in_flight()
        )?;
        self.losses().try_for_each(|(stage, reason, n)| write!(f, "\n    dropped at {stage}, {reason}: {n}"))
    }
}

/// All accounts of the agent. Shared by reference: every number is atomic.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Records of the kernel plane.
    pub records: Account,
    /// Spans printed.
    pub console: Account,
    /// Spans sent to the OTLP receiver.
    pub otlp: Account,
    counts: [AtomicU64; Count::ALL.len()],
}

impl Ledger {
    /// One more of these.
    pub fn count(&self, count: Count) {
        self.add(count, 1);
    }

    /// So many more of these.
    pub fn add(&self, count: Count, n: u64) {
        self.counts[count as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// The kernel keeps this one: take over its value.
    pub fn set(&self, count: Count, value: u64) {
        self.counts[count as usize].store(value, Ordering::Relaxed);
    }

    /// How many of these there were.
    #[must_use]
    pub fn counted(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ledger: records: {}", self.records)?;
        for (name, account) in [("console", &self.console), ("otlp", &self.otlp)] {
            if account.observed() > 0 {
                writeln!(f, "ledger: spans to {name}: {account}")?;
            }
        }
        for &count in Count::ALL {
            let n = self.counted(count);
            if n > 0 {
                writeln!(f, "ledger: {count}: {n}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_observed_is_delivered_dropped_or_in_flight() {
        let account = Account::default();
        account.observe(10);
        account.deliver(6);
        account.lose(Stage::Queue, Reason::QueueFull, 3);
        assert_eq!(account.in_flight(), 1);
        assert_eq!(account.losses().collect::<Vec<_>>(), [(Stage::Queue, Reason::QueueFull, 3)]);
    }

    #[test]
    fn a_ledger_prints_only_what_happened() {
        let ledger = Ledger::default();
        ledger.records.observe(2);
        ledger.records.deliver(2);
        ledger.count(Count::Garbage);
        assert_eq!(
            ledger.to_string(),
            "ledger: records: observed 2 = delivered 2 + dropped 0 + in flight 0\nledger: garbage: 1\n"
        );
    }
}
