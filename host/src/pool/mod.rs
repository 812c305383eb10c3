//! A host's workers, and the calls that wait for one.

mod closing;
mod counters;
mod ends;
mod health;
mod hot;
mod in_flight;
mod lease;
mod locked;
mod recipe;
mod seen_walls;
mod spare;
mod starts;
mod succession;
mod tally;
mod worker;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::Waker;
use std::time::Instant;

use stockade_wire::sys::fork;

pub(crate) use closing::CloseWatch;
pub(crate) use counters::Counters;
pub(crate) use ends::EndReason;
pub(crate) use in_flight::{CallOf, InFlight, Outcome, Payload, Taken};
pub(crate) use lease::{Lease, WaitWorker};
pub(crate) use recipe::Recipe;
pub(crate) use starts::{StartError, StartFor};
pub(crate) use succession::Detached;
pub(crate) use tally::{CallEnd, Tally};
pub(crate) use worker::{Event, OVERDUE, Prepared, Terms, Wanted, Worker};

use self::closing::{Closing, Watchers};
use self::ends::Ends;
use self::health::Health;
use self::hot::Hot;
use self::locked::Locked;
use self::spare::Spare;
use self::succession::Standing;

use crate::config::Config;
use crate::error::Exit;
use crate::fair::Queue;
use crate::functions::Functions;
use crate::process::HandedNamespaces;
use crate::supervisor::{Membership, Timer};
use crate::trials::Trials;
use crate::wake::wake_all;
use crate::{Stats, Walls};

/// A host's workers.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) config: Config,
    pub(crate) functions: Functions,
    pub(crate) supervisor: Membership,
    /// Calls that wait for a permit or a worker.
    pub(crate) waiting: Arc<AtomicUsize>,
    pub(crate) tally: Arc<Tally>,
    /// Those that every worker so far has had.
    walls: Mutex<Option<Walls>>,
    trials: OnceLock<Arc<Trials>>,
    /// What a worker handed over, and who this process was when it started that.
    namespaces: Mutex<Option<(u32, Arc<HandedNamespaces>)>>,
    recipe: Recipe,
    ends: Arc<Ends>,
    /// The same as in the state; read without its lock.
    closed: AtomicBool,
    next_worker: Arc<AtomicU64>,
    myself: Weak<Pool>,
    /// In a fork of the application the workers are the parent's.
    owner: u32,
    hot: Hot<Arc<Worker>>,
    /// Calls that wait for a permit.
    watchers: Watchers,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The one that served last is last. While nobody has the lock, one more may be in the hot place.
    idle: Vec<Arc<Worker>>,
    /// Every worker whose process has been started and is not known to be dead.
    alive: Vec<Arc<Worker>>,
    /// Those that have been killed and counted since, and are not known to be dead.
    going: Vec<Arc<Worker>>,
    /// Of those that are alive, how many get no more calls, because they were told to end.
    leaving: usize,
    /// Calls that wait for a host function: their workers take nobody's place meanwhile.
    lent: usize,
    /// Workers that go when another one is ready, which is on its way.
    retiring: VecDeque<(Arc<Worker>, EndReason)>,
    /// Workers that were asked for and have no process yet.
    ordered: usize,
    /// Workers that were asked for and are not ready yet, those without a process included.
    coming: usize,
    spare: Spare,
    /// Whether there is a fork server, which goes last.
    has_server: bool,
    /// Calls that wait for a worker.
    queue: Queue<Result<Arc<Worker>, StartError>>,
    health: Health,
    /// When a guest's wish for another worker was granted last.
    wish_granted: Option<Instant>,
    standing: Standing,
    /// Ends a pause in which no worker is started.
    retry: Option<Timer>,
    /// Has the next spare made.
    refill: Option<Timer>,
    closed: bool,
    closing: Option<Closing>,
    /// Of those who wait for workers to be ready.
    to_wake_when_ready: Vec<Waker>,
}

impl State {
    /// Whether there is a worker whose process is not known to be dead.
    fn has_any(&self) -> bool {
        !self.alive.is_empty() || !self.going.is_empty()
    }

    /// How many workers there are, but for those that leave.
    fn staying(&self) -> usize {
        self.alive.len().saturating_sub(self.leaving)
    }

    /// How many workers can be given a call, now or when theirs is over.
    fn ready(&self) -> usize {
        (self.alive.len() + self.ordered).saturating_sub(self.leaving + self.coming)
    }
}

