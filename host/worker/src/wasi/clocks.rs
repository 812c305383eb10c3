//! What a guest's clocks show.

use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub(super) const REALTIME: u32 = 0;
const MONOTONIC: u32 = 1;
const PROCESS_CPU: u32 = 2;
pub(super) const THREAD_CPU: u32 = 3;

/// The clocks of one instance.
#[derive(Debug)]
pub(super) struct Clocks {
    fixed: Option<Duration>,
    /// How much CPU time the process had used when the instance first asked. It is given the time since then: what a call
    /// has used would be a message to the next one.
    cpu_time_before: Cell<Option<Duration>>,
}

impl Clocks {
    pub(super) fn new(fixed: Option<Duration>) -> Self {
        Self {
            fixed,
            cpu_time_before: Cell::new(None),
        }
    }

    /// What a clock shows, in nanoseconds; `None` when there is no such clock.
    pub(super) fn now(&self, clock: u32) -> Option<u64> {
        let id = match clock {
            REALTIME => ClockId::Realtime,
            MONOTONIC => ClockId::Monotonic,
            // There is one thread.
            PROCESS_CPU | THREAD_CPU => ClockId::ThreadCPUTime,
            _ => return None,
        };
        let now = self.fixed.unwrap_or_else(|| {
            let now = clock_gettime(id);
            // Before 1970 is an error of the machine's, not the guest's.
            let now = Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec as u32);
            if id != ClockId::ThreadCPUTime {
                return now;
            }
            let before = self.cpu_time_before.get().unwrap_or(now);
            self.cpu_time_before.set(Some(before));
            now.saturating_sub(before)
        });
        Some(now.as_nanos().try_into().unwrap_or(u64::MAX))
    }
}
