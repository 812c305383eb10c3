//! Samples, and how the sides of a ratio take turns.
//!
//! A machine is never the same for a minute: clocks, neighbours and caches drift. So all sides run in small
//! blocks, one after the other, many times, and only what they did under the same conditions is compared.

use std::hint::black_box;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

/// What two readings of the clock are apart when nothing lies between them. Every sample contains it once,
/// so it is taken off: next to a call of a few hundred nanoseconds it is not nothing.
static CLOCK_NS: LazyLock<u64> = LazyLock::new(|| {
    let mut gaps: Vec<u64> = (0..10_000)
        .map(|_| {
            let start = Instant::now();
            nanos(start.elapsed())
        })
        .collect();
    gaps.sort_unstable();
    gaps[gaps.len() / 2]
});

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The cost of reading the clock, which samples do not contain.
pub(crate) fn clock_ns() -> u64 {
    *CLOCK_NS
}

/// Does nothing for a while, without giving up the CPU.
pub(crate) fn busy_wait(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

/// The same, a tenth more or less: calls at one and the same distance would all meet the same moment of what the other
/// side does while it waits.
pub(crate) fn busy_wait_about(duration: Duration) {
    /// A turn of the golden ratio: the parts that come one after the other are spread evenly.
    const TURN: u64 = 0x9e37_79b9_7f4a_7c15;
    static PART: AtomicU64 = AtomicU64::new(0);
    let part = PART.fetch_add(TURN, Ordering::Relaxed) as f64 / u64::MAX as f64;
    busy_wait(duration.mul_f64(0.9 + 0.2 * part));
}

/// One turn of one side.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    size: Size,
    seen: usize,
    samples: &'a mut Vec<u64>,
}

/// How long a turn is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Calls whose time is not kept: the first ones find the caches as another side left them, and both
    /// processes asleep.
    pub(crate) warm_up: usize,
    /// Calls whose time is kept.
    pub(crate) kept: usize,
}

impl Size {
    pub(crate) const fn new(warm_up: usize, kept: usize) -> Self {
        Self { warm_up, kept }
    }
}

impl Block<'_> {
    /// How many calls to make.
    pub(crate) fn calls(&self) -> usize {
        self.size.warm_up + self.size.kept
    }

    /// Takes the duration of one call, as two readings of the clock give it.
    pub(crate) fn push(&mut self, elapsed: Duration) {
        self.push_mean(elapsed, 1);
    }

    /// The same of `of` calls in a row, as one sample: for what is so short that the clock's own steps
    /// would show.
    pub(crate) fn push_mean(&mut self, elapsed: Duration, of: u64) {
        self.seen += 1;
        if self.seen > self.size.warm_up {
            let all = nanos(elapsed).saturating_sub(clock_ns());
            self.samples.push(all / of);
        }
    }

    /// Makes and times all calls.
    pub(crate) fn time<T>(&mut self, mut call: impl FnMut() -> Result<T>) -> Result<()> {
        self.time_spaced(Duration::ZERO, &mut call)
    }

    /// The same, with so much time between the end of one call and the start of the next, spent computing.
    pub(crate) fn time_spaced<T>(
        &mut self,
        space: Duration,
        mut call: impl FnMut() -> Result<T>,
    ) -> Result<()> {
        for _ in 0..self.calls() {
            if !space.is_zero() {
                busy_wait_about(space);
            }
            let start = Instant::now();
            let result = black_box(call()?);
            self.push(start.elapsed());
            drop(result);
        }
        Ok(())
    }
}

type Turn<'a> = Box<dyn FnMut(&mut Block<'_>) -> Result<()> + 'a>;

/// One of the things that are compared.
pub(crate) struct Side<'a> {
    size: Size,
    turn: Turn<'a>,
    samples: Vec<u64>,
}

impl<'a> Side<'a> {
    /// `turn` makes [`Block::calls`] calls and pushes the time of each.
    pub(crate) fn new(size: Size, turn: impl FnMut(&mut Block<'_>) -> Result<()> + 'a) -> Self {
        Self {
            size,
            turn: Box::new(turn),
            samples: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<()> {
        let mut block = Block {
            size: self.size,
            seen: 0,
            samples: &mut self.samples,
        };
        (self.turn)(&mut block)
    }

    /// What was measured.
    pub(crate) fn finish(self) -> Samples {
        Samples::new(self.samples)
    }
}

/// Lets all sides take turns: forwards, then backwards, so that none always follows the same other.
pub(crate) fn interleave(rounds: usize, sides: &mut [&mut Side<'_>]) -> Result<()> {
    for side in sides.iter_mut() {
        side.run()?;
        side.samples.clear();
    }
    for _ in 0..rounds {
        for side in sides.iter_mut() {
            side.run()?;
        }
        sides.reverse();
    }
    Ok(())
}

/// Durations in nanoseconds, sorted.
#[derive(Debug, Clone)]
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    /// Durations that were taken outside any turn.
    pub(crate) fn of(durations: Vec<Duration>) -> Self {
        Self::new(durations.into_iter().map(nanos).collect())
    }

    fn new(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// The value below which this part of all samples lies, in nanoseconds.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        // In range, because `part` is at most one.
        let at = (last as f64 * part).round() as usize;
        self.0.get(at).map_or(f64::NAN, |&ns| ns as f64)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples = Samples::new((1..=101).rev().collect());
        assert_eq!((samples.median(), samples.p99()), (51.0, 100.0));
        assert!(Samples::new(Vec::new()).median().is_nan());
    }

    #[test]
    fn sides_take_turns_and_warm_up_calls_are_not_kept() {
        let order = std::cell::RefCell::new(String::new());
        let turn = |name| {
            let order = &order;
            move |block: &mut Block<'_>| {
                order.borrow_mut().push(name);
                block.time(|| Ok(()))
            }
        };
        let mut a = Side::new(Size::new(2, 3), turn('a'));
        let mut b = Side::new(Size::new(0, 1), turn('b'));
        interleave(2, &mut [&mut a, &mut b]).unwrap();
        assert_eq!((a.finish().0.len(), b.finish().0.len()), (6, 2));
        assert_eq!(*order.borrow(), "ababba");
    }
}
