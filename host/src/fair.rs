//! A first-in-first-out queue of waiting tasks, each given at most one value.
//!
//! Owns only the order, and what each place is labelled with. A value that was given to a waiter which then leaves comes back from
//! [`Queue::leave`], so nothing is lost between the two.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
pub(crate) struct Queue<T, L = ()> {
    places: VecDeque<(Arc<Place<T>>, L)>,
    /// How many of them still wait.
    waiting: usize,
}

#[derive(Debug)]
struct Place<T>(Mutex<Stage<T>>);

#[derive(Debug)]
enum Stage<T> {
    Waiting(Option<Waker>),
    Given(T),
    Left,
}

/// A place in a queue. Whoever drops it without [`Ticket::leave`] keeps the place occupied.
#[derive(Debug)]
pub(crate) struct Ticket<T>(Arc<Place<T>>);

impl<T> Place<T> {
    fn stage(&self) -> std::sync::MutexGuard<'_, Stage<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, L> Queue<T, L> {
    pub(crate) fn new() -> Self {
        Self {
            places: VecDeque::new(),
            waiting: 0,
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a place at the end.
    pub(crate) fn join(&mut self, label: L) -> Ticket<T> {
        let place = Arc::new(Place(Mutex::new(Stage::Waiting(None))));
        self.places.push_back((Arc::clone(&place), label));
        self.waiting += 1;
        Ticket(place)
    }

    /// Gives `value` to the first that waits and returns its waker, to be woken once the queue's lock is
    /// released; or returns the value, when nobody waits.
    pub(crate) fn give(&mut self, value: T) -> Result<Option<Waker>, T> {
        while let Some((place, _)) = self.places.pop_front() {
            let mut stage = place.stage();
            if let Stage::Waiting(waker) = &mut *stage {
                let waker = waker.take();
                *stage = Stage::Given(value);
                self.waiting -= 1;
                return Ok(waker);
            }
        }
        Err(value)
    }

    /// The label of the first that waits.
    pub(crate) fn front(&mut self) -> Option<&L> {
        if self.waiting == 0 {
            return None;
        }
        while let Some((place, _)) = self.places.front()
            && !matches!(*place.stage(), Stage::Waiting(_))
        {
            self.places.pop_front();
        }
        self.places.front().map(|(_, label)| label)
    }

    /// Gives a value to the first that waits, if `choose` has one for its label and its waker.
    pub(crate) fn give_if(
        &mut self,
        choose: impl FnOnce(&L, &mut Option<Waker>) -> Option<T>,
    ) -> bool {
        while let Some((place, label)) = self.places.front() {
            let mut stage = place.stage();
            if let Stage::Waiting(waker) = &mut *stage {
                let Some(value) = choose(label, waker) else {
                    return false;
                };
                *stage = Stage::Given(value);
                drop(stage);
                self.waiting -= 1;
                self.places.pop_front();
                return true;
            }
            drop(stage);
            self.places.pop_front();
        }
        false
    }

    /// Gives up a place.
    pub(crate) fn leave(&mut self, ticket: &Ticket<T>) -> Left<T> {
        let stage = std::mem::replace(&mut *ticket.0.stage(), Stage::Left);
        match stage {
            Stage::Waiting(_waker) => {
                self.waiting -= 1;
                // Abandoned places are skipped by `give`; they must not pile up behind one patient waiter.
                if self.places.len() > 2 * self.waiting + 16 {
                    self.places
                        .retain(|(place, _)| matches!(*place.stage(), Stage::Waiting(_)));
                }
                Left {
                    value: None,
                    _waker,
                }
            }
            Stage::Given(value) => Left {
                value: Some(value),
                _waker: None,
            },
            Stage::Left => Left {
                value: None,
                _waker: None,
            },
        }
    }
}

/// What is left of a place that was given up. To be dropped when the queue's lock is released: a waker is
/// the application's code.
#[derive(Debug)]
#[must_use]
pub(crate) struct Left<T> {
    /// What the place had been given.
    pub(crate) value: Option<T>,
    _waker: Option<Waker>,
}

impl<T> Ticket<T> {
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        // Dropped after the lock, which is taken below.
        let mut _replaced = None;
        let mut stage = self.0.stage();
        match std::mem::replace(&mut *stage, Stage::Left) {
            Stage::Given(value) => Poll::Ready(value),
            Stage::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => {
                *stage = Stage::Waiting(Some(waker));
                Poll::Pending
            }
            Stage::Waiting(old) => {
                _replaced = old;
                *stage = Stage::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
            Stage::Left => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<T>(ticket: &Ticket<T>) -> Poll<T> {
        ticket.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn values_go_to_the_first_that_still_waits() {
        let mut queue = Queue::new();
        let tickets: Vec<_> = (0..3).map(|_| queue.join(())).collect();
        assert!(poll(&tickets[0]).is_pending());
        assert_eq!(queue.leave(&tickets[0]).value, None);
        assert!(queue.give('a').is_ok());
        assert_eq!(queue.waiting(), 1);
        assert_eq!(poll(&tickets[1]), Poll::Ready('a'));
        assert!(queue.give('b').is_ok());
        assert_eq!(queue.leave(&tickets[2]).value, Some('b'));
        assert_eq!(queue.give('c').unwrap_err(), 'c');
    }

    #[test]
    fn abandoned_places_do_not_pile_up() {
        let mut queue = Queue::<(), ()>::new();
        let _patient = queue.join(());
        for _ in 0..10_000 {
            let ticket = queue.join(());
            let _ = queue.leave(&ticket);
        }
        assert!(queue.places.len() < 100);
        assert_eq!(queue.waiting(), 1);
    }
}
