//! One worker more than there may be, ready and without a place: whoever is lost or leaves is replaced by it at
//! once, and the next one is forked meanwhile.
//!
//! It is none of the pool's workers until it takes a place: it gets no call, and is counted nowhere.

use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use stockade_wire::sys::fork;

use super::locked::Locked;
use super::{EndReason, Pool, StartFor, State, Worker};
use crate::limits::WorkerType;
use crate::wake::wake_all;

#[derive(Debug, Default)]
pub(super) enum Spare {
    #[default]
    None,
    Ordered,
    Starting(Arc<Worker>),
    Ready(Arc<Worker>),
}

impl Spare {
    fn worker(&self) -> Option<&Arc<Worker>> {
        match self {
            Self::None | Self::Ordered => None,
            Self::Starting(worker) | Self::Ready(worker) => Some(worker),
        }
    }

    fn is(&self, worker: &Worker) -> bool {
        self.worker().is_some_and(|spare| spare.id == worker.id)
    }

    /// The worker, if there is one, which is nobody's then.
    pub(super) fn take(&mut self) -> Option<Arc<Worker>> {
        match std::mem::take(self) {
            Self::None | Self::Ordered => None,
            Self::Starting(worker) | Self::Ready(worker) => Some(worker),
        }
    }

    /// The same, if it is ready; else it stays.
    fn take_ready(&mut self) -> Option<Arc<Worker>> {
        self.is_ready().then(|| self.take()).flatten()
    }

    /// It is dead, or will never be ready. `false` when it is another worker.
    pub(super) fn forget(&mut self, worker: &Worker) -> bool {
        let is = self.is(worker);
        if is {
            *self = Self::None;
        }
        is
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self, Self::Ready(_))
    }
}

impl Pool {
    pub(crate) fn forks(&self) -> bool {
        self.config.worker_type == WorkerType::ForkServer
    }

    /// Whether a spare is to be made; it counts as ordered then.
    fn orders_spare(&self) -> bool {
        let mut state = self.lock();
        state.refill = None;
        let wanted = self.forks()
            && !state.closed
            && !state.is_superseded()
            && matches!(state.spare, Spare::None);
        if wanted {
            state.spare = Spare::Ordered;
        }
        wanted
    }

    /// The spare has a process; it will be ready, or fail.
    pub(super) fn spare_started(&self, worker: &Arc<Worker>) {
        let mut state = self.lock();
        if matches!(state.spare, Spare::Ordered) && !state.closed {
            state.spare = Spare::Starting(Arc::clone(worker));
        } else {
            drop(state);
            worker.condemn();
        }
    }

    pub(super) fn spare_ready(&self, worker: Arc<Worker>) {
        let mut state = self.lock();
        if state.spare.is(&worker) && !worker.is_dead() {
            state.spare = Spare::Ready(worker);
            state.health.started();
        }
    }

    /// None is on its way any more. The next start makes one.
    pub(super) fn spare_failed(&self) {
        let mut state = self.lock();
        if matches!(state.spare, Spare::Ordered) {
            state.spare = Spare::None;
        }
    }

    /// The same, of one that had a process.
    pub(super) fn spare_is_lost(&self, worker: &Worker) {
        self.lock().spare.forget(worker);
    }

    /// The spare, for a call that would have a worker started for it. Waiting for the supervisor to hand it over
    /// takes longer than the call.
    pub(super) fn take_spare<'a>(&self, mut state: Locked<'a>) -> Result<Arc<Worker>, Locked<'a>> {
        let may_start = self.owner == fork::generation()
            && !state.closed
            && !state.is_superseded()
            && state.queue.waiting() == 0
            && state.staying() + state.ordered < self.workers_max(&state);
        let Some(worker) = may_start.then(|| state.spare.take_ready()).flatten() else {
            return Err(state);
        };
        self.refill_soon(&mut state);
        // If it died just now, the pool is told as of any other that had no call.
        state.alive.push(Arc::clone(&worker));
        self.ends.count_start();
        drop(state);
        worker.takes_place();
        Ok(worker)
    }

    /// A worker has come, and no spare is left or on its way.
    pub(crate) fn refill_later(&self) {
        self.refill_soon(&mut self.lock());
    }

    /// Not put off by those that come meanwhile, or a host whose workers come often would have no spare.
    fn refill_soon(&self, state: &mut State) {
        if state.refill.is_none() {
            let soon = Instant::now() + REFILL_AFTER;
            let refill = Waker::from(Arc::new(Refill(Weak::clone(&self.myself))));
            state.refill = Some(self.supervisor.wake_at(soon, refill));
        }
    }

    fn refill_spare(&self) {
        if self.orders_spare() {
            self.supervisor.spawn_worker(&self.myself, StartFor::Spare);
        }
    }

    /// Gives the spare the place of a worker that was ordered.
    pub(crate) fn takes_spare(&self) -> bool {
        let mut state = self.lock();
        if state.closed {
            return false;
        }
        let Some(worker) = state.spare.take_ready() else {
            return false;
        };
        // If it died just now, the pool is told as of any other that had no call.
        state.ordered -= 1;
        state.alive.push(Arc::clone(&worker));
        drop(state);
        self.ends.count_start();
        worker.takes_place();
        self.enlist(worker);
        true
    }

    /// The spare is as old as it may be, or nobody has needed it for long. `false` when it is another worker.
    pub(super) fn relieve_spare(&self, worker: &Arc<Worker>, reason: EndReason) -> bool {
        let mut state = self.lock();
        if !state.spare.is(worker) {
            return false;
        }
        let needed = !state.alive.is_empty();
        if reason == EndReason::Idle && needed {
            drop(state);
            worker.slot().stay();
            return true;
        }
        let spare = state.spare.take();
        if needed {
            state.spare = Spare::Ordered;
        }
        drop(state);
        if let Some(spare) = spare {
            spare.dismiss(&self.supervisor, reason);
        }
        if needed {
            self.supervisor.spawn_worker(&self.myself, StartFor::Spare);
        }
        true
    }

    /// The fork server is there.
    pub(crate) fn server_comes(&self) {
        self.lock().has_server = true;
    }

    /// The fork server is gone, after all that it had forked.
    pub(crate) fn server_is_gone(&self) {
        let mut state = self.lock();
        state.has_server = false;
        let wakers = state.end_closing();
        drop(state);
        wake_all(wakers);
    }
}

impl State {
    /// Nobody will need the spare any more. It is to be condemned when the lock is released.
    pub(super) fn let_spare_go(&mut self) -> Option<Arc<Worker>> {
        let spare = self.spare.take();
        if let (Some(_), Some(closing)) = (&spare, &mut self.closing) {
            closing.spare += 1;
        }
        spare
    }
}

/// When the next spare is made: the call that has the worker which came before is over by then, if it is short. Until
/// then all of them would want the same CPUs.
const REFILL_AFTER: Duration = Duration::from_millis(2);

/// Makes the next spare.
struct Refill(Weak<Pool>);

impl Wake for Refill {
    fn wake(self: Arc<Self>) {
        if let Some(pool) = self.0.upgrade() {
            pool.refill_spare();
        }
    }
}
