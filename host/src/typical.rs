//! How long the calls of a function take.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Calls that wait travel together, about as many as take this long: several wake-ups, of which each batch costs some,
/// and no longer than whoever is first can well wait for whoever is last.
const TOGETHER: Duration = Duration::from_micros(200);

/// The most that travel together, and the most short ones.
const TOGETHER_MAX: u32 = 64;
const SHORT_TOGETHER_MAX: u32 = 256;

/// Of shorter ones no more run at once than have two CPUs each: what their callers do takes as long.
const SHORTEST: Duration = Duration::from_nanos(1500);

/// Marks in a number of calls that they are shorter.
const IS_SHORT: u32 = 1 << 31;

/// One that took longer says no more: some tens of short ones make up for it.
const SAMPLE_MAX: Duration = Duration::from_millis(10);

/// Nor does one that took so many times the mean: on a busy machine many are held up for much longer than they take, and
/// the others make up for it, where no more than half of them are.
const TIMES_MEAN_MAX: u32 = 2;

/// What calls took, and what follows from it.
#[derive(Debug, Default)]
pub(crate) struct TypicalTime {
    times: Times,
    together: Together,
}

/// In nanoseconds; zeros before the first.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Times {
    /// A running mean, no more than [`SAMPLE_MAX`].
    mean: AtomicU32,
    /// What short ones take: where there are more callers than CPUs, most are held up by each other.
    least: AtomicU32,
}

/// In a line of its own: all callers that wait read it, and what they take changes more often.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Together(AtomicU32);

impl TypicalTime {
    /// One took so long. Of two at once one may be lost.
    pub(crate) fn learn(&self, took: Duration) {
        let took = took.min(SAMPLE_MAX).as_nanos().max(1) as u32;
        let mean = match self.times.mean.load(Ordering::Relaxed) {
            0 => took,
            mean => mean - mean / 4 + took.min(mean * TIMES_MEAN_MAX) / 4,
        };
        let mean = mean.max(1);
        self.times.mean.store(mean, Ordering::Relaxed);
        let least = match self.times.least.load(Ordering::Relaxed) {
            0 => took,
            least if took <= least => took,
            least => least + (took - least).div_ceil(64),
        };
        self.times.least.store(least, Ordering::Relaxed);
        let together = TOGETHER.as_nanos() as u32 / mean;
        let together = match u128::from(least) < SHORTEST.as_nanos() {
            true => together.clamp(1, SHORT_TOGETHER_MAX) | IS_SHORT,
            false => together.clamp(1, TOGETHER_MAX),
        };
        if together != self.together.0.load(Ordering::Relaxed) {
            self.together.0.store(together, Ordering::Relaxed);
        }
    }

    /// How many may travel together; one where that is not worth it, or nothing is known.
    pub(crate) fn together(&self) -> usize {
        (self.together.0.load(Ordering::Relaxed) & !IS_SHORT).max(1) as usize
    }

    /// Whether they take no longer than what their callers do besides.
    pub(crate) fn is_short(&self) -> bool {
        self.together.0.load(Ordering::Relaxed) & IS_SHORT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_calls_travel_together_and_long_ones_do_not() {
        let typical = TypicalTime::default();
        assert_eq!(typical.together(), 1);
        typical.learn(Duration::from_micros(60));
        assert_eq!(typical.together(), 3);
        // As they do, what each of them takes is seen better.
        (0..20).for_each(|_| typical.learn(Duration::from_micros(5)));
        assert!((35..=40).contains(&typical.together()), "{typical:?}");
        (0..20).for_each(|_| typical.learn(Duration::from_nanos(1600)));
        assert_eq!(typical.together() as u32, TOGETHER_MAX);
        let calls = |took| {
            let before = typical.together();
            (1..100).find(|_| {
                typical.learn(took);
                (typical.together() == 1) != (before == 1)
            })
        };
        let long = calls(Duration::from_secs(3600)).unwrap();
        assert!((10..40).contains(&long), "{long}");
        let short = calls(Duration::from_nanos(1600)).unwrap();
        assert!(short < 5, "{short}");
        (0..100).for_each(|_| typical.learn(Duration::from_secs(3600)));
        let short = calls(Duration::from_nanos(1600)).unwrap();
        assert!((5..40).contains(&short), "{short}");
    }

    #[test]
    fn short_calls_travel_together_though_a_third_of_them_is_held_up() {
        let typical = TypicalTime::default();
        for call in 0..300 {
            let held_up = call % 3 == 0;
            typical.learn(Duration::from_micros(if held_up { 9000 } else { 5 }));
        }
        assert!(typical.together() > 1, "{typical:?}");
    }

    #[test]
    fn the_shortest_calls_are_known_though_some_of_them_are_held_up() {
        let typical = TypicalTime::default();
        assert!(!typical.is_short());
        for _ in 0..100 {
            typical.learn(Duration::from_micros(30));
            typical.learn(Duration::from_nanos(300));
            assert!(typical.is_short() && typical.together() > 1);
        }
        // Those of a function that has become slower are not, after a while.
        (0..100).for_each(|_| typical.learn(Duration::from_micros(30)));
        assert!(!typical.is_short() && typical.together() > 1);
    }
}
