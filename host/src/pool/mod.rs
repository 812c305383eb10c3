//! A host's workers, and the calls that wait for one.

mod in_flight;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use stockade_wire::message::WorkerSetup;
use stockade_wire::slot::Geometry;
use stockade_wire::sys::fork;

pub(crate) use in_flight::{InFlight, Outcome};
pub(crate) use worker::{Budget, Worker};

use crate::config::Config;
use crate::fair::{Queue, Ticket};
use crate::functions::Functions;
use crate::process::Program;
use crate::supervisor::Membership;
use crate::{Error, Stats};

/// What a pool needs to start workers.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) program: Arc<Program>,
    pub(crate) artifact: OwnedFd,
    pub(crate) geometry: Geometry,
    /// But for the worker's number.
    pub(crate) setup: WorkerSetup,
}

/// A host's workers.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) config: Config,
    pub(crate) functions: Functions,
    pub(crate) supervisor: Membership,
    /// Calls that wait for a permit or a worker.
    pub(crate) waiting: AtomicUsize,
    recipe: Recipe,
    next_worker: AtomicU64,
    myself: Weak<Pool>,
    /// In a fork of the application the workers are the parent's.
    owner: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The one that served last is last.
    idle: Vec<Arc<Worker>>,
    /// Every worker whose process has been started and is not known to be dead.
    alive: Vec<Arc<Worker>>,
    /// Workers that were asked for and have no process yet.
    ordered: usize,
    /// Workers that were asked for and are not ready yet, those without a process included.
    coming: usize,
    /// Calls that wait for a worker.
    queue: Queue<Result<Arc<Worker>, StartError>>,
    closed: bool,
    /// Of detached calls that wait for a permit.
    to_wake_on_close: Vec<Waker>,
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
    pub(crate) fn new(
        config: Config,
        functions: Functions,
        supervisor: Membership,
        recipe: Recipe,
    ) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            config,
            functions,
            supervisor,
            waiting: AtomicUsize::new(0),
            recipe,
            next_worker: AtomicU64::new(1),
            myself: Weak::clone(myself),
            owner: fork::generation(),
            state: Mutex::new(State {
                idle: Vec::new(),
                alive: Vec::new(),
                ordered: 0,
                coming: 0,
                queue: Queue::new(),
                closed: false,
                to_wake_on_close: Vec::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    pub(crate) fn next_worker_id(&self) -> u64 {
        self.next_worker.fetch_add(1, Ordering::Relaxed)
    }

    /// An idle worker now, or a place in the queue for one.
    pub(crate) fn acquire(self: &Arc<Self>) -> Result<Lease, WaitWorker> {
        let mut state = self.lock();
        if state.queue.waiting() == 0
            && self.owner == fork::generation()
            && let Some(worker) = state.idle.pop()
        {
            return Ok(Lease(Some(worker)));
        }
        let ticket = state.queue.join();
        if state.closed || self.owner != fork::generation() {
            let _told = state.queue.give(Err(StartError::Error(Error::Closed)));
        }
        self.start_what_is_wanted(&mut state);
        Err(WaitWorker {
            pool: Arc::clone(self),
            ticket: Some(ticket),
        })
    }

    /// Starts as many workers as calls wait for one, within what is allowed.
    fn start_what_is_wanted(&self, state: &mut State) {
        while !state.closed
            && self.owner == fork::generation()
            && state.coming < state.queue.waiting()
            && state.alive.len() + state.ordered < self.config.workers
        {
            state.ordered += 1;
            state.coming += 1;
            self.supervisor.spawn_worker(&self.myself);
        }
    }

    /// A worker is free: for whoever waits longest, else for the next call.
    pub(crate) fn release(&self, worker: Arc<Worker>) {
        self.release_locked(self.lock(), worker);
    }

    fn release_locked(&self, mut state: MutexGuard<'_, State>, worker: Arc<Worker>) {
        // A worker may die while a call that then fails to encode has it.
        if state.closed || worker.is_dead() {
            return;
        }
        match state.queue.give(Ok(worker)) {
            Ok(waker) => {
                drop(state);
                waker.into_iter().for_each(Waker::wake);
            }
            Err(worker) => state.idle.extend(worker.ok()),
        }
    }

    /// Its process has been started; it will be ready, or fail.
    pub(crate) fn worker_started(&self, worker: &Arc<Worker>) {
        let mut state = self.lock();
        state.ordered -= 1;
        if state.closed {
            drop(state);
            worker.condemn();
            return;
        }
        state.alive.push(Arc::clone(worker));
    }

    /// No process could be started.
    pub(crate) fn worker_not_started(&self, error: &std::io::Error) {
        let reason = format!("cannot start {}: {error}", self.recipe.program.shown());
        let mut state = self.lock();
        state.ordered -= 1;
        self.fail_one(state, StartError::Error(Error::Spawn { reason }));
    }

    /// It is ready for its first call.
    pub(crate) fn worker_ready(&self, worker: Arc<Worker>) {
        let mut state = self.lock();
        state.coming -= 1;
        self.release_locked(state, worker);
    }

    /// It will never be ready. One waiting call is told, because each start was made for one; the others
    /// get starts of their own.
    pub(crate) fn worker_failed(&self, worker: &Worker, error: StartError) {
        let mut state = self.lock();
        state.alive.retain(|other| other.id != worker.id);
        self.fail_one(state, error);
    }

    fn fail_one(&self, mut state: MutexGuard<'_, State>, error: StartError) {
        state.coming -= 1;
        let waker = state.queue.give(Err(error)).ok().flatten();
        self.start_what_is_wanted(&mut state);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Its process, which had been ready, is dead.
    pub(crate) fn worker_died(&self, worker: &Worker) {
        let mut state = self.lock();
        state.alive.retain(|other| other.id != worker.id);
        state.idle.retain(|other| other.id != worker.id);
        self.start_what_is_wanted(&mut state);
    }

    /// Whether the pool is closed; if not, the task is woken when it is.
    pub(crate) fn is_closed_or_wakes(&self, cx: &Context<'_>) -> bool {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if !state.closed {
            state
                .to_wake_on_close
                .retain(|other| !other.will_wake(&waker));
            state.to_wake_on_close.push(waker);
        }
        state.closed
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

    pub(crate) fn stats(&self) -> Stats {
        let workers = self.lock().alive.clone();
        Stats {
            workers: workers.iter().map(|worker| worker.stats()).collect(),
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }

    /// Kills every worker and tells every call.
    pub(crate) fn shut_down(&self) {
        let mut state = self.lock();
        state.closed = true;
        let workers = std::mem::take(&mut state.alive);
        state.idle.clear();
        let mut wakers = std::mem::take(&mut state.to_wake_on_close);
        while let Ok(waker) = state.queue.give(Err(StartError::Error(Error::Closed))) {
            wakers.extend(waker);
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        for worker in workers {
            worker.condemn();
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
    fn into_worker(mut self) -> Arc<Worker> {
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
