//! The end of a pool in good order.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use slab::Slab;

use super::{EndReason, Pool, StartError, State, Worker};
use crate::Error;
use crate::clock;
use crate::error::Exit;
use crate::report::{ShutdownReport, WorkerExit};
use crate::wake::wake_all;

/// How far closing has come.
#[derive(Debug)]
pub(super) struct Closing {
    begun: Instant,
    exits: Vec<WorkerExit>,
    pub(super) spare: usize,
    report: Option<ShutdownReport>,
    wakers: Vec<Waker>,
}

impl Closing {
    pub(super) fn ended(&mut self, worker: &Worker, exit: Option<Exit>, killed: bool) {
        self.exits.push(WorkerExit {
            worker_id: worker.id,
            pid: worker.pid(),
            exit,
            killed,
        });
    }
}

impl State {
    /// Whom to wake if this was the last worker of a pool that is being closed.
    pub(super) fn end_closing(&mut self) -> Vec<Waker> {
        let is_left = self.has_any() || self.ordered > 0 || self.has_server;
        let Some(closing) = &mut self.closing else {
            return Vec::new();
        };
        if is_left || closing.report.is_some() {
            return Vec::new();
        }
        let exits = std::mem::take(&mut closing.exits);
        closing.report = Some(ShutdownReport {
            clean: exits.iter().filter(|exit| exit.is_clean()).count(),
            killed: exits.iter().filter(|exit| exit.killed).count(),
            exits,
            spare: closing.spare,
            elapsed: closing.begun.elapsed(),
        });
        std::mem::take(&mut closing.wakers)
    }
}

impl Pool {
    /// Lets nobody in any more, and tells those who wait. Returns whom to wake.
    pub(super) fn turn_away(&self, state: &mut State) -> Vec<Waker> {
        state.closed = true;
        self.closed.store(true, Ordering::Relaxed);
        if self.forks() {
            self.supervisor.pool_closes(&self.myself);
        }
        state.idle.clear();
        state.retiring.clear();
        (state.retry, state.refill) = (None, None);
        let mut wakers = std::mem::take(&mut state.to_wake_when_ready);
        wakers.extend(self.watchers.close());
        while let Ok(waker) = state.queue.give(Err(StartError::Error(Error::Closed))) {
            wakers.extend(waker);
        }
        wakers
    }

    /// Closes the pool, and waits for its last worker's end.
    pub(crate) async fn close(&self) -> ShutdownReport {
        self.begin_closing();
        std::future::poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.lock();
            let closing = state.closing.as_mut().expect("closing has begun");
            match &closing.report {
                Some(report) => Poll::Ready(report.clone()),
                None => {
                    closing.wakers.push(waker);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Closes the pool. Its workers end when their calls do, or when their time is over.
    pub(crate) fn begin_closing(&self) {
        let mut state = self.lock();
        if state.closing.is_some() {
            return;
        }
        let begun = Instant::now();
        state.closing = Some(Closing {
            begun,
            exits: Vec::new(),
            spare: 0,
            report: None,
            wakers: Vec::new(),
        });
        let mut wakers = self.turn_away(&mut state);
        let workers = state.alive.clone();
        let spare = state.let_spare_go();
        wakers.extend(state.end_closing());
        drop(state);
        wake_all(wakers);
        if let Some(spare) = spare {
            spare.condemn();
        }
        let until = clock::after(begun, self.config.grace_period);
        for worker in workers {
            worker.close(&self.supervisor, until, EndReason::Closed);
        }
    }

    /// Whether the pool is closed; if not, the task is woken when it is, for as long as `watch` lives.
    pub(crate) fn is_closed_or_wakes(
        self: &Arc<Self>,
        watch: &mut Option<CloseWatch>,
        cx: &Context<'_>,
    ) -> bool {
        // Before the lock is taken, and so dropped when it is released: a waker is the application's code.
        let mut waker = cx.waker().clone();
        let mut watchers = self.watchers.lock();
        if watchers.closed {
            return true;
        }
        if let Some(watch) = watch {
            std::mem::swap(&mut watchers.wakers[watch.key], &mut waker);
        } else {
            let key = watchers.wakers.insert(waker);
            let pool = Arc::clone(self);
            *watch = Some(CloseWatch { pool, key });
        }
        false
    }
}

/// Tasks that are woken when their pool is closed, and are in no queue of its own. Apart from the pool's state: calls
/// come and go here that have nothing to do with its workers.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Watching>);

#[derive(Debug, Default)]
struct Watching {
    closed: bool,
    wakers: Slab<Waker>,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Watching> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom to wake.
    fn close(&self) -> impl Iterator<Item = Waker> + use<> {
        let mut watchers = self.lock();
        watchers.closed = true;
        std::mem::take(&mut watchers.wakers)
            .into_iter()
            .map(|(_, waker)| waker)
    }
}

/// A task that is woken when its pool is closed.
#[derive(Debug)]
pub(crate) struct CloseWatch {
    pool: Arc<Pool>,
    key: usize,
}

impl Drop for CloseWatch {
    fn drop(&mut self) {
        // None where the pool has been closed: all of them have been woken.
        let waker = self.pool.watchers.lock().wakers.try_remove(self.key);
        drop(waker);
    }
}
