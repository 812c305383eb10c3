//! How many calls may run at once.

use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::fair::{Queue, Ticket};

/// A number of permits, one for each call that runs.
///
/// Fair: permits go to calls in the order in which they asked. Clones share their permits, and so do all
/// hosts that are given the same limiter; [`Limiter::global`] is the default of every host.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Permits that nobody has; negative for a while after the total was lowered.
    free: AtomicIsize,
    /// Whether anybody waits. A permit that comes back while this is unset goes to `free` and no further.
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
    first: Queue<()>,
    queue: Queue<()>,
}

impl Waiters {
    fn waiting(&self) -> usize {
        self.first.waiting() + self.queue.waiting()
    }

    fn line(&mut self, first: bool) -> &mut Queue<()> {
        if first {
            &mut self.first
        } else {
            &mut self.queue
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

    /// A permit now, or a place in the queue.
    pub(crate) fn acquire(&self) -> Result<Permit, WaitPermit> {
        self.take_or_join(false)
    }

    /// The same for a call that had given its permit back for a while: it goes before those that have not begun.
    pub(crate) fn acquire_first(&self) -> Result<Permit, WaitPermit> {
        self.take_or_join(true)
    }

    #[inline]
    fn take_or_join(&self, first: bool) -> Result<Permit, WaitPermit> {
        if !self.0.contended.load(Ordering::SeqCst) && self.0.take_free() {
            return Ok(Permit(Arc::clone(&self.0)));
        }
        let mut waiters = self.0.lock();
        let place = WaitPermit {
            shared: Arc::clone(&self.0),
            ticket: Some(waiters.line(first).join()),
            first,
            is_only: waiters.waiting() == 1,
        };
        self.0.contended.store(true, Ordering::SeqCst);
        // Whatever came back meanwhile goes to the first in line, who may be this one.
        self.0.serve(waiters);
        place.if_given()
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
        let mut wakers = Vec::new();
        while waiters.waiting() > 0 && self.take_free() {
            let given = waiters.first.give(());
            match given.or_else(|()| waiters.queue.give(())) {
                Ok(waker) => wakers.extend(waker),
                Err(()) => _ = self.free.fetch_add(1, Ordering::SeqCst),
            }
        }
        if waiters.waiting() == 0 {
            self.contended.store(false, Ordering::SeqCst);
        }
        drop(waiters);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn give_back(&self) {
        self.free.fetch_add(1, Ordering::SeqCst);
        if self.contended.load(Ordering::SeqCst) {
            self.serve(self.lock());
        }
    }
}

/// The right to run one call; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Shared>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// A place in a limiter's queue.
#[derive(Debug)]
pub(crate) struct WaitPermit {
    shared: Arc<Shared>,
    ticket: Option<Ticket<()>>,
    first: bool,
    /// Whether nobody else waited when it was taken.
    is_only: bool,
}

impl WaitPermit {
    /// The permit, if the place has been given one.
    fn if_given(mut self) -> Result<Permit, Self> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Ok(permit),
            Poll::Pending => Err(self),
        }
    }

    /// Whether nobody else waited when it began to.
    pub(crate) fn is_only(&self) -> bool {
        self.is_only
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        let Some(ticket) = &self.ticket else {
            return Poll::Pending;
        };
        ticket.poll(cx).map(|()| {
            self.ticket = None;
            Permit(Arc::clone(&self.shared))
        })
    }
}

impl Drop for WaitPermit {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let mut waiters = self.shared.lock();
        let left = waiters.line(self.first).leave(&ticket);
        // Unsets the mark when this was the last one.
        self.shared.serve(waiters);
        if left.value.is_some() {
            self.shared.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(wait: &mut WaitPermit) -> Poll<Permit> {
        wait.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn permits_go_round_in_order_and_none_is_lost() {
        let limiter = Limiter::new(1);
        let first = limiter.acquire().unwrap();
        let mut second = limiter.acquire().unwrap_err();
        let mut third = limiter.acquire().unwrap_err();
        assert_eq!((limiter.available(), limiter.waiting()), (0, 2));
        drop(first);
        assert!(poll(&mut third).is_pending());
        let Poll::Ready(permit) = poll(&mut second) else {
            panic!("the first in line was passed over")
        };
        drop(permit);
        // Given but never polled: dropping the place passes it on.
        drop(third);
        assert_eq!(
            (limiter.available(), limiter.borrowed(), limiter.waiting()),
            (1, 0, 0)
        );
    }

    #[test]
    fn who_lent_a_permit_goes_before_those_who_never_had_one() {
        let limiter = Limiter::new(1);
        let permit = limiter.acquire().unwrap();
        let mut later = limiter.acquire().unwrap_err();
        let mut first = limiter.acquire_first().unwrap_err();
        let mut second = limiter.acquire_first().unwrap_err();
        assert_eq!(limiter.waiting(), 3);
        drop(permit);
        assert!(poll(&mut later).is_pending() && poll(&mut second).is_pending());
        let Poll::Ready(permit) = poll(&mut first) else {
            panic!("who was first was passed over")
        };
        drop(permit);
        assert!(poll(&mut later).is_pending());
        drop(second);
        assert!(poll(&mut later).is_ready());
        assert_eq!((limiter.available(), limiter.waiting()), (1, 0));
    }

    #[test]
    fn a_shrink_takes_effect_as_permits_come_back() {
        let limiter = Limiter::new(2);
        let (a, b) = (limiter.acquire().unwrap(), limiter.acquire().unwrap());
        limiter.set_total(1);
        let mut wait = limiter.acquire().unwrap_err();
        drop(a);
        assert!(poll(&mut wait).is_pending());
        drop(b);
        assert!(poll(&mut wait).is_ready());
        assert_eq!(limiter.borrowed(), 0);
        limiter.set_total(0);
        let mut wait = limiter.acquire().unwrap_err();
        assert!(poll(&mut wait).is_pending());
        limiter.set_total(3);
        assert!(poll(&mut wait).is_ready());
        assert_eq!((limiter.borrowed(), limiter.available()), (0, 3));
    }

    #[test]
    fn no_permit_is_lost_or_made_when_threads_race() {
        const ROUNDS: usize = 20_000;
        let limiter = Limiter::new(2);
        let running = AtomicIsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (limiter, running) = (&limiter, &running);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let permit = match limiter.acquire() {
                            Ok(permit) => permit,
                            // Some leave the queue, given or not.
                            Err(place) if (round + thread) % 3 == 0 => {
                                drop(place);
                                continue;
                            }
                            Err(mut place) => {
                                crate::park::block_on(std::future::poll_fn(|cx| place.poll(cx)))
                            }
                        };
                        assert!(running.fetch_add(1, Ordering::SeqCst) < 2);
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        let end = (limiter.borrowed(), limiter.available(), limiter.waiting());
        assert_eq!(end, (0, 2, 0));
        assert!(!limiter.0.contended.load(Ordering::SeqCst));
    }
}
