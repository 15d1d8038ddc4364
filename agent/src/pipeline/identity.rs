//! Who a span is of and whom it speaks to, in a cluster; and the spans that wait until that is known.
//!
//! A span waits for the time that the cluster's fact names, at most. What is not known by then is left out, said and counted.
//! On machines that are no nodes of a cluster nothing of this happens.

use std::collections::VecDeque;
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;

use crate::flow::kubernetes::Address;
use crate::flow::{Facts, Nanos, Role};
use crate::ledger::{Count, Ledger};
use crate::trace::address;
use crate::trace::mesh::{self, Mesh};
use crate::trace::peers::{Found, Peers, Question};
use crate::trace::process::Processes;
use crate::trace::span::{Attribute, Awaits, Span};

/// Spans that wait at once, about 1.5 KiB each. The oldest go first, with what is known.
const MAX_HELD: usize = 16_384;
/// How often those that wait are looked at.
const LOOK_NS: u64 = 50_000_000;
/// For so long, what is said of the other end of a connection is said again without another look.
const SAID_AGAIN_NS: u64 = 5_000_000_000;

/// What is known of others, and the spans that wait for more.
pub(super) struct Identity {
    peers: Peers,
    held: VecDeque<Span>,
    /// Something was found out since those that wait were looked at.
    has_news: bool,
    next_look: Nanos,
    /// Changes whenever something is found out.
    epoch: u64,
    ledger: Arc<Ledger>,
}

/// Whom a span is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    /// The process.
    pub(super) tgid: u32,
    /// The process at the other end, 0 for unknown.
    pub(super) partner: u32,
    /// Who is at the other end, if that may be asked.
    pub(super) question: Option<Question>,
    /// When the span ended.
    pub(super) end: Nanos,
}

/// What was said of the other end of a connection.
pub(super) struct Said {
    question: Question,
    partner: u32,
    epoch: u64,
    until: Nanos,
    attributes: Arc<[Attribute]>,
}

