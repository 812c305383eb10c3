//! Fork servers: what each pool's is asked for, one worker after the other, and what it says.
//!
//! A server is started when it is needed first, and again when it has died. Its workers do not die with it, so they
//! serve on; only how they ended is not known then, because the kernel tells that to a parent.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use stockade_wire::message::WorkerRefusal;

use super::{Loop, Watch};
use crate::Error;
use crate::clock;
use crate::error::Shown;
use crate::later::later;
use crate::pool::{Pool, Prepared, StartError, StartFor, Worker};
use crate::process::{ForkServer, Heard, Process, Unadopted};

/// A server that dies so often while it is asked for one worker will not fork that.
const DEATHS_MAX: u32 = 3;

/// How long the calls of a dead worker wait for its server to say how it ended. Far longer than that takes: a server
/// that is stopped is not heard of at all.
const STATUS_WITHIN: Duration = Duration::from_secs(1);

/// How long a server has to end by itself when its pool is over. Far longer than that takes.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Messages of one server that are heard before others get their turn.
const HEARD_AT_ONCE: usize = 16;

/// What only the thread itself has of fork servers.
#[derive(Default)]
pub(super) struct Forking {
    /// By the place of their pool in memory, which is nobody else's while it is known here.
    nurseries: HashMap<usize, Nursery>,
    /// The places of the pools that servers work for.
    servers: HashMap<u64, usize>,
}

impl Forking {
    pub(super) fn is_empty(&self) -> bool {
        self.nurseries.is_empty()
    }

    fn at(&mut self, place: usize) -> Option<&mut Nursery> {
        self.nurseries.get_mut(&place)
    }
}

/// One pool's fork server and its workers.
struct Nursery {
    pool: Weak<Pool>,
    server: Option<Server>,
    /// What the server is asked for, or will be when it is ready.
    current: Option<Current>,
    /// What the server was asked for and nobody wants any more, and until when its answer is waited for.
    cancelled: Option<(u64, Instant)>,
    /// What comes after that; a spare last.
    orders: VecDeque<StartFor>,
    /// Whether there is to be a spare when nothing else is wanted.
    lacks_spare: bool,
    /// What the server that is there has forked and not told the end of, by the worker's number.
    children: HashMap<u64, Child>,
    /// How many workers there are whose death the pool has not been told of, of whatever server.
    alive: usize,
    /// The pool is over: the server has been told to end, and is killed then.
    ends_by: Option<Instant>,
}

struct Server {
    key: u64,
    server: ForkServer,
    is_ready: bool,
}

struct Current {
    why: StartFor,
    /// When the worker must be ready.
    until: Instant,
    /// How often a server has died of it.
    deaths: u32,
    /// What the server was asked for.
    prepared: Option<Prepared>,
}

#[derive(Clone, Copy)]
struct Child {
    /// None when nobody waits to hear how it ended.
    key: Option<u64>,
    /// It is dead; until then its server may say how it ended.
    status_by: Option<Instant>,
}

impl Child {
    const FORGOTTEN: Self = Self {
        key: None,
        status_by: None,
    };
}

fn place_of(pool: &Weak<Pool>) -> usize {
    Weak::as_ptr(pool).addr()
}

fn is_over(pool: &Weak<Pool>) -> bool {
    pool.upgrade().is_none_or(|pool| pool.is_closed())
}

fn spawn_error(pool: &Pool, why: impl std::fmt::Display) -> StartError {
    let program = pool.recipe().program.shown();
    StartError::Error(Error::Spawn {
        reason: format!("{program}: {why}"),
    })
}

fn closed() -> StartError {
    StartError::Error(Error::Closed)
}

