//! The one thread that starts processes, sees them die and keeps time.
//!
//! One per application, shared by all hosts: `PR_SET_PDEATHSIG` fires when the *thread* that started a
//! process ends, so that thread must outlive every worker. It ends when the last host is gone and the last
//! worker is reaped.
//!
//! It never runs code of the application, except to wake a task.

mod forking;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::event::{EventfdFlags, eventfd};
use stockade_wire::role::Role;
use stockade_wire::sys::fork;

use self::forking::Forking;
use crate::pool::{Pool, StartFor, Worker};
use crate::process::{Ahead, Process, Program, start_from_own_namespaces};
use crate::wake::wake_all;

/// What can be asked of the thread.
enum Command {
    /// Start a worker for this pool.
    Worker(Weak<Pool>, StartFor),
    /// This pool, which has a fork server, wants no more.
    Close(Weak<Pool>),
    /// Start a process and hand it over.
    Process {
        program: Arc<Program>,
        role: Role,
        reply: SyncSender<io::Result<Process>>,
    },
}

/// What the thread shares with everybody else.
pub(crate) struct Supervisor {
    commands: Mutex<VecDeque<Command>>,
    bell: OwnedFd,
    epoll: OwnedFd,
    /// When somebody wants the time to be looked at next; see [`nanos`].
    next_due: AtomicU64,
    timers: Mutex<Timers>,
    hosts: AtomicUsize,
    owner: u32,
}

#[derive(Default)]
struct Timers {
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

static CURRENT: Mutex<Option<Arc<Supervisor>>> = Mutex::new(None);

/// Keeps the thread alive.
#[derive(Debug)]
pub(crate) struct Membership(Arc<Supervisor>);

impl Membership {
    /// Starts the thread, unless it runs already.
    pub(crate) fn enter() -> io::Result<Self> {
        let mut current = lock(&CURRENT);
        // A fork of the application has the parent's memory, but not its threads.
        if let Some(supervisor) = current
            .as_ref()
            .filter(|found| found.owner == fork::generation())
        {
            supervisor.hosts.fetch_add(1, Ordering::Relaxed);
            return Ok(Self(Arc::clone(supervisor)));
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(
            &epoll,
            &bell,
            epoll::EventData::new_u64(BELL),
            epoll::EventFlags::IN,
        )?;
        let supervisor = Arc::new(Supervisor {
            commands: Mutex::default(),
            bell,
            epoll,
            next_due: AtomicU64::new(u64::MAX),
            timers: Mutex::default(),
            hosts: AtomicUsize::new(1),
            owner: fork::generation(),
        });
        let thread = Arc::clone(&supervisor);
        std::thread::Builder::new()
            .name("stockade".into())
            .spawn(move || {
                // Its end kills every worker, and calls would wait for ever: an end in disorder must be loud.
                if std::panic::catch_unwind(AssertUnwindSafe(|| Loop::new(thread).run())).is_err() {
                    tracing::error!("the stockade supervisor panicked; aborting");
                    std::process::abort();
                }
            })?;
        *current = Some(Arc::clone(&supervisor));
        Ok(Self(supervisor))
    }

    /// Starts a process on the supervisor's thread and waits for that.
    pub(crate) fn spawn(&self, program: &Arc<Program>, role: Role) -> io::Result<Process> {
        self.have_spawned(program, role)
            .recv()
            .map_err(|_| io::Error::other("the supervisor is gone"))?
    }

    /// Starts a process on the supervisor's thread, before whatever that is asked for later.
    pub(crate) fn spawn_ahead(&self, program: &Arc<Program>, role: Role) -> Ahead {
        let ahead = Ahead::new(self.have_spawned(program, role));
        // A thread that was made just now may wait for this very CPU.
        std::thread::yield_now();
        ahead
    }

    fn have_spawned(&self, program: &Arc<Program>, role: Role) -> Receiver<io::Result<Process>> {
        let (reply, spawned) = std::sync::mpsc::sync_channel(1);
        self.0.send(Command::Process {
            program: Arc::clone(program),
            role,
            reply,
        });
        spawned
    }

    /// Asks for one more worker. The pool is told of it, or of the failure.
    pub(crate) fn spawn_worker(&self, pool: &Weak<Pool>, why: StartFor) {
        self.0.send(Command::Worker(Weak::clone(pool), why));
    }

    /// Ends the fork server of this pool when its workers are gone.
    pub(crate) fn pool_closes(&self, pool: &Weak<Pool>) {
        self.0.send(Command::Close(Weak::clone(pool)));
    }

    /// Has every worker's clock looked at no later than `due`.
    pub(crate) fn look_at(&self, due: Instant) {
        self.0.look_at(due);
    }

    /// Has `waker` woken at `due`.
    pub(crate) fn wake_at(&self, due: Instant, waker: Waker) -> Timer {
        let mut timers = lock(&self.0.timers);
        let key = (due, timers.next);
        timers.next += 1;
        timers.wakers.insert(key, waker);
        drop(timers);
        self.0.look_at(due);
        Timer {
            supervisor: Arc::clone(&self.0),
            key,
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.0.hosts.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.ring();
        }
    }
}

/// A waker that is woken at its time, unless it is dropped before.
pub(crate) struct Timer {
    supervisor: Arc<Supervisor>,
    key: (Instant, u64),
}

impl Timer {
    /// Replaces the waker.
    pub(crate) fn set_waker(&self, waker: &Waker) {
        let new = waker.clone();
        // A waker is the application's code: it is dropped when the lock is released.
        let _old = lock(&self.supervisor.timers)
            .wakers
            .get_mut(&self.key)
            .map(|old| std::mem::replace(old, new));
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Timer").field(&self.key).finish()
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let waker = lock(&self.supervisor.timers).wakers.remove(&self.key);
        // The waker may be the application's code: not under the lock.
        drop(waker);
    }
}

impl Supervisor {
    fn send(&self, command: Command) {
        lock(&self.commands).push_back(command);
        self.ring();
    }

