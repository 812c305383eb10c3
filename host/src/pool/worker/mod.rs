//! One worker process and the one call that it may have.
//!
//! Everything that happens to a worker goes through its [`Machine`], under its one lock, and what the
//! machine orders is done before that lock is released: so a SIGKILL meant for one call never meets the
//! next. Wakers, permits, output and the pool are touched only after the lock is released.

mod call;
mod clocks;
mod events;
mod forked;
mod life;
mod settle;
mod short;
mod startup;
mod stopping;
mod worn_out;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::geteuid;
use stockade_wire::message::{self, StopBy};
use stockade_wire::slot::machine::{Machine, Resolution, StopReason, StopStyle};
use stockade_wire::slot::{Disbelief, HostSlot, Listens, Seen, Written};
use stockade_wire::sys::packet;

pub(crate) use self::call::Terms;
use self::call::{Call, Clocks, CpuClock};
pub(crate) use self::events::{Event, Wanted};
pub(crate) use self::forked::Prepared;
use self::life::Life;
pub(super) use self::settle::After;
use self::settle::LastWord;
use self::startup::Startup;
use self::worn_out::Asking;
pub(super) use self::worn_out::PACE;
use super::in_flight::{InFlight, Looks, Outcome};
use super::tally::Bytes;
use super::{EndReason, Lease, Pool, StartFor};
use crate::clock;
use crate::error::Exit;
use crate::later::{CallerSpan, later};
use crate::limiter::Permit;
use crate::process::{HandedNamespaces, Process};
use crate::spin::{self, Running};
use crate::stats::{WorkerState, WorkerStats};
use crate::walls::Walls;

/// A worker that has not accepted its call by then does not run: it is stopped, or starved.
const ACCEPT_WITHIN: Duration = Duration::from_secs(1);

/// Between calls a worker may have to run the module's start code, which took this many times less when it
/// was measured.
const START_CODE_SLACK: u32 = 3;

/// Memory that a payload touched is given back after this time without a call.
const KEEP_PAGES: Duration = Duration::from_secs(1);

/// A payload up to this length leaves too little behind to bother.
const PAGES_WORTH_RELEASING: usize = 64 << 10;

/// A buffer for replies is kept from call to call up to this length.
const SCRATCH_KEPT: usize = 256 << 10;

/// A worker rings at most once a call, and the rings of calls that were answered without it may come late.
/// More of them than this, without a reply, are noise made on purpose.
const EMPTY_RINGS_MAX: u8 = 8;

/// What a caller finds who looks after its call.
#[derive(Debug)]
pub(super) enum Found {
    /// It is over, and this is left to be done.
    Over(Option<Outcome>, After),
    /// Its guest wants something, and waits for it.
    Event(Event),
}

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
    /// Who this process was when it started it.
    started_by: u32,
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
    /// Whether the next call takes longer than others: it is the worker's first, or one before which it makes a new
    /// instance, because the last one was stopped.
    is_cold: bool,
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

/// What a worker has before it has a process.
#[derive(Debug)]
struct Place {
    id: u64,
    slot: HostSlot,
    eventfd: OwnedFd,
    given: Option<Arc<HandedNamespaces>>,
    started_by: u32,
}

fn slot_for(pool: &Pool, why: StartFor) -> io::Result<(HostSlot, [OwnedFd; 2])> {
    let (slot, memories) = HostSlot::new(pool.recipe().geometry)?;
    if why != StartFor::Spare {
        slot.linger_first(spin::linger_first());
    }
    Ok((slot, memories))
}