impl Loop {
    /// A pool wants a worker.
    pub(super) fn order(&mut self, pool: &Arc<Pool>, why: StartFor) {
        if pool.is_closed() {
            return pool.start_failed(closed(), why);
        }
        let weak = Arc::downgrade(pool);
        let place = place_of(&weak);
        let took_spare = why != StartFor::Spare && pool.takes_spare();
        let nursery = self.forking.nurseries.entry(place).or_insert_with(|| {
            pool.server_comes();
            Nursery {
                pool: weak,
                server: None,
                current: None,
                cancelled: None,
                orders: VecDeque::new(),
                lacks_spare: false,
                children: HashMap::new(),
                alive: 0,
                ends_by: None,
            }
        });
        match why {
            _ if took_spare => nursery.lacks_spare = true,
            StartFor::Spare => nursery.orders.push_back(why),
            StartFor::Call | StartFor::Pool => {
                let spare = nursery.orders.iter().position(|o| *o == StartFor::Spare);
                let at = spare.unwrap_or(nursery.orders.len());
                nursery.orders.insert(at, why);
            }
        }
        self.advance(place);
    }

    /// A pool wants no worker any more.
    pub(super) fn pool_closes(&mut self, pool: &Weak<Pool>) {
        let place = place_of(pool);
        self.advance(place);
        self.settle(place);
    }

    /// Asks for what is wanted next, if nothing is under way.
    fn advance(&mut self, place: usize) {
        loop {
            let Some(nursery) = self.forking.at(place) else {
                return;
            };
            let Some(pool) = nursery.pool.upgrade() else {
                nursery.orders.clear();
                nursery.current = None;
                return self.settle(place);
            };
            if pool.is_closed() {
                let current = nursery.current.take();
                let asked = current.as_ref().and_then(|c| c.prepared.as_ref());
                if let Some(prepared) = asked {
                    // Dropping it kills what is being forked.
                    let by = Instant::now() + STATUS_WITHIN;
                    nursery.cancelled = Some((prepared.id(), by));
                    self.shared.look_at(by);
                }
                let current = current.map(|current| current.why);
                let orders: Vec<_> = current
                    .into_iter()
                    .chain(nursery.orders.drain(..))
                    .collect();
                for why in orders {
                    pool.start_failed(closed(), why);
                }
                return self.settle(place);
            }
            if nursery.current.is_none() {
                if nursery.orders.is_empty() && std::mem::take(&mut nursery.lacks_spare) {
                    pool.refill_later();
                }
                let Some(why) = nursery.orders.pop_front() else {
                    return;
                };
                let until = clock::after(Instant::now(), pool.config.spawn_timeout);
                self.shared.look_at(until);
                nursery.current = Some(Current {
                    why,
                    until,
                    deaths: 0,
                    prepared: None,
                });
            }
            let Err(error) = self.serve_current(place, &pool) else {
                return;
            };
            if let Some(current) = self.take_current(place) {
                pool.worker_not_started(&error, current.why);
            }
        }
    }

    /// The next step towards the current order: a server, or a word to it.
    fn serve_current(&mut self, place: usize, pool: &Arc<Pool>) -> io::Result<()> {
        let key = self.next_key;
        let Some(nursery) = self.forking.at(place) else {
            return Ok(());
        };
        let Some(current) = &mut nursery.current else {
            return Ok(());
        };
        match &nursery.server {
            None => {
                let recipe = pool.recipe();
                let server = recipe.start_fork_server()?;
                self.next_key += 1;
                let token = epoll::EventData::new_u64(key << 2 | Watch::Server as u64);
                let process = server.process();
                for fd in [process.pidfd(), process.socket()] {
                    epoll::add(&self.shared.epoll, fd, token, epoll::EventFlags::IN)?;
                }
                nursery.server = Some(Server {
                    key,
                    server,
                    is_ready: false,
                });
                self.forking.servers.insert(key, place);
            }
            Some(server) if server.is_ready && current.prepared.is_none() => {
                let prepared = Prepared::new(pool, current.why)?;
                prepared.order(&server.server)?;
                current.prepared = Some(prepared);
            }
            // It will say something.
            Some(_) => {}
        }
        Ok(())
    }

    fn take_current(&mut self, place: usize) -> Option<Current> {
        self.forking.at(place)?.current.take()
    }

