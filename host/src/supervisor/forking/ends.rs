//! How workers and fork servers end, and what becomes of what they were asked for.

use std::sync::Weak;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::nursery::{Child, Nursery, Server, place_of};
use super::{Loop, STATUS_WITHIN, closed};
use crate::Error;
use crate::error::Shown;
use crate::later::later;
use crate::pool::{Pool, StartError, Worker};
use crate::process::Process;

/// A server that dies so often while it is asked for one worker will not fork that.
const DEATHS_MAX: u32 = 3;

/// How long a server has to end by itself when its pool is over. Far longer than that takes.
const END_WITHIN: Duration = Duration::from_secs(1);

fn is_over(pool: &Weak<Pool>) -> bool {
    pool.upgrade().is_none_or(|pool| pool.is_closed())
}

fn spawn_error(pool: &Pool, why: impl std::fmt::Display) -> StartError {
    let program = pool.recipe().program.shown();
    StartError::Error(Error::Spawn {
        reason: format!("{program}: {why}"),
    })
}

impl Loop {
    /// A forked worker is dead.
    pub(in crate::supervisor) fn forked_worker_died(&mut self, key: u64, worker: &Worker) {
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
    pub(super) fn tell_death(&mut self, place: usize, key: u64) {
        if let Some(worker) = self.workers.remove(&key) {
            worker.process().let_go();
            worker.on_death();
            if let Some(nursery) = self.forking.at(place) {
                nursery.alive -= 1;
            }
            self.dead.push(worker);
        }
        self.settle(place);
    }

    pub(super) fn server_died(&mut self, place: usize) {
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
    pub(super) fn count_death(&mut self, place: usize, how: &str) {
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

    pub(super) fn disbelieve(&mut self, place: usize, lie: &str) {
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

    pub(super) fn fail_current(&mut self, place: usize, why: std::fmt::Arguments<'_>) {
        if let Some((pool, current)) = self.take_order(place) {
            let error = spawn_error(&pool, why);
            // What was prepared goes first: it kills what may have been forked.
            let why = current.why;
            drop(current);
            pool.start_failed(error, why);
        }
        self.advance(place);
    }

    /// Kills the server, unless it is dead already. It will not tell how its workers ended.
    pub(super) fn end_server(&mut self, place: usize) -> Option<Process> {
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
    pub(super) fn settle(&mut self, place: usize) {
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
    pub(in crate::supervisor) fn look_at_forking(&mut self, now: Instant) -> Option<Instant> {
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
