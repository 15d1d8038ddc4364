//! The clock of the records.

use rustix::time::ClockId;

use crate::flow::Nanos;

/// The time on the records' clock.
pub(super) fn now() -> Nanos {
    let time = rustix::time::clock_gettime(ClockId::Boottime);
    Nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}
