//! One worker process and the one call that it may have.
//!
//! Everything that happens to a worker goes through its [`Machine`], under its one lock, and what the
//! machine orders is done before that lock is released: so a SIGKILL meant for one call never meets the
//! next. Wakers, permits, output and the pool are touched only after the lock is released.

mod call;
mod caller;
mod clocks;
mod events;
mod forked;
mod life;
mod publish;
mod settle;
mod short;
mod signs;
mod start;
mod startup;
mod stopping;
mod worn_out;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use stockade_wire::slot::machine::Machine;
use stockade_wire::slot::{HostSlot, Listens};

use self::call::Call;
pub(crate) use self::call::Terms;
pub(super) use self::caller::Found;
pub(crate) use self::events::{Event, Wanted};
pub(crate) use self::forked::Prepared;
use self::life::Life;
pub(crate) use self::publish::OVERDUE;
pub(super) use self::settle::After;
use self::settle::LastWord;
use self::startup::Startup;
use self::worn_out::Asking;
pub(super) use self::worn_out::PACE;
use super::Pool;
use super::in_flight::Outcome;
use super::tally::Bytes;
use crate::later::CallerSpan;
use crate::process::{HandedNamespaces, Process};
use crate::stats::{WorkerState, WorkerStats};
use crate::walls::{ShownNamespaces, Walls};

/// A worker that has not accepted its call by then does not run: it is stopped, or starved.
const ACCEPT_WITHIN: Duration = Duration::from_secs(1);

/// A payload up to this length leaves too little behind to bother.
const PAGES_WORTH_RELEASING: usize = 64 << 10;

/// One worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: u64,
    process: Process,
    slot: HostSlot,
    eventfd: OwnedFd,
    pool: Weak<Pool>,
    /// Namespaces that it was given to enter.
    given: Option<Arc<HandedNamespaces>>,
    interrupt_grace: Duration,
    dead: AtomicBool,
    life: Life,
    /// Whether pages may be given back; read without the lock.
    pages_due: AtomicBool,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    machine: Machine,
    startup: Startup,
    /// What it handed over, until it is ready.
    handed: Option<HandedNamespaces>,
    /// Its namespaces as they were seen, until it has put up its walls, if it was forked into them.
    shown: Option<ShownNamespaces>,
    /// Its walls as they were seen, until it is ready.
    walls: Option<Walls>,
    accept_within: Duration,
    call: Option<Call>,
    term: life::Term,
    asking: Asking,
    bytes: Bytes,
    /// What was decided for callers that have not looked yet.
    settled: Vec<(u64, Outcome)>,
    scratch: Vec<u8>,
    /// How many calls it has been given.
    calls: u64,
    /// What the output counters read when they were last looked at.
    output_totals: [u64; 2],
    /// How often the worker has rung for nothing since its newest call was published.
    empty_rings: u8,
    pages_touched: bool,
    /// Whether the worker was told that somebody takes what its guest emits.
    listens: Listens,
    /// When to give back pages, and from where on.
    release_pages: Option<(Instant, usize)>,
    /// Whether the worker makes a new instance before its next call, because the last one was stopped.
    renews: bool,
}

impl Record {
    /// What was there, or this, when the call is over.
    fn replace_span(&mut self, id: u64, span: CallerSpan) -> CallerSpan {
        match &mut self.call {
            Some(call) if self.machine.is_running(id) => std::mem::replace(&mut call.span, span),
            _ => span,
        }
    }
}

impl Worker {
    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    pub(crate) fn eventfd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    pub(crate) fn slot(&self) -> &HostSlot {
        &self.slot
    }

    /// Whether the process is known to be dead. Set before the pool is told.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Whether the pool counts on it no more: it is dead, was killed, or was told to end though its pool goes on.
    #[inline]
    pub(super) fn is_gone(&self) -> bool {
        self.is_dead() || self.is_leaving()
    }

    /// A lease of it ended without a call.
    pub(super) fn go_back(self: Arc<Self>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.release(self);
        }
    }

    /// What went through it so far.
    pub(crate) fn bytes(&self) -> Bytes {
        self.lock().bytes
    }

    pub(crate) fn stats(&self) -> WorkerStats {
        let peak_resident_bytes = self.peak_resident_bytes();
        let record = self.lock();
        let machine = &record.machine;
        let state = match record.startup {
            Startup::Silent { .. } | Startup::Loaded { .. } => WorkerState::Starting,
            Startup::Ready if machine.is_idle() => WorkerState::Idle,
            Startup::Ready if machine.is_running(machine.id()) && !machine.is_stopping() => {
                if self.slot.accepted(machine.id()) {
                    WorkerState::Running
                } else {
                    WorkerState::Dispatched
                }
            }
            Startup::Ready | Startup::Failed => WorkerState::Stopping,
        };
        WorkerStats {
            id: self.id,
            pid: self.pid(),
            state,
            peak_resident_bytes,
        }
    }
}
