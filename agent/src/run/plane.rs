//! The kernel plane as a source of records.

use std::time::Duration;

use wirespan::flow::{Cookie, Nanos};
use wirespan::probe::Plane;
use wirespan_common::mode::Order;

use super::source::{Counts, Receive, Source};

impl Source for Plane {
    fn poll(&mut self, receive: Receive<'_>) -> Nanos {
        Plane::poll(self, receive)
    }

    fn wait(&mut self, at_most: Duration) {
        Plane::wait(self, at_most);
    }

    fn finish(&mut self, receive: Receive<'_>) {
        Plane::finish(self, receive);
    }

    fn steer(&mut self, cookie: Cookie, order: Order) {
        Plane::steer(self, cookie, order);
    }

    fn select(&mut self, tgid: u32, taken: bool) {
        if taken {
            Plane::select(self, tgid);
        } else {
            Plane::deselect(self, tgid);
        }
    }

    fn reconsider(&mut self) {
        Plane::reconsider(self);
    }

    fn meet(&mut self, tgid: u32) {
        Plane::meet(self, tgid);
    }

    fn settle(&mut self, at_most: Duration) {
        Plane::settle(self, at_most);
    }

    fn watch_threads(&mut self, tgid: u32, is_wanted: bool) {
        Plane::watch_threads(self, tgid, is_wanted);
    }

    fn part(&mut self, tgid: u32) {
        Plane::part(self, tgid);
    }

    fn counts(&mut self) -> Counts {
        let counts = Plane::counts(self);
        Counts {
            attempted: counts.attempted,
            ring_full: counts.ring_full,
            bad_packets: counts.bad_packets,
            no_storage: counts.no_storage,
            copy_failed: counts.copy_failed,
            shed_requests: counts.shed_requests,
            missed_runs: counts.missed_runs,
            unread_goroutines: counts.unread_goroutines,
        }
    }
}