    /// A server has said something, or is dead.
    pub(super) fn on_server(&mut self, key: u64) {
        let Some(&place) = self.forking.servers.get(&key) else {
            return;
        };
        // Before its messages are heard: then there are no others.
        let mut is_dead = None;
        for _ in 0..HEARD_AT_ONCE {
            let server = self.forking.at(place).and_then(|n| n.server.as_ref());
            let Some(server) = server.filter(|server| server.key == key) else {
                return;
            };
            let is_dead = *is_dead.get_or_insert_with(|| server.server.process().is_dead());
            match server.server.hear() {
                Ok(Some(heard)) => self.on_heard(place, heard),
                Ok(None) if is_dead => return self.server_died(place),
                Ok(None) => return,
                Err(lie) => return self.disbelieve(place, &lie),
            }
        }
    }

    fn on_heard(&mut self, place: usize, heard: Heard) {
        let Some(nursery) = self.forking.at(place) else {
            return;
        };
        let Some(server) = &mut nursery.server else {
            return;
        };
        let asked = nursery.current.as_ref().and_then(|c| c.prepared.as_ref());
        let asked = asked.map(Prepared::id);
        let cancelled = nursery.cancelled.map(|(worker, _)| worker);
        match heard {
            Heard::Forked(worker, _) | Heard::Lost(worker) if cancelled == Some(worker) => {
                let by = Instant::now() + STATUS_WITHIN;
                let child = Child {
                    key: None,
                    status_by: Some(by),
                };
                nursery.children.insert(worker, child);
                nursery.cancelled = None;
                self.shared.look_at(by);
            }
            Heard::NotForked(worker, _) if cancelled == Some(worker) => {
                nursery.cancelled = None;
                self.settle(place);
            }
            Heard::Lost(worker) if asked == Some(worker) => {
                nursery.children.insert(worker, Child::FORGOTTEN);
                let error = io::Error::from(rustix::io::Errno::MFILE);
                self.fail_current(
                    place,
                    format_args!("a worker was forked and could not be taken over: {error}"),
                );
            }
            Heard::Ready if !server.is_ready => {
                server.is_ready = true;
                server.server.look();
                self.advance(place);
            }
            Heard::Refused(why, reason) if !server.is_ready => {
                self.server_refused(place, why, reason)
            }
            Heard::Forked(worker, pidfd) if asked == Some(worker) => self.forked(place, pidfd),
            Heard::NotForked(worker, reason) if asked == Some(worker) => {
                self.fail_current(place, format_args!("no worker could be forked: {reason}"));
            }
            Heard::Ended(worker, exit) => match nursery.children.remove(&worker) {
                None => {
                    self.disbelieve(place, "it told the end of a worker that it had not forked")
                }
                Some(Child { key: None, .. }) => self.settle(place),
                Some(Child {
                    key: Some(key),
                    status_by,
                }) => {
                    if let Some(worker) = self.workers.get(&key) {
                        worker.process().ended(exit);
                    }
                    if status_by.is_some() {
                        self.tell_death(place, key);
                    }
                }
            },
            _ => self.disbelieve(place, "it spoke out of turn"),
        }
    }

    fn server_refused(&mut self, place: usize, why: WorkerRefusal, reason: String) {
        self.end_server(place);
        let Some((pool, current)) = self.take_order(place) else {
            return;
        };
        let error = match why {
            WorkerRefusal::Artifact => StartError::Artifact(reason),
            WorkerRefusal::Init => StartError::Error(Error::Init { reason }),
            WorkerRefusal::Grant | WorkerRefusal::Dump | WorkerRefusal::Setup => {
                StartError::Error(Error::Spawn { reason })
            }
        };
        pool.start_failed(error, current.why);
        self.advance(place);
    }

