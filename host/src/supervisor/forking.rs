//! Fork servers: what each pool's is asked for, one worker after the other, and what it says.
//!
//! A server is started when it is needed first, and again when it has died. Its workers do not die with it, so they
//! serve on; only how they ended is not known then, because the kernel tells that to a parent.

mod ends;
mod nursery;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use stockade_wire::message::WorkerRefusal;

pub(super) use self::nursery::Forking;
use self::nursery::{Child, Current, Nursery, Server, place_of};
use super::{Loop, Watch};
use crate::Error;
use crate::clock;
use crate::pool::{Pool, Prepared, StartError, StartFor};
use crate::process::{Heard, Unadopted};

/// How long the calls of a dead worker wait for its server to say how it ended. Far longer than that takes: a server
/// that is stopped is not heard of at all.
const STATUS_WITHIN: Duration = Duration::from_secs(1);

/// Messages of one server that are heard before others get their turn.
const HEARD_AT_ONCE: usize = 16;

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
            Nursery::of(weak)
        });
        match took_spare {
            true => nursery.lacks_spare = true,
            false => nursery.queue(why),
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

    fn take_order(&mut self, place: usize) -> Option<(Arc<Pool>, Current)> {
        let nursery = self.forking.at(place)?;
        let pool = nursery.pool.upgrade()?;
        Some((pool, nursery.current.take()?))
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
        self.workers.insert(key, Arc::clone(&worker));
        self.advance(place);
        worker.look_ahead();
    }
}
