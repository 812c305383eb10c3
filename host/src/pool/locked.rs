//! A pool's state, while one thread has it to itself.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::{Pool, State, Worker};

/// The pool's lock, with no idle worker outside of it.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    pool: &'a Pool,
    state: MutexGuard<'a, State>,
}

impl Pool {
    /// The whole state.
    pub(super) fn lock(&self) -> Locked<'_> {
        let mut state = self.lock_around_hot();
        if self.hot.shut()
            && let Some(worker) = self.hot.take()
        {
            self.cool(&mut state, worker);
        }
        Locked { pool: self, state }
    }

    /// The state but for what is in the hot place, and others may still go past the lock.
    fn lock_around_hot(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was true of a worker when it was put into the hot place need not be any more.
    fn cool(&self, state: &mut State, worker: Arc<Worker>) {
        if worker.is_gone() {
            return;
        }
        match worker.spent() {
            None => state.idle.push(worker),
            Some(reason) => {
                if worker.begin_leaving() {
                    state.leaving += 1;
                }
                worker.dismiss(&self.supervisor, reason);
            }
        }
    }

    /// An idle worker, if nothing stands against taking one.
    pub(super) fn take_idle(&self) -> Option<Arc<Worker>> {
        let mut state = self.lock_around_hot();
        self.hot.pass()?;
        state.idle.pop()
    }

    /// Lets a worker be idle, if nothing stands against that.
    pub(super) fn put_idle(&self, worker: Arc<Worker>) -> Result<(), Arc<Worker>> {
        let mut state = self.lock_around_hot();
        if self.hot.pass().is_none() || worker.is_gone() || worker.spent().is_some() {
            return Err(worker);
        }
        state.idle.push(worker);
        Ok(())
    }

    /// Whether a worker that is free has nothing to do but to wait for a call, and a call that comes nothing but to
    /// take it.
    fn is_calm(&self, state: &State) -> bool {
        !state.closed
            && !state.is_superseded()
            && state.queue.waiting() == 0
            && !self.has_surplus(state)
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if self.pool.is_calm(&self.state) {
            self.pool.hot.open();
        }
    }
}
