//! What load has so many requests in flight: how often they arrive, and how long the backends take.

use std::time::Duration;

/// Arrivals per second with 1, with 4 and with 16 or more in flight: the slowest model can answer twice as many on two processors,
/// so that requests wait for backends and not for the machine.
const RATES: [(u32, f64); 3] = [(1, 60.0), (4, 80.0), (16, 100.0)];

/// Of a pool's time, what may be in use before it counts as full. Fuller pools have queues of any length.
const FULL: f64 = 0.7;

/// How many times more requests arrive at a full pool than it can take; what is too much does not come in.
const OVERLOAD: f64 = 1.5;

/// How many times faster requests arrive until as many are in flight as shall be, where a pool is full.
const RAMP: f64 = 4.0;

/// How the times of a backend are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Evenly, from half of the mean to one and a half.
    Uniform,
    /// As if it were over at any moment with the same chance.
    Exponential,
}

/// A load with so many requests in flight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plan {
    /// Requests in flight, on average.
    pub(super) level: u32,
    /// How many requests.
    pub(super) requests: u32,
    /// How many of them arrive per second, independently of each other.
    pub(super) per_second: f64,
    /// Until this many are in flight for the first time, they arrive faster; 0 if they never do.
    pub(super) ramp: u32,
    /// What arrives when this many are in flight does not come in.
    pub(super) most: u32,
    /// How long a backend takes, on average.
    pub(super) service: Duration,
    /// How that time is spread.
    pub(super) shape: Shape,
}

impl Plan {
    /// A load for a model that makes these calls through a pool of this size (0: unlimited).
    pub(super) fn new(level: u32, pool: u32, calls: &[&str], requests: u32, shape: Shape) -> Self {
        let rate = RATES.iter().rev().find(|(from, _)| level >= *from).map_or(RATES[0].1, |(_, rate)| *rate);
        let natural = f64::from(level) / rate / shape.stages(calls);
        // The busier one of both backends.
        let per_host = ["ac", "bd"].map(|host| calls.iter().filter(|call| host.contains(**call)).count());
        let per_host = f64::from(u32::try_from(per_host[0].max(per_host[1])).unwrap_or(u32::MAX));
        let is_full = pool > 0 && rate * natural * per_host / f64::from(pool) > FULL;
        let longest = if is_full { f64::from(pool) * OVERLOAD / (rate * per_host) } else { f64::INFINITY };
        Self {
            level,
            requests,
            per_second: rate,
            ramp: if is_full { level - level / 10 } else { 0 },
            // Far from what chance brings: only a machine that cannot follow gets there.
            most: if is_full { level } else { level * 2 + 16 },
            service: Duration::from_secs_f64(natural.min(longest)),
            shape,
        }
    }

    /// Time to the next arrival.
    pub(super) fn gap(&self, random: &mut fastrand::Rng, is_ramp: bool) -> Duration {
        let rate = if is_ramp { self.per_second * RAMP } else { self.per_second };
        Duration::from_secs_f64(exponential(random) / rate)
    }

    /// Time that a backend takes for a call.
    pub(super) fn service(&self, random: &mut fastrand::Rng) -> Duration {
        self.service.mul_f64(match self.shape {
            Shape::Uniform => 0.5 + random.f64(),
            Shape::Exponential => exponential(random),
        })
    }
}

impl Shape {
    /// How long a request takes, in mean times of a backend: calls that are made at the same time take as long as the longer one.
    fn stages(self, calls: &[&str]) -> f64 {
        let longer_of_two = match self {
            Self::Uniform => 7.0 / 6.0,
            Self::Exponential => 1.5,
        };
        let has = |call| if calls.contains(&call) { 1.0_f64 } else { 0.0 };
        let pair = if calls.contains(&"c") && calls.contains(&"d") { longer_of_two } else { has("c") + has("d") };
        has("a") + has("b") + pair
    }
}

/// A random number with mean 1, as of times between independent arrivals.
fn exponential(random: &mut fastrand::Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::runtimes::CALLS;

    #[test]
    fn rate_times_latency_is_what_shall_be_in_flight() {
        for (level, shape) in [(1, Shape::Uniform), (64, Shape::Exponential)] {
            let plan = Plan::new(level, 0, CALLS, 600, shape);
            let latency = plan.service.as_secs_f64() * shape.stages(CALLS);
            assert!((plan.per_second * latency - f64::from(level)).abs() < 0.01, "{plan:?}");
            assert!(plan.most > level && plan.ramp == 0, "{plan:?}");
        }
        let proxy = Plan::new(16, 0, &["a"], 600, Shape::Uniform);
        assert_eq!(proxy.service, Duration::from_millis(160));
    }

    #[test]
    fn a_full_pool_gets_more_than_it_can_take_and_no_more_come_in_than_shall_be_in_flight() {
        let plan = Plan::new(64, 8, CALLS, 600, Shape::Uniform);
        let capacity = 8.0 / (2.0 * plan.service.as_secs_f64());
        assert!((plan.per_second / capacity - OVERLOAD).abs() < 0.01, "{plan:?}");
        assert_eq!((plan.most, plan.ramp), (64, 58));
        assert_eq!(Plan::new(4, 8, CALLS, 600, Shape::Uniform).ramp, 0);
    }

    #[test]
    fn times_have_the_mean_that_they_should() {
        let mut random = fastrand::Rng::with_seed(1);
        for shape in [Shape::Uniform, Shape::Exponential] {
            let plan = Plan::new(16, 0, CALLS, 600, shape);
            let sum: Duration = (0..10_000).map(|_| plan.service(&mut random)).sum();
            let mean = sum / 10_000;
            assert!(mean > plan.service.mul_f64(0.95) && mean < plan.service.mul_f64(1.05), "{mean:?} {plan:?}");
        }
    }
}
