//! How long calls take.

use std::time::Duration;

use hdrhistogram::Histogram;

/// How long the calls of a host took, since it was built or [`crate::Host::reset_timings`].
///
/// Of calls that waited for less than a millisecond and were over within one poll, 60 us at most, one in sixteen is
/// timed and counts for all.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Timings {
    /// From the first poll until a worker had the call.
    pub queue: Timing,
    /// From then until the caller had the reply.
    pub run: Timing,
    /// Both.
    pub round_trip: Timing,
}

impl Timings {
    pub(crate) fn record(&mut self, queue: Duration, run: Duration, weight: u64) {
        self.queue.record(queue, weight);
        self.run.record(run, weight);
        self.round_trip.record(queue + run, weight);
    }
}

/// A distribution of durations, each known to a tenth of a percent.
#[derive(Debug, Clone)]
pub struct Timing(Histogram<u64>);

impl Default for Timing {
    fn default() -> Self {
        Self(Histogram::new(3).expect("three significant figures are allowed"))
    }
}

impl Timing {
    fn record(&mut self, duration: Duration, weight: u64) {
        let nanos = duration.as_nanos().try_into().unwrap_or(u64::MAX / 2);
        // Grows as needed, but for durations of centuries.
        let _ = self.0.record_n(nanos, weight);
    }

    /// How many calls it is about.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that a part `q` of the calls, between 0 and 1, did not exceed: 0.5 is the median. Zero
    /// when there were none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(q))
    }

    /// The mean.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut timing = Timing::default();
        assert_eq!((timing.count(), timing.quantile(0.5)), (0, Duration::ZERO));
        for ms in 1..=100 {
            timing.record(Duration::from_millis(ms), 2);
        }
        timing.record(Duration::MAX, 0);
        assert_eq!(timing.count(), 200);
        let median = timing.quantile(0.5).as_secs_f64();
        assert!((0.0499..0.0502).contains(&median), "{median}");
        assert!(timing.max() >= Duration::from_millis(100));
    }
}