impl Pool {
    pub(crate) fn new(
        config: Config,
        functions: Functions,
        supervisor: Membership,
        recipe: Recipe,
        counters: Counters,
        host_has_another: bool,
    ) -> Arc<Self> {
        let standing = match host_has_another {
            true => Standing::successor(),
            false => Standing::default(),
        };
        Arc::new_cyclic(|myself| Self {
            config,
            functions,
            supervisor,
            waiting: counters.waiting,
            tally: counters.tally,
            walls: Mutex::default(),
            trials: OnceLock::new(),
            namespaces: Mutex::default(),
            recipe,
            ends: counters.ends,
            closed: AtomicBool::new(false),
            next_worker: counters.next_worker,
            myself: Weak::clone(myself),
            owner: fork::generation(),
            hot: Hot::default(),
            watchers: Watchers::default(),
            state: Mutex::new(State {
                idle: Vec::new(),
                alive: Vec::new(),
                going: Vec::new(),
                leaving: 0,
                lent: 0,
                retiring: VecDeque::new(),
                ordered: 0,
                coming: 0,
                spare: Spare::default(),
                has_server: false,
                queue: Queue::new(),
                health: Health::default(),
                wish_granted: None,
                standing,
                retry: None,
                refill: None,
                closed: false,
                closing: None,
                to_wake_when_ready: Vec::new(),
            }),
        })
    }