impl Identity {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { peers: Peers::default(), held: VecDeque::new(), has_news: false, next_look: Nanos(0), epoch: 0, ledger }
    }

    /// A pod or the cluster changed.
    pub(super) fn changed(&mut self) {
        self.has_news = true;
        self.epoch += 1;
    }

    /// Something was found out about an address.
    pub(super) fn learn(&mut self, now: Nanos, address: &Address) {
        self.peers.learn(now, address);
        self.changed();
    }

    /// Addresses of which more should be found out.
    pub(super) fn take_asks(&mut self, asks: &mut Vec<IpAddr>) {
        self.peers.take_asks(asks);
    }

    /// How many addresses are known.
    pub(super) fn addresses(&self) -> usize {
        self.peers.len()
    }

    /// Says on a span who is at the other end; notes what it should wait for.
    pub(super) fn tell(
        &mut self,
        span: &mut Span,
        subject: Subject,
        said: &mut Option<Box<Said>>,
        processes: &Processes,
    ) {
        let Some(cluster) = processes.pods().cluster() else { return };
        mesh::mark(span);
        let (wait_ns, asks_for_peers) = (cluster.wait_ns, cluster.peers);
        let Subject { tgid, partner, question, end } = subject;
        let mut open = None;
        if let Some(question) = question.filter(|_| asks_for_peers) {
            let is_known = |said: &&Said| {
                (said.question, said.partner, said.epoch) == (question, partner, self.epoch) && end < said.until
            };
            if let Some(said) = said.as_deref().filter(is_known) {
                span.attributes.extend(said.attributes.iter().cloned());
            } else {
                let found = self.find(question, partner, processes, end);
                if found.is_open && wait_ns > 0 {
                    open = Some(question);
                } else {
                    let attributes = self.describe(&found, question.role, processes);
                    span.attributes.extend(attributes.iter().cloned());
                    let until = Nanos(end.0.saturating_add(SAID_AGAIN_NS));
                    *said = (!found.is_open).then(|| {
                        Box::new(Said { question, partner, epoch: self.epoch, until, attributes: attributes.into() })
                    });
                }
            }
        }
        if wait_ns == 0 && span.resource.lacks.is_some() {
            self.ledger.count(Count::UnidentifiedSpans);
        } else if span.resource.lacks.is_some() || open.is_some() {
            let until = Nanos(end.0.saturating_add(wait_ns));
            let start_ns = processes.birth(tgid).unwrap_or_default();
            span.awaits = Some(Box::new(Awaits { tgid, start_ns, partner, question: open, until }));
        }
    }

    /// Takes those of the spans from `from` on that have to wait.
    pub(super) fn sift(&mut self, spans: &mut Vec<Span>, from: usize) {
        if spans.get(from..).is_none_or(|new| new.iter().all(|span| span.awaits.is_none())) {
            return;
        }
        let new: Vec<Span> = spans.drain(from..).collect();
        for span in new {
            if span.awaits.is_none() {
                spans.push(span);
            } else {
                self.held.push_back(span);
            }
        }
        // What they wait for may have come while their links were decided.
        self.has_news = true;
        while self.held.len() > MAX_HELD {
            let Some(mut span) = self.held.pop_front() else { break };
            self.give_up(&mut span);
            spans.push(span);
        }
    }

    /// Time has passed: gives away what has waited long enough, or has nothing to wait for any more.
    pub(super) fn tick(&mut self, now: Nanos, processes: &mut Processes, out: &mut Vec<Span>) {
        if self.held.is_empty() || now < self.next_look {
            return;
        }
        self.next_look = Nanos(now.0.saturating_add(LOOK_NS));
        let has_news = mem::take(&mut self.has_news);
        for mut span in mem::take(&mut self.held) {
            let is_due = span.awaits.as_ref().is_none_or(|awaits| awaits.until <= now);
            if (is_due || has_news) && self.complete(&mut span, is_due, now, processes) {
                out.push(span);
            } else {
                self.held.push_back(span);
            }
        }
    }

    /// Nothing more will come.
    pub(super) fn release_all(&mut self, now: Nanos, processes: &mut Processes, out: &mut Vec<Span>) {
        for mut span in mem::take(&mut self.held) {
            self.complete(&mut span, true, now, processes);
            out.push(span);
        }
    }

    /// Adds what is known by now. Whether the span is to be given away.
    fn complete(&mut self, span: &mut Span, is_due: bool, now: Nanos, processes: &mut Processes) -> bool {
        let Some(mut awaits) = span.awaits.take() else { return true };
        let is_same = processes.birth(awaits.tgid) == Some(awaits.start_ns);
        if span.resource.lacks.is_some() && is_same {
            span.resource = processes.resource(awaits.tgid);
            mesh::mark(span);
        }
        if let Some(question) = awaits.question {
            let found = self.find(question, awaits.partner, processes, now);
            if !found.is_open || is_due {
                if found.is_open {
                    self.ledger.count(Count::UnknownPeers);
                }
                span.attributes.extend(self.describe(&found, question.role, processes));
                awaits.question = None;
            }
        }
        if !is_due && (span.resource.lacks.is_some() || awaits.question.is_some()) {
            span.awaits = Some(awaits);
            return false;
        }
        if span.resource.lacks.is_some() {
            self.ledger.count(Count::UnidentifiedSpans);
        }
        true
    }

    fn give_up(&self, span: &mut Span) {
        if span.awaits.take().is_some_and(|awaits| awaits.question.is_some()) {
            self.ledger.count(Count::UnknownPeers);
        }
        if span.resource.lacks.is_some() {
            self.ledger.count(Count::UnidentifiedSpans);
        }
    }

    fn find(&mut self, question: Question, partner: u32, processes: &Processes, now: Nanos) -> Found {
        // Who is behind it keeps his address.
        let is_via_ztunnel = processes.mesh_of(partner) == Some(Mesh::Ztunnel);
        let partner = if is_via_ztunnel { 0 } else { partner };
        let pod = processes.pod_of(partner).cloned();
        let process = if pod.is_none() { processes.service_of(partner) } else { None };
        let mut found = Found { is_by_process: pod.is_some(), pod, process, is_via_ztunnel, ..Found::default() };
        found.look_up(&question, processes.pods(), &mut self.peers, now);
        found
    }

    fn describe(&self, found: &Found, role: Role, processes: &Processes) -> Vec<Attribute> {
        found.attributes(role, processes.pods())
    }
}

/// Who is at the other end of a connection: a client asks whom it dialled, a server who called.
pub(super) fn question(facts: &Facts, role: Role) -> Question {
    let remote = address::ip(&facts.remote);
    match (role, &facts.dialled) {
        (Role::Client, Some(dialled)) => Question { role, address: address::ip(dialled), behind: Some(remote) },
        _ => Question { role, address: remote, behind: None },
    }
}
