//! How many calls may run at once.

use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::fair::{Queue, Ticket};
use crate::rider::{Ride, Rider};
use crate::wake::wake_all;

/// A number of permits, one for each call that runs.
///
/// Fair: permits go to calls in the order in which they asked. Only where many calls of about a microsecond and less wait,
/// others may go past them, to permits that are free: those wait for one of their kind to take them along.
///
/// Clones share their permits, and so do all hosts that are given the same limiter; [`Limiter::global`] is the default of
/// every host.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Permits that nobody has; negative for a while after the total was lowered.
    free: AtomicIsize,
    /// Whether anybody waits, or is to wait though a permit is free. A permit that comes back while this is unset goes to
    /// `free` and no further.
    ///
    /// Set before `free` is looked at, and read after `free` was raised, all in one total order: so either
    /// the one who comes to wait finds the permit, or the one who gives it back finds who waits.
    contended: AtomicBool,
    queue: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    total: usize,
    /// Calls that have run already and had lent their permit: they go before all others.
    first: Line,
    queue: Line,
    /// Calls that take no longer than what their callers do besides. While one of them runs, its caller and its worker
    /// have a CPU each; so no more of them run at once than have that, each with as many as it can take along.
    short: Line,
    /// How many permits those of that line have.
    short_running: usize,
    /// How many have come to wait.
    came: u64,
}

type Line = Queue<Given, Waiter>;

/// A call that waits.
#[derive(Debug)]
struct Waiter {
    /// How many had come before.
    came: u64,
    /// If it may be taken along.
    rider: Option<Arc<Rider>>,
}

/// Where a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    First,
    Queue,
    Short,
}

/// How many short calls may run at once.
static SHORT_MAX: LazyLock<usize> = LazyLock::new(|| (num_cpus::get() / 2).max(1));

/// What a place in line was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Permit,
    /// Its call has been taken along.
    Ride,
}

/// What becomes of a call that waits.
#[derive(Debug)]
pub(crate) enum Pass {
    /// It may run, and take others along, if it may itself be taken.
    Permit(Permit, Option<Arc<Rider>>),
    /// It travels with another call.
    Ride(Ride),
}

impl Waiters {
    fn waiting(&self) -> usize {
        self.first.waiting() + self.queue.waiting() + self.short.waiting()
    }

    fn line(&mut self, which: Which) -> &mut Line {
        match which {
            Which::First => &mut self.first,
            Which::Queue => &mut self.queue,
            Which::Short => &mut self.short,
        }
    }

    /// Who is to have the next permit: where they wait.
    fn next(&mut self) -> Option<Which> {
        if self.first.waiting() > 0 {
            return Some(Which::First);
        }
        let may_run = self.short_running < *SHORT_MAX;
        let short = self.short.front().filter(|_| may_run);
        match (self.queue.front(), short) {
            (None, None) => None,
            (Some(queue), Some(short)) if queue.came < short.came => Some(Which::Queue),
            (_, Some(_)) => Some(Which::Short),
            (Some(_), None) => Some(Which::Queue),
        }
    }
}

impl Limiter {
    /// The limiter of this process, with as many permits as there are CPUs to use.
    #[must_use]
    pub fn global() -> Self {
        static GLOBAL: LazyLock<Limiter> = LazyLock::new(|| Limiter::new(num_cpus::get()));
        GLOBAL.clone()
    }

    /// A limiter with `total` permits. With none, calls wait until [`Self::set_total`].
    #[must_use]
    pub fn new(total: usize) -> Self {
        let total = total.min(TOTAL_MAX);
        Self(Arc::new(Shared {
            free: AtomicIsize::new(total.cast_signed()),
            contended: AtomicBool::new(false),
            queue: Mutex::new(Waiters {
                total,
                first: Queue::new(),
                queue: Queue::new(),
                short: Queue::new(),
                short_running: 0,
                came: 0,
            }),
        }))
    }

    /// Changes the number of permits. Fewer take effect as calls end; nothing is stopped.
    pub fn set_total(&self, total: usize) {
        let total = total.min(TOTAL_MAX);
        let mut waiters = self.0.lock();
        let change = total.cast_signed() - waiters.total.cast_signed();
        waiters.total = total;
        self.0.free.fetch_add(change, Ordering::SeqCst);
        self.0.serve(waiters);
    }

