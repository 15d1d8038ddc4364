//! Records in, spans out: what joins flow, proto and trace.
//!
//! One record at a time: [`Pipeline`] reads it, `flow` finds its connection and calls the [`core`], which asks whether the
//! connection is traced (`admit`) and which protocol is spoken (`recognise`), and makes spans of what the parser says. `shed` leaves out
//! what the machine has no time for.
//! Who is at its ends, in a cluster, is `identity`'s business.
//! What a connection's ends are to each other is `relate`'s business, what the requests of a process are to each other
//! `family`'s, what is kept per connection is in `state`.

mod admit;
mod core;
mod family;
mod identity;
mod lost;
mod recognise;
mod relate;
mod report;
mod shed;
mod state;

use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use wirespan_common::mode::Order;
use wirespan_common::record::{Header, kind};
use zerocopy::FromBytes;

use self::core::Core;
use crate::config::Options;
use crate::flow::fact::Fact;
use crate::flow::record::{Record, decode};
use crate::flow::table::Flows;
use crate::flow::{Cookie, Nanos};
use crate::ledger::{Count, Ledger, Reason, Stage};
use crate::trace::connection_totals::Totals;
use crate::trace::span::Span;

/// All of the core: connections, parsers, processes, joins.
pub struct Pipeline {
    flows: Flows<Core>,
    core: Core,
    ledger: Arc<Ledger>,
    /// The latest time seen in a record.
    now: Nanos,
    /// Spans that were there before the record.
    before: usize,
}

/// What comes out of a [`Pipeline`]. The caller empties it.
#[derive(Debug, Default)]
pub struct Output {
    /// Spans that are over, in the order in which they ended.
    pub spans: Vec<Span>,
    /// How much the kernel should copy of which connection from now on.
    pub steering: Vec<(Cookie, Order)>,
    /// Addresses of which it should be found out who has them.
    pub asks: Vec<IpAddr>,
    /// Processes of which it is to be told from now on who makes and wakes which thread, or no longer.
    pub demands: Vec<(u32, bool)>,
}

impl Pipeline {
    /// A core that has seen nothing yet.
    #[must_use]
    pub fn new(options: Options, ledger: Arc<Ledger>) -> Self {
        let flows = Flows::new(options.max_connections);
        Self { flows, core: Core::new(options, Arc::clone(&ledger)), ledger, now: Nanos(0), before: 0 }
    }

    /// Takes a record of the kernel plane or a fact, and appends what follows from it to `out`.
    pub fn push(&mut self, record: &[u8], out: &mut Output) {
        let is_fact = Header::read_from_prefix(record).is_ok_and(|(header, _)| header.kind >= kind::FIRST_FACT);
        let decoded = match decode(record) {
            Ok(decoded) => decoded,
            Err(_) => {
                if !is_fact {
                    self.ledger.records.lose(Stage::Flow, Reason::Malformed, 1);
                }
                return;
            }
        };
        self.now = self.now.max(decoded.time());
        self.lend(out);
        self.learn(&decoded);
        self.core.relations.family.tick(self.now, &mut self.core.spans);
        self.core.tick(self.now);
        self.flows.push(&decoded, &mut self.core, &self.ledger);
        // A timer that was due may have touched other connections: only what the record itself met decides.
        let dropped = self.core.take_dropped(&decoded);
        match dropped {
            _ if is_fact => {}
            Some(reason) => self.ledger.records.lose(Stage::Trace, reason, 1),
            None => self.ledger.records.deliver(1),
        }
        self.hand_over(out);
    }

    /// Nothing more will come: ends everything that is open.
    pub fn finish(&mut self, out: &mut Output) {
        self.lend(out);
        self.flows.finish(self.now, &mut self.core, &self.ledger);
        self.core.relations.family.release_all(&mut self.core.spans);
        self.core.release_all(self.now);
        self.hand_over(out);
    }

    /// Totals of connections; empty unless they were asked for ([`crate::config::Connections::Metrics`]).
    #[must_use]
    pub const fn connection_totals(&self) -> &Totals {
        &self.core.totals
    }

    /// How many connections are being followed.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.flows.len()
    }

    /// How many addresses are known, or asked for.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.core.identity.addresses()
    }

    /// What is no business of `flow`: the machine and its processes.
    fn learn(&mut self, record: &Record<'_>) {
        match record {
            Record::Task(task) => match task.header.kind {
                kind::FORK => self.core.processes.forked(task),
                kind::EXEC => {
                    self.core.relations.family.parted(task.tgid);
                    self.core.processes.executed(task);
                }
                _ => {
                    self.core.relations.family.parted(task.tgid);
                    self.core.processes.exited(task);
                }
            },
            Record::Routine(routine) => self.core.relations.family.routine(routine),
            Record::Relation(relation) => self.core.relations.family.related(relation),
            Record::Fact { fact: Fact::Host(host), .. } => self.core.set_host(host),
            Record::Fact { fact: Fact::Clock { boot_to_unix_ns }, .. } => self.core.set_clock(*boot_to_unix_ns),
            Record::Fact { fact: Fact::Process(process), .. } => self.core.processes.learn(process.clone()),
            Record::Fact { fact: Fact::Selection(selection), .. } => self.core.select(selection),
            Record::Fact { fact: Fact::Cluster(cluster), .. } => self.core.set_cluster(cluster),
            Record::Fact { fact: Fact::Pod(pod), .. } => self.core.learn_pod(pod),
            Record::Fact { fact: Fact::PodGone { uid }, .. } => self.core.processes.forget_pod(uid),
            Record::Fact { fact: Fact::Shedding(told), .. } => {
                for cookie in self.core.shed(*told) {
                    self.flows.visit(cookie, |facts, state| self.core.reconsider(facts, state));
                }
            }
            Record::Fact { time, fact: Fact::Address(address) } => self.core.identity.learn(*time, address),
            Record::Segment { .. } | Record::Socket(_) | Record::Touch(_) | Record::Fact { .. } => {}
        }
    }

    /// Spans are large: the core writes them to where they are wanted.
    fn lend(&mut self, out: &mut Output) {
        mem::swap(&mut self.core.spans, &mut out.spans);
        self.before = self.core.spans.len();
    }

    fn hand_over(&mut self, out: &mut Output) {
        self.core.identity.sift(&mut self.core.spans, self.before);
        self.core.identity.take_asks(&mut out.asks);
        mem::swap(&mut self.core.spans, &mut out.spans);
        // Most records bring nothing.
        if !self.core.steering.is_empty() {
            out.steering.append(&mut self.core.steering);
        }
        self.core.relations.family.ladder.take_demands(&mut out.demands);
        self.core.relations.family.count();
        for (count, n) in [
            (Count::EvictedJoins, self.core.relations.take_evicted()),
            (Count::EvictedProcesses, self.core.processes.take_forgotten()),
        ] {
            if n > 0 {
                self.ledger.add(count, n);
            }
        }
    }
}

#[cfg(test)]
mod tests;
