//! How a pool goes whose host goes on with another one: its calls first, then its workers, counted to the
//! last.

use std::sync::Arc;
use std::time::Instant;

use super::locked::Locked;
use super::{EndReason, Pool, State};
use crate::wake::wake_all;

/// Where a pool stands in the life of its host.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The host goes on when this pool is gone, so its workers end in good order.
    host_goes_on: bool,
    /// No new calls will come but those that were made already.
    superseded: bool,
    /// Nobody is left who holds it in service.
    out_of_service: bool,
    /// Calls that do not hold it in service, and may end all the same.
    detached: usize,
    /// Itself, so that it sees its last worker's end.
    until_gone: Option<Arc<Pool>>,
}

impl Standing {
    /// Of a pool that is being made for a host that has another one.
    pub(super) fn successor() -> Self {
        Self {
            host_goes_on: true,
            ..Self::default()
        }
    }
}

impl State {
    /// Whether a worker without a call is of no use any more.
    pub(super) fn is_superseded(&self) -> bool {
        self.standing.superseded
    }

    /// The pool, if it kept itself until now. To be dropped when the lock is released.
    pub(super) fn let_pool_go(&mut self) -> Option<Arc<Pool>> {
        let gone = !self.has_any() && self.ordered == 0;
        gone.then(|| self.standing.until_gone.take()).flatten()
    }
}

impl Pool {
    /// It is what new calls get.
    pub(crate) fn enter_service(&self) {
        self.lock().standing.host_goes_on = false;
    }

    /// Another one is what new calls get.
    pub(crate) fn supersede(&self) {
        let mut state = self.lock();
        state.standing.host_goes_on = true;
        state.standing.superseded = true;
        let idle = std::mem::take(&mut state.idle);
        state.leaving += idle.iter().filter(|worker| worker.begin_leaving()).count();
        let spare = state.let_spare_go();
        drop(state);
        if let Some(spare) = spare {
            spare.condemn();
        }
        for worker in idle {
            worker.dismiss(&self.supervisor, EndReason::Reloaded);
        }
    }

    /// Nobody holds it in service any more.
    pub(crate) fn leave_service(&self) {
        let mut state = self.lock();
        if !state.standing.host_goes_on {
            drop(state);
            return self.shut_down();
        }
        state.standing.out_of_service = true;
        self.wind_down(state);
    }

    /// The host does not go on: what still runs ends with it.
    pub(crate) fn host_is_gone(&self) {
        let mut state = self.lock();
        state.standing.host_goes_on = false;
        let out_of_service = state.standing.out_of_service;
        drop(state);
        if out_of_service {
            self.shut_down();
        }
    }

    /// Lets every worker end, unless there are detached calls.
    fn wind_down(&self, mut state: Locked<'_>) {
        let standing = &state.standing;
        if state.closed
            || !standing.host_goes_on
            || !standing.out_of_service
            || standing.detached > 0
        {
            return;
        }
        let wakers = self.turn_away(&mut state);
        let workers = state.alive.clone();
        let spare = state.let_spare_go();
        if state.has_any() || state.ordered > 0 {
            state.standing.until_gone = self.myself.upgrade();
        }
        drop(state);
        wake_all(wakers);
        if let Some(spare) = spare {
            spare.condemn();
        }
        let now = Instant::now();
        for worker in workers {
            worker.close(&self.supervisor, now, EndReason::Reloaded);
        }
    }
}

/// A detached call's hold of its pool.
#[derive(Debug)]
pub(crate) struct Detached(Arc<Pool>);

impl Detached {
    pub(crate) fn new(pool: &Arc<Pool>) -> Self {
        pool.lock().standing.detached += 1;
        Self(Arc::clone(pool))
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Clone for Detached {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.standing.detached -= 1;
        self.0.wind_down(state);
    }
}
