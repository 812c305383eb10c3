//! Taking a worker for a call, and giving it back.

use std::sync::Arc;
use std::task::{Context, Poll};

use stockade_wire::sys::fork;

use super::locked::Locked;
use super::{EndReason, Pool, StartError, State, Worker};
use crate::Error;
use crate::fair::Ticket;
use crate::wake::wake_all;

impl Pool {
    /// An idle worker or the spare now, or a place in the queue for one, which may have been given one already.
    #[inline]
    pub(crate) fn acquire(self: &Arc<Self>) -> Result<Lease, WaitWorker> {
        if let Some(pass) = self.hot.pass()
            && self.owner == fork::generation()
            && let Some(worker) = self.hot.take()
        {
            if self.hot.is_valid(pass) || self.may_keep(&worker) {
                return Ok(Lease(Some(worker)));
            }
            self.release(worker);
        }
        self.acquire_locked()
    }

    /// Whether whoever has just taken a worker from the hot place, past a gate that was shut meanwhile, may keep it:
    /// nobody who came before is waiting by now.
    #[cold]
    fn may_keep(&self, worker: &Worker) -> bool {
        let state = self.lock();
        state.queue.waiting() == 0 && !state.closed && !state.is_superseded() && !worker.is_gone()
    }

    fn acquire_locked(self: &Arc<Self>) -> Result<Lease, WaitWorker> {
        if self.owner == fork::generation()
            && let Some(worker) = self.take_idle()
        {
            return Ok(Lease(Some(worker)));
        }
        let mut state = self.lock();
        if state.queue.waiting() == 0
            && self.owner == fork::generation()
            && let Some(worker) = state.idle.pop()
        {
            return Ok(Lease(Some(worker)));
        }
        let mut state = match self.take_spare(state) {
            Ok(worker) => return Ok(Lease(Some(worker))),
            Err(state) => state,
        };
        let ticket = state.queue.join(());
        if state.closed || self.owner != fork::generation() {
            let _told = state.queue.give(Err(StartError::Error(Error::Closed)));
        } else if state.ready() == 0
            && let Some((_, error)) = state.health.pause()
        {
            let _told = state.queue.give(Err(error));
        } else if let Some((worker, id)) = self.attend_stop(&state) {
            drop(state);
            worker.await_stop(id);
            state = self.lock();
        }
        self.start_what_is_wanted(&mut state);
        Err(WaitWorker {
            pool: Arc::clone(self),
            ticket: Some(ticket),
        })
    }

    /// A worker whose call is being stopped, for the only one who waits for one.
    fn attend_stop(&self, state: &State) -> Option<(Arc<Worker>, u64)> {
        let is_next = state.queue.waiting() <= 1 && self.owner == fork::generation();
        is_next.then(|| state.alive.iter().find_map(Worker::attend_stop))?
    }

    /// Looks after a call that is being stopped, for a moment: whoever waits may find its permit free then.
    pub(crate) fn await_stop(&self) {
        let attended = self.attend_stop(&self.lock());
        if let Some((worker, id)) = attended {
            worker.await_stop(id);
        }
    }

    /// A worker is free: for whoever waits longest, else for the next call.
    #[inline]
    pub(crate) fn release(&self, worker: Arc<Worker>) {
        let pass = self.hot.pass();
        let Some(pass) = pass.filter(|_| !worker.is_gone() && worker.spent().is_none()) else {
            return self.release_looking(worker);
        };
        let worker = match self.hot.is_taken() {
            false => worker,
            true => match self.put_idle(worker) {
                Ok(()) => return,
                Err(worker) => return self.release_looking(worker),
            },
        };
        if let Some(displaced) = self.hot.put(worker)
            && let Err(displaced) = self.put_idle(displaced)
        {
            self.release_looking(displaced);
        }
        if !self.hot.is_valid(pass)
            && let Some(worker) = self.hot.take()
        {
            self.release_looking(worker);
        }
    }

    /// The same with a look at everything that may stand against the worker being idle.
    fn release_looking(&self, worker: Arc<Worker>) {
        let state = self.lock();
        if self.has_surplus(&state) && !worker.is_gone() {
            // Its successor may be what makes it one too many.
            let reason = worker.spent().unwrap_or(EndReason::Idle);
            return self.let_go(state, &worker, reason);
        }
        self.release_locked(state, worker);
    }

    pub(super) fn release_locked(&self, mut state: Locked<'_>, worker: Arc<Worker>) {
        // A worker may die, or be killed, while a call that then fails to encode has it.
        if worker.is_gone() {
            return;
        }
        if state.closed {
            return self.let_go(state, &worker, EndReason::Closed);
        }
        if let Some(reason) = worker.spent() {
            return self.let_go(state, &worker, reason);
        }
        if state.is_superseded() && state.queue.waiting() == 0 {
            return self.let_go(state, &worker, EndReason::Reloaded);
        }
        match state.queue.give(Ok(worker)) {
            Ok(waker) => {
                drop(state);
                wake_all(waker);
            }
            Err(worker) => state.idle.extend(worker.ok()),
        }
    }
}

/// A worker that is about to be given a call; returned to the pool when dropped.
#[derive(Debug)]
pub(crate) struct Lease(Option<Arc<Worker>>);

impl Lease {
    pub(crate) fn worker(&self) -> &Arc<Worker> {
        self.0.as_ref().expect("taken only by `into_worker`")
    }

    /// The worker, which has a call now and returns to the pool by itself, or is about to die.
    pub(super) fn into_worker(mut self) -> Arc<Worker> {
        self.0.take().expect("a lease ends once")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(worker) = self.0.take() {
            worker.go_back();
        }
    }
}

/// A place in the queue for a worker.
#[derive(Debug)]
pub(crate) struct WaitWorker {
    pool: Arc<Pool>,
    ticket: Option<Ticket<Result<Arc<Worker>, StartError>>>,
}

impl WaitWorker {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Lease, StartError>> {
        let Some(ticket) = &self.ticket else {
            return Poll::Pending;
        };
        ticket.poll(cx).map(|given| {
            self.ticket = None;
            given.map(|worker| Lease(Some(worker)))
        })
    }
}

impl Drop for WaitWorker {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let left = self.pool.lock().queue.leave(&ticket);
        if let Some(Ok(worker)) = left.value {
            self.pool.release(worker);
        }
    }
}