    /// The current order is fulfilled, if the kernel says so, too.
    fn forked(&mut self, place: usize, pidfd: OwnedFd) {
        let Some((pool, current)) = self.take_order(place) else {
            return;
        };
        let Some(nursery) = self.forking.at(place) else {
            return;
        };
        let (Some(server), Some(prepared)) = (&nursery.server, current.prepared) else {
            return;
        };
        let (number, why, until) = (prepared.id(), current.why, current.until);
        // Whatever becomes of it, the server will tell its end.
        nursery.children.insert(number, Child::FORGOTTEN);
        let worker = match prepared.adopt(&server.server, pidfd, &pool, why, until) {
            Ok(worker) => Arc::new(worker),
            Err(Unadopted::Unseen(error)) => {
                pool.worker_not_started(&error, why);
                return self.advance(place);
            }
            Err(refusal) => {
                nursery.current = Some(Current {
                    prepared: None,
                    ..current
                });
                return match refusal {
                    // Of a server that is dead the kernel shows no children; its death is being told.
                    Unadopted::Lie(lie) if !server.server.process().is_dead() => {
                        self.disbelieve(place, lie);
                    }
                    Unadopted::Gone => {
                        self.count_death(place, "its worker died while it was forked")
                    }
                    Unadopted::Lie(_) | Unadopted::Unseen(_) => {}
                };
            }
        };
        let key = self.next_key;
        self.next_key += 1;
        if let Err(error) = self.watch(key, &worker) {
            // Dropping the worker kills it.
            pool.worker_not_started(&error, why);
            return self.advance(place);
        }
        if let Some(nursery) = self.forking.at(place) {
            let child = Child {
                key: Some(key),
                status_by: None,
            };
            nursery.children.insert(number, child);
            nursery.alive += 1;
            nursery.lacks_spare |= why != StartFor::Spare;
        }
        pool.worker_started(&worker);
        self.workers.insert(key, worker);
        self.advance(place);
    }

    /// A forked worker is dead.
    pub(super) fn forked_worker_died(&mut self, key: u64, worker: &Worker) {
        let place = place_of(worker.pool());
        let nursery = self.forking.at(place);
        match nursery.and_then(|nursery| nursery.children.get_mut(&worker.id)) {
            Some(child) if child.key == Some(key) => {
                let by = Instant::now() + STATUS_WITHIN;
                child.status_by = Some(by);
                self.shared.look_at(by);
            }
            // Its server has told already, or will not.
            _ => self.tell_death(place, key),
        }
    }

    /// The pool learns of a death.
    fn tell_death(&mut self, place: usize, key: u64) {
        if let Some(worker) = self.workers.remove(&key) {
            worker.process().let_go();
            worker.on_death();
            if let Some(nursery) = self.forking.at(place) {
                nursery.alive -= 1;
            }
        }
        self.settle(place);
    }

    fn server_died(&mut self, place: usize) {
        let expected = self.forking.at(place).is_some_and(|n| n.ends_by.is_some());
        let Some(server) = self.end_server(place) else {
            return;
        };
        if expected {
            // Reaped before anybody is told.
            drop(server);
            return self.settle(place);
        }
        let how = match server.reap() {
            Some(exit) => format!("it ended ({exit})"),
            None => "it ended".to_owned(),
        };
        let said = match server.stderr_tail().trim() {
            "" => String::new(),
            said => format!("; it said: {said}"),
        };
        let pid = server.pid;
        let died = format!("{how}{said}");
        later(died.len(), move || {
            tracing::warn!(
                target: "stockade",
                pid,
                how = %Shown(&how),
                said = %Shown(said.trim_start_matches("; ")),
                "a fork server died; those of its workers that live serve on"
            );
        });
        self.count_death(place, &died);
    }

    /// The current order has cost a process.
    fn count_death(&mut self, place: usize, how: &str) {
        let current = self.forking.at(place).and_then(|n| n.current.as_mut());
        if let Some(current) = current {
            // What was prepared has an owner, maybe: dropping it kills that.
            current.prepared = None;
            current.deaths += 1;
            if current.deaths >= DEATHS_MAX {
                let times = current.deaths;
                let why = format_args!("the fork server does not live: {how}, {times} times");
                return self.fail_current(place, why);
            }
        }
        self.advance(place);
    }

    fn disbelieve(&mut self, place: usize, lie: &str) {
        if let Some(server) = self.end_server(place) {
            let (pid, lie) = (server.pid, lie.to_owned());
            later(lie.len(), move || {
                tracing::warn!(target: "stockade", pid, lie, "a fork server is not believed and was killed");
            });
        }
        self.fail_current(
            place,
            format_args!("the fork server is not believed: {lie}"),
        );
    }

    fn fail_current(&mut self, place: usize, why: std::fmt::Arguments<'_>) {
        if let Some((pool, current)) = self.take_order(place) {
            let error = spawn_error(&pool, why);
            // What was prepared goes first: it kills what may have been forked.
            let why = current.why;
            drop(current);
            pool.start_failed(error, why);
        }
        self.advance(place);
    }