impl Worker {
    /// Starts a worker's process and tells it what to be.
    pub(crate) fn start(pool: &Arc<Pool>, why: StartFor) -> io::Result<Self> {
        let recipe = pool.recipe();
        let id = pool.next_worker_id();
        let (slot, memories) = slot_for(pool, why)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let started_by = geteuid().as_raw();
        let process = recipe.start_worker()?;
        let given = pool.kept_namespaces(started_by);
        let mut setup = recipe.setup.clone();
        setup.worker = id;
        if let Some(given) = &given {
            setup.enter = given.said().clone();
        }
        let mut fds = vec![
            memories[0].as_fd(),
            memories[1].as_fd(),
            eventfd.as_fd(),
            recipe.artifact.as_fd(),
        ];
        fds.extend(recipe.directories.fds());
        fds.extend(given.iter().flat_map(|given| given.fds()));
        match packet::send(process.socket(), &message::encode(&setup), &fds) {
            // Dead already: its death will say why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
        let until = clock::after(Instant::now(), pool.config.spawn_timeout);
        let place = Place {
            id,
            slot,
            eventfd,
            given,
            started_by,
        };
        Ok(Self::of_process(pool, why, process, place, until))
    }

    /// A process that has been told what to be, and must say that it is ready before `until`.
    fn of_process(
        pool: &Arc<Pool>,
        why: StartFor,
        process: Process,
        place: Place,
        until: Instant,
    ) -> Self {
        let recipe = pool.recipe();
        let style = match recipe.setup.stop {
            StopBy::Epoch => StopStyle::Interrupt,
            StopBy::Kill => StopStyle::Kill,
        };
        let now = Instant::now();
        pool.supervisor.look_at(until);
        Self {
            id: place.id,
            process,
            slot: place.slot,
            eventfd: place.eventfd,
            pool: Arc::downgrade(pool),
            given: place.given,
            started_by: place.started_by,
            interrupt_grace: pool.config.interrupt_grace,
            dead: AtomicBool::new(false),
            life: Life::new(
                pool.config.retire,
                pool.config.idle_timeout,
                why,
                recipe.asks,
            ),
            pages_due: AtomicBool::new(false),
            record: Mutex::new(Record {
                machine: Machine::new(style),
                startup: Startup::Silent { until },
                handed: None,
                walls: None,
                accept_within: ACCEPT_WITHIN,
                call: None,
                term: life::Term::new(now, pool.config.retire),
                asking: Asking::default(),
                bytes: Bytes::default(),
                settled: Vec::new(),
                scratch: Vec::new(),
                calls: 0,
                output_totals: [0; 2],
                empty_rings: 0,
                pages_touched: false,
                listens: Listens::default(),
                release_pages: None,
                is_cold: true,
            }),
        }
    }

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

    /// Gives a written request to the worker. The permit comes back, with the worker, when that is not possible,
    /// because it has died or is about to.
    pub(crate) fn publish(
        pool: &Pool,
        lease: Lease,
        permit: Permit,
        function: usize,
        written: Written,
        terms: Terms,
    ) -> Result<InFlight, (Permit, Arc<Self>)> {
        // From here on it goes back by its machine's orders; if it cannot be given the call, its death is on
        // the way to the pool.
        let worker = lease.into_worker();
        let mut record = worker.lock();
        let Some(id) = record.machine.publish() else {
            drop(record);
            return Err((permit, worker));
        };
        if record.listens != terms.listens {
            record.listens = terms.listens;
            worker.slot.listen(terms.listens);
        }
        let may_poll = spin::may_poll();
        let export = pool.functions.entry(function).info.export;
        let len = written.len();
        let slept = worker
            .slot
            .publish(id, export, spin::linger(may_poll), written);
        // All that can wait until now is done while the worker works.
        let published = Instant::now();
        let clocks = Clocks {
            hurry_at: worker.hurry_at(published),
            accept_by: Some(published + record.accept_within),
            deadline: terms.ends(published),
            grace_until: None,
            cpu: (terms.cpu_time).and_then(|limit| CpuClock::start(worker.pid(), limit, published)),
        };
        let term_due = record.term.used(published, &worker.life);
        record.bytes.to_guest += len as u64;
        let calls = record.calls + 1..=record.calls + terms.calls as u64;
        record.calls = *calls.end();
        record.empty_rings = 0;
        record.release_pages = None;
        let is_cold = std::mem::take(&mut record.is_cold);
        record.pages_touched |= len > PAGES_WORTH_RELEASING;
        record.call = Some(Call {
            function,
            waker: None,
            slept: false,
            clocks,
            is_chunk: terms.calls > 1,
            rung_for: 0,
            log_read: 0,
            attended: false,
            running: Some(Running::begin()),
            permit: Some(permit),
            span: CallerSpan::default(),
        });
        drop(record);
        let due = clocks.next_due().map_or(term_due, |due| due.min(term_due));
        pool.supervisor.look_at(due);
        if worker.life.is_heir_due(&calls) {
            pool.replace(&worker, EndReason::Calls);
        }
        // Its wake-up alone takes longer than a poll may: that says nothing about the function.
        let looks = match may_poll && !slept && terms.calls == 1 {
            true if is_cold => Looks::Longer,
            true => Looks::Reply,
            false => Looks::None,
        };
        Ok(InFlight::new(worker, id, published, looks, terms.calls > 1))
    }

    /// A request is about to be written. Its memory must not be given back meanwhile: until it is published
    /// the worker is idle as far as its machine knows, and encoding may take as long as it likes.
    pub(crate) fn request_begins(&self) {
        // Only the end of a call sets it, and a leased worker has none.
        if self.pages_due.load(Ordering::Relaxed) {
            self.lock().release_pages = None;
            self.pages_due.store(false, Ordering::Relaxed);
        }
    }

    /// A lease of it ended without a call.
    pub(super) fn go_back(self: Arc<Self>) {
        if let Some(pool) = self.pool.upgrade() {
            pool.release(self);
        }
    }

    /// A request of this length was written and never published.
    pub(crate) fn request_refused(&self, len: usize) {
        let mut record = self.lock();
        record.pages_touched |= len > PAGES_WORTH_RELEASING;
        self.release_pages_later(&mut record);
    }

    fn release_pages_later(&self, record: &mut Record) {
        if record.pages_touched {
            let at = Instant::now() + KEEP_PAGES;
            record.release_pages = Some((at, 0));
            self.pages_due.store(true, Ordering::Relaxed);
            if let Some(pool) = self.pool.upgrade() {
                pool.supervisor.look_at(at);
            }
        }
    }

    /// Looks for the reply to call `id`, or an event after the first `seen`, without the lock; what it finds is
    /// for [`Self::take`] to judge.
    #[inline]
    pub(super) fn peek(&self, id: u64, seen: u32) -> bool {
        self.slot.look(id) != Seen::Nothing || self.slot.may_have_event(id, seen)
    }

    /// What has become of call `id`, for its caller, who has `seen` so many of its events; `waker` is kept when
    /// that is nothing yet.
    pub(super) fn take(&self, id: u64, seen: u32, waker: &Waker) -> Option<Found> {
        let mut record = self.lock();
        if let Some(at) = record.settled.iter().position(|(of, _)| *of == id) {
            let outcome = record.settled.swap_remove(at).1;
            return Some(Found::Over(Some(outcome), After::default()));
        }
        debug_assert!(record.machine.is_running(id));
        let mut step = self.look(&mut record);
        let mut replaced = None;
        if step.is_none() {
            match self.take_event(&mut record, seen) {
                Ok(None) => {}
                Ok(Some(event)) => return Some(Found::Event(event)),
                Err(lie) => step = Some(self.caught(&mut record, lie)),
            }
        }
        if step.is_none() {
            if let Some(call) = &mut record.call
                && !call.waker.as_ref().is_some_and(|old| old.will_wake(waker))
            {
                replaced = call.waker.replace(waker.clone());
                call.slept = true;
            }
            self.slot.arm(id);
            step = self.look(&mut record);
            if step.is_none() && self.slot.may_have_event(id, seen) {
                match self.take_event(&mut record, seen) {
                    Ok(None) => {}
                    Ok(Some(event)) => {
                        drop(record);
                        drop(replaced);
                        return Some(Found::Event(event));
                    }
                    Err(lie) => step = Some(self.caught(&mut record, lie)),
                }
            }
        }
        let found = step.map(|(step, last)| {
            let (outcome, after) = self.carry_out(&mut record, step, last);
            Found::Over(outcome, after)
        });
        drop(record);
        drop(replaced);
        found
    }

    /// The caller of call `id` goes to sleep here.
    pub(super) fn set_span(&self, id: u64, span: CallerSpan) {
        let old = self.lock().replace_span(id, span);
        old.end();
    }

    /// Gives a reply buffer back for the next call.
    pub(crate) fn give_back(&self, mut scratch: Vec<u8>) {
        if scratch.capacity() <= SCRATCH_KEPT {
            scratch.clear();
            self.lock().scratch = scratch;
        }
    }

    /// The caller of call `id` is gone, here: stops the call, if it still runs. Hands back the span that is to be
    /// ended.
    pub(super) fn abandon(self: &Arc<Self>, id: u64, span: CallerSpan) -> CallerSpan {
        let mut record = self.lock();
        record.settled.retain(|(of, _)| *of != id);
        if !record.machine.is_running(id) {
            return span;
        }
        let old = match span.is_none() {
            true => span,
            false => record.replace_span(id, span),
        };
        // Dropped when the lock is released: it is the application's code.
        let _waker = record.call.as_mut().and_then(|call| call.waker.take());
        let last = self.last_word(&record);
        let step = match &last {
            Some(LastWord::Lie(_)) => record.machine.lied(),
            other => {
                let reply = other.as_ref().and_then(LastWord::reply);
                record.machine.stop(StopReason::CallerGone, reply)
            }
        };
        self.act(record, step, last.unwrap_or(LastWord::Nothing));
        old
    }

    /// Kills the process; its call, if any, is cancelled.
    pub(crate) fn condemn(self: &Arc<Self>) {
        let mut record = self.lock();
        // The pool is told of the death of a worker that had been ready: its place is free then.
        if record.startup != Startup::Ready {
            record.startup = Startup::Failed;
        }
        let step = record.machine.condemn();
        // One that was asked to end has no step left to take.
        self.kill(&mut record);
        self.act(record, step, LastWord::Nothing);
    }

    /// The eventfd was rung.
    pub(crate) fn on_ring(self: &Arc<Self>) {
        let mut record = self.lock();
        let mut count = [0; 8];
        // Empty when one ring was reported twice.
        let _ = rustix::io::read(&self.eventfd, &mut count);
        self.hear_wish(&mut record);
        if self.last_word(&record).is_none() {
            if self.rings_for_event(&mut record) {
                let waker = record.call.as_mut().and_then(|call| call.waker.take());
                drop(record);
                waker.into_iter().for_each(Waker::wake);
                return;
            }
            record.empty_rings += 1;
            if record.empty_rings > EMPTY_RINGS_MAX {
                let (step, last) = self.caught(&mut record, Disbelief::EmptyRing);
                self.act(record, step, last);
            }
        } else if record.machine.is_stopping() {
            let id = record.machine.id();
            drop(record);
            self.settle_stopped(id);
        } else if let Some(waker) = record.call.as_mut().and_then(|call| call.waker.take()) {
            // A caller that waits copies the reply itself; nobody else needs the copy.
            drop(record);
            waker.wake();
        }
    }

    /// The process is dead.
    pub(crate) fn on_death(self: &Arc<Self>) {
        self.dead.store(true, Ordering::SeqCst);
        let exit = self.process.reap();
        if exit == Some(Exit::Signal(Exit::SIGSYS)) {
            // Somebody should look: an innocent guest never does this.
            let (worker, pid, syscall) = (self.id, self.pid(), self.slot.forbidden());
            later(0, move || {
                tracing::warn!(
                    target: "stockade",
                    worker,
                    pid,
                    syscall,
                    "a worker was killed for a forbidden system call; the number is its own word"
                );
            });
        }
        // What it said last says more than how it ended, and the kernel reports the two in any order.
        if self.lock().startup.is_pending() {
            self.on_message();
        }
        let mut record = self.lock();
        if record.startup.is_pending() {
            return self.died_early(record, exit);
        }
        let reason = record.term.end_reason(exit);
        let last = self.last_word(&record);
        let accepted = self.slot.accepted(record.machine.id());
        // Output that is neither gone nor left from an earlier call: guest code has run, whatever the mark
        // says, and the call must not run again.
        let now = self.slot.output_totals();
        let wrote = (0..2).any(|i| now[i] != 0 && now[i] != record.output_totals[i])
            || self.slot.may_have_event(record.machine.id(), 0);
        let reply = last.as_ref().and_then(LastWord::reply);
        let step = record.machine.died(reply, accepted || wrote);
        let last = match last {
            Some(word) if step.resolve == Some(Resolution::Reply) => word,
            _ => LastWord::Death(exit),
        };
        self.act(record, step, last);
        if let Some(pool) = self.pool.upgrade() {
            pool.worker_died(self, reason, exit);
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