    /// What its host counts, for the pool that comes after it.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            tally: Arc::clone(&self.tally),
            waiting: Arc::clone(&self.waiting),
            ends: Arc::clone(&self.ends),
            next_worker: Arc::clone(&self.next_worker),
        }
    }

    pub(crate) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    pub(crate) fn next_worker_id(&self) -> u64 {
        self.next_worker.fetch_add(1, Ordering::Relaxed)
    }

    /// How many workers there may be: as many as are allowed, and one for each whose guest waits for a host
    /// function, or a host function that calls back into its host would wait for its own worker. A guest that
    /// makes host functions call it again and again is held to a few times as many.
    fn workers_max(&self, state: &State) -> usize {
        const TIMES: usize = 4;
        let workers = self.config.workers;
        // Whom the kernel cannot be done with takes a place after all, when there are many.
        let stuck = state.going.len().saturating_sub(workers);
        (workers + state.lent.min(workers.saturating_mul(TIMES))).saturating_sub(stuck)
    }

    /// Whether there are more workers than are allowed, from when guests waited for host functions. Those on their
    /// way up do not count: they may be successors.
    fn has_surplus(&self, state: &State) -> bool {
        state.ready() > self.workers_max(state) && state.queue.waiting() == 0
    }

    /// A call's guest begins to wait for a host function.
    pub(crate) fn lend(self: &Arc<Self>) -> Lent {
        let mut state = self.lock();
        state.lent += 1;
        self.start_what_is_wanted(&mut state);
        Lent(Arc::clone(self))
    }

    /// Whether calls wait for host functions.
    pub(crate) fn lends(&self) -> bool {
        self.lock().lent > 0
    }

    /// A worker is to be replaced: its successor is started, and it goes when that one is ready.
    pub(crate) fn replace(&self, worker: &Arc<Worker>, reason: EndReason) {
        if self.relieve_spare(worker, reason) {
            return;
        }
        let mut state = self.lock();
        if state.closed || worker.is_leaving() || state.health.pause().is_some() {
            return;
        }
        let wish = reason == EndReason::Guest;
        if wish
            && state
                .wish_granted
                .is_some_and(|at| at.elapsed() < worker::PACE)
        {
            // It asks again.
            return;
        }
        if worker.begin_retiring() {
            if wish {
                state.wish_granted = Some(Instant::now());
            }
            state.retiring.push_back((Arc::clone(worker), reason));
            self.order(&mut state, StartFor::Pool);
        }
    }

    /// Kills a worker that has no call and would keep the next one waiting.
    pub(crate) fn condemn_idle(&self, worker: &Arc<Worker>) {
        let mut state = self.lock();
        let before = state.idle.len();
        state.idle.retain(|other| other.id != worker.id);
        // Not in its place: a call has it, whose own clocks tell.
        let idle = state.idle.len() < before;
        drop(state);
        if idle {
            worker.condemn();
        }
    }

    /// A worker has had no call for as long as it may: it goes, unless it is one of those that are always
    /// there.
    pub(crate) fn idle_for_too_long(&self, worker: &Arc<Worker>) {
        if self.relieve_spare(worker, EndReason::Idle) {
            return;
        }
        let mut state = self.lock();
        let place = state.idle.iter().position(|other| other.id == worker.id);
        // Not in its place: a call has it.
        let Some(place) = place else { return };
        if state.staying() > self.least(&state) {
            state.idle.remove(place);
            self.let_go(state, worker, EndReason::Idle);
        } else {
            drop(state);
            worker.slot().stay();
        }
    }

    /// Tells a worker to end that nobody has.
    fn let_go(&self, mut state: Locked<'_>, worker: &Arc<Worker>, reason: EndReason) {
        if worker.begin_leaving() {
            state.leaving += 1;
        }
        self.start_what_is_wanted(&mut state);
        drop(state);
        worker.dismiss(&self.supervisor, reason);
    }

    /// A worker that served was sent SIGKILL, and runs nothing more: another one may take its place before it is gone.
    pub(crate) fn worker_killed(&self, worker: &Worker, reason: EndReason) {
        let mut state = self.lock();
        let place = state.alive.iter().position(|other| other.id == worker.id);
        // Known to be dead, or nobody's any more.
        let Some(place) = place else { return };
        let worker = state.alive.remove(place);
        state.idle.retain(|other| other.id != worker.id);
        // Counted among those that leave no more, nor again by whoever still has a lease of it.
        if !worker.begin_leaving() {
            state.leaving -= 1;
        }
        self.ends.count(reason);
        state.going.push(worker);
        self.start_what_is_wanted(&mut state);
    }

    /// Its process is dead.
    pub(crate) fn worker_died(&self, worker: &Worker, reason: EndReason, exit: Option<Exit>) {
        let mut state = self.lock();
        if state.spare.forget(worker) {
            return;
        }
        let (alive, going) = (state.alive.len(), state.going.len());
        state.alive.retain(|other| other.id != worker.id);
        state.going.retain(|other| other.id != worker.id);
        state.idle.retain(|other| other.id != worker.id);
        let was_going = state.going.len() < going;
        if state.alive.len() < alive {
            self.ends.count(reason);
            if worker.is_leaving() {
                state.leaving -= 1;
            }
        }
        if was_going || state.alive.len() < alive {
            self.tally.add_bytes(worker.bytes());
            if let Some(closing) = &mut state.closing {
                closing.ended(worker, exit, reason == EndReason::Killed);
            }
        }
        self.go_on_without(state, Vec::new());
    }

    /// Whether the pool is closed: calls that have no worker yet get none.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// A look at all the pools of a host.
    pub(crate) fn stats(pools: &[Arc<Self>]) -> Stats {
        let newest = pools.last().expect("a host has a pool");
        let mut spare = 0;
        let (mut workers, mut going) = (Vec::new(), Vec::new());
        for pool in pools {
            let state = pool.lock();
            spare += usize::from(state.spare.is_ready());
            workers.extend(state.alive.iter().cloned());
            going.extend(state.going.iter().cloned());
        }
        let bytes = workers.iter().chain(&going).map(|worker| worker.bytes());
        let bytes = bytes.fold(tally::Bytes::default(), |all, one| all + one);
        let waiting = newest.waiting.load(Ordering::Relaxed);
        Stats {
            workers: workers.iter().map(|worker| worker.stats()).collect(),
            spare,
            waiting,
            calls: newest.tally.counts(waiting, bytes),
            worker_counts: newest.ends.counts(),
        }
    }

    /// Kills every worker and tells every call.
    pub(crate) fn shut_down(&self) {
        let mut state = self.lock();
        let wakers = self.turn_away(&mut state);
        let workers = std::mem::take(&mut state.alive);
        state.going.clear();
        let spare = state.let_spare_go();
        state.leaving = 0;
        drop(state);
        wake_all(wakers);
        for worker in workers.into_iter().chain(spare) {
            worker.condemn();
        }
    }
}

/// A call's guest waits for a host function, until this is dropped.
#[derive(Debug)]
pub(crate) struct Lent(Arc<Pool>);

impl Drop for Lent {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.lent -= 1;
        if self.0.has_surplus(&state) && !state.idle.is_empty() {
            let longest_idle = state.idle.remove(0);
            self.0.let_go(state, &longest_idle, EndReason::Idle);
        }
    }
}
