//! What the agent says of itself to Prometheus: its own cost, what it lost, how its parts stand. Off unless an address is
//! given.
//!
//! Nothing here touches the core's hot path. Counters are read from the ledger, which is made of atomics; what only the
//! core knows it is asked for ([`desk`]), and it answers between two rounds, without a lock; the rest comes from `/proc`
//! when somebody asks ([`own`], [`kernel`]).

mod cluster;
mod desk;
mod http;
mod kernel;
mod own;
mod page;
mod totals;
mod write;

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Arc;

pub use self::desk::{CoreState, Desk, Question};
use self::page::Pages;
use crate::export::QueueGauge;
use crate::k8s::tally::Tally;
use crate::ledger::Ledger;
use crate::probe::verdict::Verdict;
use crate::web::Bound;

/// Where `--metrics-listen` comes from if it is not given.
pub const LISTEN_VARIABLE: &str = "WIRESPAN_METRICS_LISTEN";

const THREAD: &str = "metrics";

/// Nobody can be answered.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be had.
    #[error(
        "cannot listen on {address} for metrics: {source}; give another address with --metrics-listen or {LISTEN_VARIABLE}"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No thread, or no runtime for it.
    #[error("cannot start the thread for metrics: {0}; is a limit on processes or open files (ulimit -u, -n) reached?")]
    Thread(#[from] io::Error),
}

/// What metrics are made of, besides what is asked for at the time.
#[derive(Debug)]
pub struct Sources {
    /// The account of everything.
    pub ledger: Arc<Ledger>,
    /// What became of each probe.
    pub verdicts: Vec<Verdict>,
    /// Names and descriptors of the loaded kernel programs.
    pub programs: Vec<(String, RawFd)>,
    /// Queues of the outputs.
    pub queues: Vec<QueueGauge>,
    /// Connections that are followed at most.
    pub max_connections: usize,
    /// What asking a cluster costs, if one is asked.
    pub kubernetes: Option<Arc<Tally>>,
}

/// An address that is listened on. Nobody is answered yet.
#[derive(Debug)]
pub struct Listener(Bound);

impl Listener {
    /// Takes the address.
    ///
    /// # Errors
    /// If it can't be had: another program has it, or it is not one of this machine.
    pub fn bind(address: SocketAddr) -> Result<Self, StartError> {
        Bound::to(address).map(Self).map_err(|source| StartError::Listen { address, source })
    }

    /// Where it listens, with the port that was chosen if 0 was asked for.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.address()
    }

    /// Answers from now on, until the process ends. The core has to come to the desk between its rounds.
    ///
    /// # Errors
    /// If no thread can be had.
    pub fn serve(self, sources: Sources) -> Result<Desk, StartError> {
        let (asker, desk) = desk::desk();
        self.0.serve(THREAD, Pages::new(sources, asker))?;
        Ok(desk)
    }
}

#[cfg(test)]
mod tests;