    fn take_order(&mut self, place: usize) -> Option<(Arc<Pool>, Current)> {
        let nursery = self.forking.at(place)?;
        let pool = nursery.pool.upgrade()?;
        Some((pool, nursery.current.take()?))
    }

    /// Kills the server, unless it is dead already. It will not tell how its workers ended.
    fn end_server(&mut self, place: usize) -> Option<Process> {
        let nursery = self.forking.at(place)?;
        let Server { key, server, .. } = nursery.server.take()?;
        let untold: Vec<_> = nursery
            .children
            .drain()
            .filter_map(|(_, child)| child.key.filter(|_| child.status_by.is_some()))
            .collect();
        nursery.cancelled = None;
        self.forking.servers.remove(&key);
        let process = server.into_process();
        for fd in [process.pidfd(), process.socket()] {
            let _ = epoll::delete(&self.shared.epoll, fd);
        }
        process.kill();
        for key in untold {
            self.tell_death(place, key);
        }
        Some(process)
    }

    /// Ends the server of a pool that is closed, when its last worker is gone.
    fn settle(&mut self, place: usize) {
        let is_over = |nursery: &mut Nursery| {
            nursery.alive == 0 && !nursery.awaits() && is_over(&nursery.pool)
        };
        let Some(nursery) = self.forking.at(place) else {
            return;
        };
        if !is_over(nursery) {
            return;
        }
        if let Some(server) = &mut nursery.server {
            let now = Instant::now();
            let by = *nursery.ends_by.get_or_insert(now + END_WITHIN);
            if now < by {
                server.server.let_go();
                return self.shared.look_at(by);
            }
        }
        // Its end is waited for.
        drop(self.end_server(place));
        let Some(nursery) = self.forking.nurseries.remove(&place) else {
            return;
        };
        if let Some(pool) = nursery.pool.upgrade() {
            let orders = nursery.current.map(|current| current.why);
            for why in orders.into_iter().chain(nursery.orders) {
                pool.start_failed(closed(), why);
            }
            pool.server_is_gone();
        }
    }

    /// What time alone has brought about; says when to look again.
    pub(super) fn look_at_forking(&mut self, now: Instant) -> Option<Instant> {
        let places: Vec<_> = self.forking.nurseries.keys().copied().collect();
        for place in places {
            let Some(nursery) = self.forking.at(place) else {
                continue;
            };
            let mut untold = Vec::new();
            for child in nursery.children.values_mut() {
                if child.status_by.is_some_and(|by| by <= now) {
                    untold.extend(child.key);
                    *child = Child::FORGOTTEN;
                }
            }
            nursery.cancelled.take_if(|(_, by)| *by <= now);
            let late = nursery.current.as_ref().is_some_and(|c| c.until <= now);
            for key in untold {
                self.tell_death(place, key);
            }
            if late {
                self.end_server(place);
                self.too_slow(place);
            }
            self.settle(place);
        }
        let nurseries = self.forking.nurseries.values();
        nurseries.filter_map(Nursery::next_due).min()
    }

    fn too_slow(&mut self, place: usize) {
        let pool = self.forking.at(place).and_then(|n| n.pool.upgrade());
        let within = pool
            .map(|pool| pool.config.spawn_timeout)
            .unwrap_or_default();
        self.fail_current(
            place,
            format_args!("the fork server did not answer within {within:?} (`spawn_timeout`)"),
        );
    }
}

impl Nursery {
    /// Whether its server is about to tell something that ought to be heard.
    fn awaits(&self) -> bool {
        let mut children = self.children.values();
        self.cancelled.is_some() || children.any(|child| child.status_by.is_some())
    }

    fn next_due(&self) -> Option<Instant> {
        let current = self.current.as_ref().map(|current| current.until);
        let children = self.children.values().filter_map(|child| child.status_by);
        let cancelled = self.cancelled.map(|(_, by)| by);
        let ends = self.ends_by;
        children.chain(current).chain(cancelled).chain(ends).min()
    }
}
