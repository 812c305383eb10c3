//! One word in shared memory that a process sleeps on: the futex between two processes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex;

use super::mapping::Mapping;

/// A word in a mapping, used as a doorbell: one side adds to it, the other sleeps until it changes.
#[derive(Debug, Clone, Copy)]
pub struct Doorbell {
    offset: usize,
}

impl Doorbell {
    /// The doorbell at `offset` of the mapping that every method is given.
    #[must_use]
    pub const fn at(offset: usize) -> Self {
        Self { offset }
    }

    /// What it reads now. Look at it before looking at what it guards.
    #[must_use]
    #[inline]
    pub fn seen(self, map: &Mapping) -> u32 {
        map.load_u32(self.offset)
    }

    /// Changes it, so that nobody who saw an old value falls asleep. Two may ring at once, and neither may write what
    /// the other one's ring has already been seen to say.
    pub fn ring(self, map: &Mapping) {
        map.with_word32(self.offset, |word| word.fetch_add(1, Ordering::Release));
    }

    /// Wakes whoever sleeps on it.
    pub fn wake(self, map: &Mapping) {
        // The only failures are a bad address and a bad operation, which our own constants exclude.
        let woken = map.with_word32(self.offset, |word| {
            futex::wake(word, futex::Flags::empty(), 1)
        });
        debug_assert!(woken.is_ok());
    }

    /// Sleeps until it no longer reads `seen`, a signal arrives, or the time is over; which of them is for
    /// the caller to find out.
    pub fn sleep(self, map: &Mapping, seen: u32, at_most: Option<Duration>) {
        let timeout = at_most.and_then(|d| d.try_into().ok());
        let slept = map.with_word32(self.offset, |word| {
            // No PRIVATE flag: two processes share the word.
            futex::wait(word, futex::Flags::empty(), seen, timeout.as_ref())
        });
        debug_assert!(matches!(
            slept,
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT)
        ));
    }
}
