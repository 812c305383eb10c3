//! Which workers are started, and what becomes of each start.

use std::sync::{Arc, Weak};
use std::task::{Poll, Wake, Waker};
use std::time::Instant;

use stockade_wire::sys::fork;

use super::locked::Locked;
use super::{EndReason, Pool, State, Worker};
use crate::Error;
use crate::wake::wake_all;

/// Why a worker is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartFor {
    /// A call waits for one.
    Call,
    /// So that there is one.
    Pool,
    /// So that there is one more than there may be: it takes the place of another.
    Spare,
}

/// Why a worker did not come up.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The artifact does not suit the worker program.
    Artifact(String),
    /// Anything else.
    Error(Error),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Artifact(reason) => Self::Spawn { reason },
            StartError::Error(error) => error,
        }
    }
}

impl Pool {
    /// Starts as many workers as calls wait for one, within what is allowed, and as many as there are to be
    /// in any case.
    pub(super) fn start_what_is_wanted(&self, state: &mut State) {
        if state.closed || self.owner != fork::generation() {
            return;
        }
        let least = self.least(state);
        if let Some((until, _)) = state.health.pause() {
            if state.queue.waiting() == 0 && state.staying() >= least {
                return;
            }
            let again = Waker::from(Arc::new(Retry(Weak::clone(&self.myself))));
            state.retry = Some(self.supervisor.wake_at(until, again));
            return;
        }
        while state.coming < state.queue.waiting()
            && state.staying() + state.ordered < self.workers_max(state)
        {
            self.order(state, StartFor::Call);
        }
        while state.staying() + state.ordered < least {
            self.order(state, StartFor::Pool);
        }
    }

    /// How many workers there are to be in any case.
    pub(super) fn least(&self, state: &State) -> usize {
        match state.is_superseded() {
            true => 0,
            false => self.config.min_workers,
        }
    }

    pub(super) fn order(&self, state: &mut State, why: StartFor) {
        state.ordered += 1;
        state.coming += 1;
        self.supervisor.spawn_worker(&self.myself, why);
    }

    /// Starts what is missing of the workers that are always there.
    pub(crate) fn keep_min_workers(&self) {
        self.start_what_is_wanted(&mut self.lock());
    }

