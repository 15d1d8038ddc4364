//! Where the kernel programs write to, and the rules by which it is taken over in order.

use super::block::Block;
use super::exchange::Exchange;
use super::ring::Rings;

/// A record in a ring buffer is stamped when its program begins and can be read when the program ends. Younger records than
/// this wait for the next turn, so that what a slower program still writes finds its place. Programs take about 0.3 us.
const RING_SLACK_NS: u64 = 200_000;
/// In the exchange a record is stamped when its room is reserved, so that what is not taken over in a turn is younger than the
/// turn: but for the clocks of two CPUs, which may differ by so much.
const EXCHANGE_SLACK_NS: u64 = 1_000;

/// Where the programs of this kernel put their records.
pub(super) enum Buffers {
    Exchange(Exchange),
    Rings(Rings),
}

impl Buffers {
    /// Takes over everything that there is room for, in bytes. `now_ns` is the time on the records' clock. Gives the
    /// time up to which nothing is missing.
    pub(super) fn read(&mut self, now_ns: u64, room: usize, block: &mut Block) -> u64 {
        let mut horizon = now_ns;
        for cpu in 0..self.cpus() {
            let room = room.saturating_sub(block.bytes());
            let left = match self {
                Self::Exchange(exchange) => exchange.read(cpu, now_ns, room, block),
                Self::Rings(rings) => rings.read(cpu, room, block),
            };
            horizon = horizon.min(left.unwrap_or(horizon));
        }
        let slack = match self {
            Self::Exchange(_) => EXCHANGE_SLACK_NS,
            Self::Rings(_) => RING_SLACK_NS,
        };
        horizon.saturating_sub(slack)
    }

    fn cpus(&self) -> usize {
        match self {
            Self::Exchange(exchange) => exchange.cpus(),
            Self::Rings(rings) => rings.cpus(),
        }
    }
}
