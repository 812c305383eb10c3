//! A call that waits for a permit or a worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::{Duration, Instant};

use crate::Error;
use crate::clock::after;
use crate::pool::{CloseWatch, Pool};
use crate::rider::Rider;
use crate::supervisor::Timer;

/// What a call needs that does not get everything at once.
#[derive(Debug)]
pub(super) struct Waiting {
    since: Instant,
    place: Option<Place>,
    timer: Option<Timer>,
    watch: Option<CloseWatch>,
    /// What others may take it along by; once it has a permit, itself.
    pub(super) rider: Option<Arc<Rider>>,
    /// Whether it was taken along and did not begin. It goes alone then.
    pub(super) has_ridden: bool,
}

impl Waiting {
    pub(super) fn begin() -> Self {
        Self {
            since: Instant::now(),
            place: None,
            timer: None,
            watch: None,
            rider: None,
            has_ridden: false,
        }
    }

    /// Since when the call has been awaited.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Is counted among those who wait, of which there may not be too many. One that was in line before is not refused.
    pub(super) fn join(&mut self, pool: &Arc<Pool>) -> Result<(), Error> {
        if self.place.is_none() {
            let (place, before) = Place::take(pool);
            if before >= pool.config.queue_limit && !self.has_ridden {
                return Err(Error::Saturated { waiting: before });
            }
            self.place = Some(place);
        }
        Ok(())
    }

    /// It has what it waited for, or does not wait any more.
    pub(super) fn end(&mut self) {
        self.place = None;
        self.timer = None;
        self.watch = None;
    }

    pub(super) fn is_closed_or_wakes(&mut self, pool: &Arc<Pool>, cx: &Context<'_>) -> bool {
        pool.is_closed_or_wakes(&mut self.watch, cx)
    }

    /// For how long the call has waited, if that is too long; if it is not, the task is woken when it is.
    pub(super) fn is_over(
        &mut self,
        pool: &Pool,
        timeout: Option<Duration>,
        deadline: Option<Instant>,
        cx: &Context<'_>,
    ) -> Option<Duration> {
        let of_queue = timeout.map(|timeout| after(self.since, timeout));
        let due = of_queue.into_iter().chain(deadline).min()?;
        let now = Instant::now();
        if due <= now {
            return Some(now - self.since);
        }
        match &self.timer {
            Some(timer) => timer.set_waker(cx.waker()),
            None => self.timer = Some(pool.supervisor.wake_at(due, cx.waker().clone())),
        }
        None
    }
}

/// Counts a waiting call.
#[derive(Debug)]
struct Place(Arc<Pool>);

impl Place {
    /// And how many there were before.
    fn take(pool: &Arc<Pool>) -> (Self, usize) {
        let before = pool.waiting.fetch_add(1, Ordering::Relaxed);
        (Self(Arc::clone(pool)), before)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