    /// Has `n` workers ready.
    pub(crate) async fn warm(&self, n: usize) -> Result<(), Error> {
        if n > self.config.workers {
            let reason = format!(
                "{n} workers are more than `workers`, which is {}: raise that or warm fewer",
                self.config.workers
            );
            return Err(Error::config("warm", reason));
        }
        let before = self.lock().health.failures();
        std::future::poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.lock();
            if state.closed || self.owner != fork::generation() {
                return Poll::Ready(Err(Error::Closed));
            }
            if state.ready() >= n {
                return Poll::Ready(Ok(()));
            }
            let paused = state.health.pause().map(|(_, error)| error);
            if let Some(error) = state.health.failed_since(before).or(paused) {
                return Poll::Ready(Err(error.into()));
            }
            while state.staying() + state.ordered < n {
                self.order(&mut state, StartFor::Pool);
            }
            state.to_wake_when_ready.push(waker);
            Poll::Pending
        })
        .await
    }

    /// Its process has been started; it will be ready, or fail.
    pub(crate) fn worker_started(&self, worker: &Arc<Worker>) {
        if worker.started_for() == StartFor::Spare {
            return self.spare_started(worker);
        }
        self.ends.count_start();
        let mut state = self.lock();
        state.ordered -= 1;
        state.alive.push(Arc::clone(worker));
        if state.closed {
            drop(state);
            worker.condemn();
        }
    }

    /// No process could be started.
    pub(crate) fn worker_not_started(&self, error: &std::io::Error, why: StartFor) {
        let reason = format!("cannot start {}: {error}", self.recipe.program.shown());
        self.start_failed(StartError::Error(Error::Spawn { reason }), why);
    }

    /// A worker that was ordered will have no process.
    pub(crate) fn start_failed(&self, error: StartError, why: StartFor) {
        if why == StartFor::Spare {
            return self.spare_failed();
        }
        let mut state = self.lock();
        state.ordered -= 1;
        self.fail_one(state, error, why);
    }

    /// It is ready for its first call.
    pub(crate) fn worker_ready(&self, worker: Arc<Worker>) {
        match worker.started_for() {
            StartFor::Spare => self.spare_ready(worker),
            StartFor::Call | StartFor::Pool => self.enlist(worker),
        }
    }

    /// One that was on its way has come.
    pub(super) fn enlist(&self, worker: Arc<Worker>) {
        let mut state = self.lock();
        state.coming -= 1;
        state.health.started();
        let wakers = std::mem::take(&mut state.to_wake_when_ready);
        let replaced =
            std::iter::from_fn(|| state.retiring.pop_front()).find(|(old, _)| !old.is_gone());
        let is_successor = replaced.is_some();
        let replaced = replaced.filter(|(old, reason)| {
            old.spend(*reason);
            let place = state.idle.iter().position(|other| other.id == old.id);
            // One that has a call goes when that is over.
            place.map(|place| state.idle.remove(place)).is_some()
        });
        if !is_successor && self.has_surplus(&state) {
            self.let_go(state, &worker, EndReason::Idle);
        } else {
            self.release_locked(state, worker);
        }
        if let Some((old, reason)) = replaced {
            let state = self.lock();
            // Or it would be counted among those that leave for ever.
            if !old.is_dead() {
                self.let_go(state, &old, reason);
            }
        }
        wake_all(wakers);
    }

    /// It will never be ready. One waiting call is told if the start was made for one; the others get
    /// starts of their own.
    pub(crate) fn worker_failed(&self, worker: &Worker, error: StartError) {
        if worker.started_for() == StartFor::Spare {
            return self.spare_is_lost(worker);
        }
        self.ends.count(EndReason::NotReady);
        let mut state = self.lock();
        state.alive.retain(|other| other.id != worker.id);
        self.fail_one(state, error, worker.started_for());
    }

    fn fail_one(&self, mut state: Locked<'_>, error: StartError, why: StartFor) {
        state.coming -= 1;
        state.health.failed(&error, Instant::now());
        let mut wakers = std::mem::take(&mut state.to_wake_when_ready);
        match why {
            StartFor::Call => wakers.extend(state.queue.give(Err(error)).ok().flatten()),
            // Of a worker that is to be replaced: it serves on, and asks again.
            StartFor::Pool | StartFor::Spare => {
                if let Some((old, _)) = state.retiring.pop_front() {
                    old.retires_not();
                }
            }
        }
        self.go_on_without(state, wakers);
    }

    /// There is one worker less than there was, or was to be.
    pub(super) fn go_on_without(&self, mut state: Locked<'_>, mut wakers: Vec<Waker>) {
        self.tell_if_hopeless(&mut state, &mut wakers);
        self.start_what_is_wanted(&mut state);
        wakers.extend(state.end_closing());
        let gone = state.let_pool_go();
        drop(state);
        drop(gone);
        wake_all(wakers);
    }

    /// While no worker is started and there is none, calls do not wait.
    fn tell_if_hopeless(&self, state: &mut State, wakers: &mut Vec<Waker>) {
        while state.ready() == 0
            && state.queue.waiting() > 0
            && let Some((_, error)) = state.health.pause()
        {
            wakers.extend(state.queue.give(Err(error)).ok().flatten());
        }
    }

    /// Whether workers are on their way up.
    pub(crate) fn is_starting(&self) -> bool {
        self.lock().coming > 0
    }

    /// Whether a worker is on its way up for each call that waits for one.
    pub(crate) fn starts_for_everybody(&self) -> bool {
        let state = self.lock();
        state.coming >= state.queue.waiting()
    }
}

/// Ends a pause.
struct Retry(Weak<Pool>);

impl Wake for Retry {
    fn wake(self: Arc<Self>) {
        if let Some(pool) = self.0.upgrade() {
            pool.keep_min_workers();
        }
    }
}
