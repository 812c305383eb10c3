//! How many calls may run at once.

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
struct Shared(Mutex<Permits>);

#[derive(Debug)]
struct Permits {
    total: usize,
    borrowed: usize,
    queue: Queue<()>,
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
        Self(Arc::new(Shared(Mutex::new(Permits {
            total,
            borrowed: 0,
            queue: Queue::new(),
        }))))
    }

    /// Changes the number of permits. Fewer take effect as calls end; nothing is stopped.
    pub fn set_total(&self, total: usize) {
        let mut permits = self.0.lock();
        permits.total = total;
        let mut wakers = Vec::new();
        while permits.borrowed < permits.total {
            match permits.queue.give(()) {
                Ok(waker) => {
                    permits.borrowed += 1;
                    wakers.extend(waker);
                }
                Err(()) => break,
            }
        }
        drop(permits);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The number of permits.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.lock().total
    }

    /// How many are in use; more than [`Self::total`] for a while after that was lowered.
    #[must_use]
    pub fn borrowed(&self) -> usize {
        self.0.lock().borrowed
    }

    /// How many are free.
    #[must_use]
    pub fn available(&self) -> usize {
        let permits = self.0.lock();
        permits.total.saturating_sub(permits.borrowed)
    }

    /// How many calls wait for one.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.lock().queue.waiting()
    }

    /// A permit now, or a place in the queue.
    pub(crate) fn acquire(&self) -> Result<Permit, WaitPermit> {
        let mut permits = self.0.lock();
        if permits.borrowed < permits.total && permits.queue.waiting() == 0 {
            permits.borrowed += 1;
            return Ok(Permit(Arc::clone(&self.0)));
        }
        let ticket = permits.queue.join();
        Err(WaitPermit {
            shared: Arc::clone(&self.0),
            ticket: Some(ticket),
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Permits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self) {
        let mut permits = self.lock();
        if permits.borrowed <= permits.total
            && let Ok(waker) = permits.queue.give(())
        {
            drop(permits);
            if let Some(waker) = waker {
                waker.wake();
            }
            return;
        }
        permits.borrowed -= 1;
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
}

impl WaitPermit {
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
        let left = self.shared.lock().queue.leave(&ticket);
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
    }
}
