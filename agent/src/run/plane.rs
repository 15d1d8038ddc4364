//! The kernel plane as a source of records.

use wirespan::flow::{Cookie, Nanos};
use wirespan::probe::Plane;
use wirespan_common::mode::Mode;
use wirespan_common::record::Header;
use zerocopy::FromBytes;

use super::source::{Counts, Receive, Source};

/// Where nothing was handed over, nothing that comes later is older than this: the plane holds back younger records for
/// a fraction of it, so that they come in order.
const HELD_BACK_NS: u64 = 1_000_000;

impl Source for Plane {
    fn poll(&mut self, now: Nanos, receive: Receive<'_>) -> Nanos {
        let mut last = None;
        Plane::poll(self, &mut |record| {
            last = Header::read_from_prefix(record).ok().map(|(header, _)| Nanos(header.time_ns)).or(last);
            receive(record);
        });
        last.unwrap_or(Nanos(now.0.saturating_sub(HELD_BACK_NS)))
    }

    fn finish(&mut self, receive: Receive<'_>) {
        self.detach();
        self.drain(receive);
    }

    fn steer(&mut self, cookie: Cookie, mode: Mode) {
        Plane::steer(self, cookie, mode);
    }

    fn select(&mut self, tgid: u32, taken: bool) {
        if taken {
            Plane::select(self, tgid);
        } else {
            Plane::deselect(self, tgid);
        }
    }

    fn counts(&mut self) -> Counts {
        let counts = Plane::counts(self);
        Counts {
            attempted: counts.attempted,
            ring_full: counts.ring_full,
            bad_packets: counts.bad_packets,
            no_storage: counts.no_storage,
            copy_failed: counts.copy_failed,
            missed_runs: counts.missed_runs,
        }
    }
}