    /// The number of permits.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.lock().total
    }

    /// How many are in use; more than [`Self::total`] for a while after that was lowered.
    #[must_use]
    pub fn borrowed(&self) -> usize {
        let total = self.0.lock().total.cast_signed();
        let free = self.0.free.load(Ordering::SeqCst);
        (total - free).try_into().unwrap_or(0)
    }

    /// How many are free.
    #[must_use]
    pub fn available(&self) -> usize {
        let free = self.0.free.load(Ordering::SeqCst);
        free.try_into().unwrap_or(0)
    }

    /// How many calls wait for one.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().waiting()
    }

    /// A permit now, or a place in the queue. From there the call may be taken along by one before it, if `rider` makes
    /// it one.
    pub(crate) fn acquire(
        &self,
        rider: impl FnOnce() -> Option<Arc<Rider>>,
    ) -> Result<Permit, WaitPermit> {
        self.take_or_join(false, rider)
    }

    /// The same for a call that has had a permit before: it goes before those that have not.
    pub(crate) fn acquire_first(&self) -> Result<Permit, WaitPermit> {
        self.take_or_join(true, || None)
    }

    #[inline]
    fn take_or_join(
        &self,
        first: bool,
        rider: impl FnOnce() -> Option<Arc<Rider>>,
    ) -> Result<Permit, WaitPermit> {
        if !self.0.contended.load(Ordering::SeqCst) && self.0.take_free() {
            return Ok(Permit {
                shared: Arc::clone(&self.0),
                is_short: false,
            });
        }
        let rider = rider();
        let which = match (first, &rider) {
            (true, _) => Which::First,
            (false, Some(rider)) if rider.is_short => Which::Short,
            (false, _) => Which::Queue,
        };
        let mut waiters = self.0.lock();
        waiters.came += 1;
        let waiter = Waiter {
            came: waiters.came,
            rider: rider.clone(),
        };
        let place = WaitPermit {
            shared: Arc::clone(&self.0),
            ticket: Some(waiters.line(which).join(waiter)),
            which,
            rider,
            is_only: waiters.waiting() == 1,
        };
        self.0.contended.store(true, Ordering::SeqCst);
        // Whatever came back meanwhile goes to the first in line, who may be this one.
        let wakers = self.0.give_free(&mut waiters);
        // Under the lock, as the call may be taken along as soon as that is released.
        let place = place.if_given();
        drop(waiters);
        wake_all(wakers);
        place
    }

    /// Takes calls out of the line that may travel with `leader`, which has a permit: as many as are next, at most `most`
    /// and no more than its share of those that wait. They are called, and are to board.
    pub(crate) fn take_along(
        &self,
        leader: &Rider,
        most: usize,
        bytes_max: usize,
    ) -> Vec<Arc<Rider>> {
        let mut along = Vec::new();
        // The look before spares the lock where nobody waits.
        if !self.0.contended.load(Ordering::SeqCst) {
            return along;
        }
        let mut waiters = self.0.lock();
        let (which, among) = match leader.is_short {
            true => (Which::Short, *SHORT_MAX),
            false => (Which::Queue, waiters.total.max(1)),
        };
        let line = waiters.line(which);
        let share = line.waiting().div_ceil(among);
        let mut bytes = leader.bytes();
        while along.len() < most.min(share) {
            let called = line.give_if(|waiter, waker| {
                let rider = waiter.rider.as_ref();
                let rider = rider.filter(|rider| rider.route == leader.route)?;
                bytes += rider.bytes();
                (bytes <= bytes_max).then(|| {
                    rider.call(waker.take());
                    along.push(Arc::clone(rider));
                    Given::Ride
                })
            });
            if !called {
                break;
            }
        }
        self.0.serve(waiters);
        along
    }
}

/// More permits than there can be calls.
const TOTAL_MAX: usize = usize::MAX >> 2;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one of the permits that nobody has, if there is any.
    fn take_free(&self) -> bool {
        let one_less = |free: isize| (free > 0).then(|| free - 1);
        self.free
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
    }

    /// Gives free permits to those who wait, first come first served.
    fn serve(&self, mut waiters: MutexGuard<'_, Waiters>) {
        let wakers = self.give_free(&mut waiters);
        drop(waiters);
        wake_all(wakers);
    }

    /// The same, and returns whom to wake when the lock is released.
    fn give_free(&self, waiters: &mut Waiters) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(which) = waiters.next()
            && self.take_free()
        {
            match waiters.line(which).give(Given::Permit) {
                Ok(waker) => {
                    wakers.extend(waker);
                    waiters.short_running += usize::from(which == Which::Short);
                }
                Err(_) => _ = self.free.fetch_add(1, Ordering::SeqCst),
            }
        }
        if waiters.waiting() == 0 && waiters.short_running == 0 {
            self.contended.store(false, Ordering::SeqCst);
        }
        wakers
    }

    fn give_back(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.contended.load(Ordering::SeqCst) {
            self.serve(self.lock());
        }
    }

    fn give_back_short(&self) {
        let mut waiters = self.lock();
        waiters.short_running -= 1;
        self.free.fetch_add(1, Ordering::SeqCst);
        self.serve(waiters);
    }
}

/// The right to run one call; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    shared: Arc<Shared>,
    /// Whether it counts among those of short calls.
    is_short: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.is_short {
            true => self.shared.give_back_short(),
            false => self.shared.give_back(),
        }
    }
}

/// A place in a limiter's queue.
#[derive(Debug)]
pub(crate) struct WaitPermit {
    shared: Arc<Shared>,
    ticket: Option<Ticket<Given>>,
    which: Which,
    rider: Option<Arc<Rider>>,
    /// Whether nobody else waited when it was taken.
    is_only: bool,
}

impl WaitPermit {
    /// The permit, if the place has been given one.
    fn if_given(mut self) -> Result<Permit, Self> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Pass::Permit(permit, _)) => Ok(permit),
            _ => Err(self),
        }
    }

    /// Whether nobody else waited when it began to.
    pub(crate) fn is_only(&self) -> bool {
        self.is_only
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Pass> {
        let Some(ticket) = &self.ticket else {
            return Poll::Pending;
        };
        ticket.poll(cx).map(|given| {
            self.ticket = None;
            self.pass(given)
        })
    }

    /// The same for one that cannot be taken along.
    pub(crate) fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        match self.poll(cx) {
            Poll::Ready(Pass::Permit(permit, _)) => Poll::Ready(permit),
            _ => Poll::Pending,
        }
    }

    fn pass(&mut self, given: Given) -> Pass {
        let rider = self.rider.take();
        match (given, rider) {
            (Given::Ride, Some(rider)) => Pass::Ride(Ride::new(rider)),
            (_, rider) => {
                let permit = Permit {
                    shared: Arc::clone(&self.shared),
                    is_short: self.which == Which::Short,
                };
                Pass::Permit(permit, rider)
            }
        }
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut waiters = self.shared.lock();
        let left = waiters.line(self.which).leave(&ticket);
        // Unsets the mark when this was the last one.
        self.shared.serve(waiters);
        // A permit goes on to the next, and a call that was taken along is left.
        drop(left.value.map(|given| self.pass(given)));
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