    fn ring(&self) {
        // Fails only when the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn look_at(&self, due: Instant) {
        let due = nanos(due);
        // The look before spares a write to a line that every call of the process shares.
        if due < self.next_due.load(Ordering::SeqCst)
            && due < self.next_due.fetch_min(due, Ordering::SeqCst)
        {
            self.ring();
        }
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// Time as a number, so that it fits an atomic.
fn nanos(at: Instant) -> u64 {
    static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
    at.saturating_duration_since(*BASE)
        .as_nanos()
        .try_into()
        .unwrap_or(u64::MAX - 1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const BELL: u64 = u64::MAX;

/// The descriptors of a worker that are watched, and those of a fork server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Death = 0,
    Socket = 1,
    Reply = 2,
    Server = 3,
}

/// What only the thread itself touches.
struct Loop {
    shared: Arc<Supervisor>,
    workers: HashMap<u64, Arc<Worker>>,
    /// To be dropped when there is nothing else to do: that closes and unmaps what they had, while a call may wait for the
    /// start of another worker.
    dead: Vec<Arc<Worker>>,
    forking: Forking,
    next_key: u64,
}

/// Of more dead workers than this, the first is dropped whatever there is to do.
const DEAD_MAX: usize = 4;

impl Loop {
    fn new(shared: Arc<Supervisor>) -> Self {
        Self {
            shared,
            workers: HashMap::new(),
            dead: Vec::new(),
            forking: Forking::default(),
            next_key: 0,
        }
    }

    fn run(mut self) {
        start_from_own_namespaces();
        let mut events = Vec::with_capacity(64);
        loop {
            let timeout = match self.dead.is_empty() {
                true => self.until_next_due(),
                false => Some(rustix::event::Timespec::default()),
            };
            events.clear();
            match epoll::wait(
                &self.shared.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("epoll_wait failed: {error}"),
            }
            for event in &events {
                match event.data.u64() {
                    BELL => self.on_bell(),
                    token if token & 3 == Watch::Server as u64 => self.on_server(token >> 2),
                    token => self.on_worker(token >> 2, token & 3),
                }
            }
            self.tick();
            if events.is_empty() {
                self.dead.clear();
            } else if self.dead.len() > DEAD_MAX {
                self.dead.remove(0);
            }
            if self.workers.is_empty()
                && self.forking.is_empty()
                && self.shared.hosts.load(Ordering::Relaxed) == 0
                && self.retire()
            {
                return;
            }
        }
    }

    fn until_next_due(&self) -> Option<rustix::event::Timespec> {
        let due = self.shared.next_due.load(Ordering::SeqCst);
        if due == u64::MAX {
            return None;
        }
        // Longer waits need a system call that older kernels lack.
        const WAIT_MAX: Duration = Duration::from_secs(60 * 60 * 24);
        let left = Duration::from_nanos(due.saturating_sub(nanos(Instant::now())));
        left.min(WAIT_MAX).try_into().ok()
    }

    /// Ends the thread, unless somebody entered at the last moment.
    fn retire(&self) -> bool {
        let mut current = lock(&CURRENT);
        if self.shared.hosts.load(Ordering::Relaxed) > 0 || !lock(&self.shared.commands).is_empty()
        {
            return false;
        }
        *current = None;
        true
    }

    fn on_bell(&mut self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.bell, &mut count);
        // One a turn: starting a process takes a millisecond, and timers and replies wait meanwhile.
        let mut commands = lock(&self.shared.commands);
        let command = commands.pop_front();
        if !commands.is_empty() {
            self.shared.ring();
        }
        drop(commands);
        match command {
            Some(Command::Process {
                program,
                role,
                reply,
            }) => {
                // A receiver that went away drops the process, which kills it.
                let _ = reply.send(Process::spawn(&program, role));
            }
            Some(Command::Worker(pool, why)) => self.start_worker(&pool, why),
            Some(Command::Close(pool)) => self.pool_closes(&pool),
            None => {}
        }
    }

    fn start_worker(&mut self, pool: &Weak<Pool>, why: StartFor) {
        let Some(pool) = pool.upgrade() else { return };
        if pool.forks() {
            return self.order(&pool, why);
        }
        let key = self.next_key;
        self.next_key += 1;
        let started = Worker::start(&pool, why).and_then(|worker| {
            let worker = Arc::new(worker);
            self.watch(key, &worker)?;
            Ok(worker)
        });
        match started {
            Ok(worker) => {
                pool.worker_started(&worker);
                self.workers.insert(key, worker);
            }
            Err(error) => pool.worker_not_started(&error, why),
        }
    }

    fn watch(&self, key: u64, worker: &Worker) -> io::Result<()> {
        let add = |fd, watch: Watch| {
            let token = epoll::EventData::new_u64(key << 2 | watch as u64);
            epoll::add(&self.shared.epoll, fd, token, epoll::EventFlags::IN)
        };
        add(worker.process().pidfd(), Watch::Death)?;
        add(worker.process().socket(), Watch::Socket)?;
        add(worker.eventfd(), Watch::Reply)?;
        Ok(())
    }

    fn on_worker(&mut self, key: u64, watch: u64) {
        // Gone already when one wake-up brought its death and something else.
        let Some(worker) = self.workers.get(&key) else {
            return;
        };
        if watch == Watch::Reply as u64 {
            worker.on_ring();
        } else if watch == Watch::Socket as u64 {
            if !worker.on_message() {
                let _ = epoll::delete(&self.shared.epoll, worker.process().socket());
            }
        } else {
            let worker = Arc::clone(worker);
            for fd in [
                worker.process().pidfd(),
                worker.process().socket(),
                worker.eventfd(),
            ] {
                // The socket may have been taken out before.
                let _ = epoll::delete(&self.shared.epoll, fd);
            }
            // Its last words first: they say why it ended.
            worker.on_message();
            if worker.process().is_forked() {
                self.forked_worker_died(key, &worker);
            } else {
                self.dead.extend(self.workers.remove(&key));
                worker.on_death();
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.shared.next_due.load(Ordering::SeqCst) > nanos(now) {
            return;
        }
        // Before the look: whoever asks for a time after this is heard.
        self.shared.next_due.store(u64::MAX, Ordering::SeqCst);
        for worker in self.workers.values() {
            if let Some(due) = worker.on_time(now) {
                self.shared.next_due.fetch_min(nanos(due), Ordering::SeqCst);
            }
        }
        if let Some(due) = self.look_at_forking(now) {
            self.shared.next_due.fetch_min(nanos(due), Ordering::SeqCst);
        }
        let mut timers = lock(&self.shared.timers);
        let later = timers.wakers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut timers.wakers, later);
        if let Some(((next, _), _)) = timers.wakers.first_key_value() {
            self.shared
                .next_due
                .fetch_min(nanos(*next), Ordering::SeqCst);
        }
        drop(timers);
        wake_all(due.into_values());
    }
}
