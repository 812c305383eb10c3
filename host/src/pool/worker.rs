//! One worker process and the one call that it may have.
//!
//! Everything that happens to a worker goes through its [`Machine`], under its one lock, and what the
//! machine orders is done before that lock is released: so a SIGKILL meant for one call never meets the
//! next. Wakers, permits and the pool are touched only after the lock is released.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use stockade_wire::message::{self, StopBy, WorkerMessage, WorkerRefusal};
use stockade_wire::role::Role;
use stockade_wire::slot::machine::{
    Machine, Order, Reply, Resolution, Step, StopReason, StopStyle,
};
use stockade_wire::slot::{Disbelief, Head, HostSlot, ReplyKind, Seen, Written};
use stockade_wire::sys::{cpu, packet};

use super::in_flight::{InFlight, Outcome};
use super::{Lease, Pool, StartError};
use crate::Error;
use crate::clock;
use crate::error::Exit;
use crate::functions::Entry;
use crate::limiter::Permit;
use crate::output::Written as OutputWritten;
use crate::process::Process;
use crate::spin::Running;
use crate::stats::{WorkerState, WorkerStats};

/// A worker that has not accepted its call by then does not run: it is stopped, or starved.
const ACCEPT_WITHIN: Duration = Duration::from_secs(1);

/// Memory that a payload touched is given back after this time without a call.
const KEEP_PAGES: Duration = Duration::from_secs(1);

/// A payload up to this length leaves too little behind to bother.
const PAGES_WORTH_RELEASING: usize = 64 << 10;

/// A buffer for replies is kept from call to call up to this length.
const SCRATCH_KEPT: usize = 256 << 10;

/// A worker rings at most once a call, and the ring of its last call may come late. More is noise made on
/// purpose.
const RINGS_MAX: u8 = 2;

/// One worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) id: u64,
    process: Process,
    slot: HostSlot,
    eventfd: OwnedFd,
    pool: Weak<Pool>,
    interrupt_grace: Duration,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    machine: Machine,
    startup: Startup,
    call: Option<Call>,
    /// What was decided for callers that have not looked yet.
    settled: Vec<(u64, Outcome)>,
    scratch: Vec<u8>,
    /// What the output counters read when they were last looked at.
    output_totals: [u64; 2],
    /// How often the worker has rung since its newest call was published.
    rings: u8,
    pages_touched: bool,
    release_pages_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Startup {
    /// Started, not heard of.
    Silent { until: Instant },
    /// Running the module's own start code.
    Loaded { until: Instant },
    /// Serving.
    Ready,
    /// It will never serve, and the pool has been told.
    Failed,
}

/// The host's notes on the call that a worker has.
#[derive(Debug)]
struct Call {
    function: Arc<Entry>,
    waker: Option<Waker>,
    accept_by: Option<Instant>,
    deadline: Option<Instant>,
    grace_until: Option<Instant>,
    cpu: Option<CpuBudget>,
    /// Held for what their drop does, when the worker is provably free.
    _permit: Permit,
    _running: Running,
}

impl Call {
    fn next_due(&self) -> Option<Instant> {
        let cpu = self.cpu.map(|cpu| cpu.look_at);
        [self.accept_by, self.deadline, self.grace_until, cpu]
            .into_iter()
            .flatten()
            .min()
    }
}

#[derive(Debug, Clone, Copy)]
struct CpuBudget {
    /// What the process may have used when the call is stopped.
    until: Duration,
    look_at: Instant,
}

/// What one call may use.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    pub(crate) deadline: Option<Instant>,
    pub(crate) cpu_time: Option<Duration>,
}

/// What is left to do when the lock is released.
#[derive(Debug, Default)]
#[must_use]
struct After {
    wake: Option<Waker>,
    over: Option<Call>,
    release: bool,
    output: Option<(Arc<Entry>, OutputWritten)>,
}

impl Worker {
    /// Starts a worker's process and tells it what to be.
    pub(crate) fn start(pool: &Arc<Pool>) -> io::Result<Self> {
        let recipe = pool.recipe();
        let id = pool.next_worker_id();
        let (slot, memories) = HostSlot::new(recipe.geometry)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let process = Process::spawn(&recipe.program, Role::Worker)?;
        let mut setup = recipe.setup.clone();
        setup.worker = id;
        let fds = [
            memories[0].as_fd(),
            memories[1].as_fd(),
            eventfd.as_fd(),
            recipe.artifact.as_fd(),
        ];
        match packet::send(process.socket(), &message::encode(&setup), &fds) {
            // Dead already: its death will say why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
        let style = match setup.stop {
            StopBy::Epoch => StopStyle::Interrupt,
            StopBy::Kill => StopStyle::Kill,
        };
        let until = clock::after(Instant::now(), pool.config.spawn_timeout);
        pool.supervisor.look_at(until);
        Ok(Self {
            id,
            process,
            slot,
            eventfd,
            pool: Arc::downgrade(pool),
            interrupt_grace: pool.config.interrupt_grace,
            record: Mutex::new(Record {
                machine: Machine::new(style),
                startup: Startup::Silent { until },
                call: None,
                settled: Vec::new(),
                scratch: Vec::new(),
                output_totals: [0; 2],
                rings: 0,
                pages_touched: false,
                release_pages_at: None,
            }),
        })
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

    /// Gives a written request to the worker. The permit and the lease come back when that is not possible,
    /// because the worker has died or is about to.
    pub(crate) fn publish(
        lease: Lease,
        permit: Permit,
        function: &Arc<Entry>,
        written: Written,
        budget: Budget,
    ) -> Result<InFlight, Permit> {
        let worker = Arc::clone(lease.worker());
        let mut record = worker.lock();
        let Some(id) = record.machine.publish() else {
            // Its death is on the way to the pool, so it must not go back there.
            drop(record);
            let _dying = lease.published();
            return Err(permit);
        };
        let running = Running::begin();
        let (may_poll, linger_us) = (running.may_poll(), running.linger_us());
        let published = Instant::now();
        let accept_by = published + ACCEPT_WITHIN;
        let cpu = budget.cpu_time.and_then(|limit| {
            let used = cpu::process_cpu_time(worker.pid())?;
            Some(CpuBudget {
                until: used.saturating_add(limit),
                look_at: clock::after(published, limit),
            })
        });
        record.rings = 0;
        record.release_pages_at = None;
        record.pages_touched |= written.len() > PAGES_WORTH_RELEASING;
        record.call = Some(Call {
            function: Arc::clone(function),
            waker: None,
            accept_by: Some(accept_by),
            deadline: budget.deadline,
            grace_until: None,
            cpu,
            _permit: permit,
            _running: running,
        });
        worker
            .slot
            .publish(id, function.info.export, linger_us, written);
        drop(record);
        let pool = Weak::clone(&worker.pool);
        let worker = lease.published();
        if let Some(pool) = pool.upgrade() {
            let due = [Some(accept_by), budget.deadline, cpu.map(|cpu| cpu.look_at)];
            if let Some(due) = due.into_iter().flatten().min() {
                pool.supervisor.look_at(due);
            }
        }
        Ok(InFlight::new(worker, id, published, may_poll))
    }

    /// Looks for the reply to call `id` without the lock; what it finds is for [`Self::take`] to judge.
    #[inline]
    pub(super) fn peek(&self, id: u64) -> bool {
        self.slot.look(id) != Seen::Nothing
    }

    /// The outcome of call `id`, for its caller; `waker` is kept when there is none yet.
    pub(super) fn take(self: &Arc<Self>, id: u64, waker: &Waker) -> Option<Outcome> {
        let mut record = self.lock();
        if let Some(at) = record.settled.iter().position(|(of, _)| *of == id) {
            return Some(record.settled.swap_remove(at).1);
        }
        debug_assert!(record.machine.is_running(id));
        let mut step = self.look(&mut record);
        if step.is_none() {
            if let Some(call) = &mut record.call {
                match &mut call.waker {
                    Some(old) if old.will_wake(waker) => {}
                    other => *other = Some(waker.clone()),
                }
            }
            self.slot.arm(id);
            step = self.look(&mut record);
        }
        let (step, last) = step?;
        let (outcome, after) = self.carry_out(&mut record, step, last);
        drop(record);
        self.finish(after);
        outcome
    }

    /// The reply in the slot, if there is one, and what it means.
    fn look(&self, record: &mut Record) -> Option<(Step, LastWord)> {
        match self.slot_says(record) {
            Seen::Nothing => None,
            Seen::Reply(head) => Some((
                record.machine.replied(reply_of(head)),
                LastWord::Reply(head),
            )),
            Seen::Lie(lie) => Some((record.machine.lied(), LastWord::Lie(lie))),
        }
    }

    fn slot_says(&self, record: &Record) -> Seen {
        let id = record.machine.id();
        if record.machine.is_running(id) {
            self.slot.look(id)
        } else {
            Seen::Nothing
        }
    }

    /// The reply that the slot holds now, without acting on it.
    fn seen(&self, record: &Record) -> Option<Head> {
        match self.slot_says(record) {
            Seen::Reply(head) => Some(head),
            Seen::Nothing | Seen::Lie(_) => None,
        }
    }

    /// Does what the machine orders, and says what the caller is to be told.
    fn carry_out(
        &self,
        record: &mut Record,
        step: Step,
        last: LastWord,
    ) -> (Option<Outcome>, After) {
        let mut after = After::default();
        let id = record.machine.id();
        let mut written = OutputWritten::default();
        if let Some(call) = &record.call
            && (last.has_output() || step.resolve == Some(Resolution::Died))
        {
            record.output_totals = self.slot.output_totals();
            written = OutputWritten {
                streams: [self.slot.output(0), self.slot.output(1)],
            };
            after.output = Some((Arc::clone(&call.function), OutputWritten::clone(&written)));
        }
        let outcome = step.resolve.map(|resolution| {
            if let Some(call) = &mut record.call {
                after.wake = call.waker.take();
            }
            match resolution {
                Resolution::Reply => {
                    let LastWord::Reply(head) = last else {
                        unreachable!("the machine was told of a reply")
                    };
                    let mut payload = std::mem::take(&mut record.scratch);
                    self.slot.read(head, &mut payload);
                    record.pages_touched |= head.len() > PAGES_WORTH_RELEASING;
                    Outcome::Reply {
                        kind: head.kind,
                        payload,
                        stderr: written.stderr(),
                    }
                }
                Resolution::Retry => Outcome::Retry { exit: last.exit() },
                Resolution::Stopped(reason) => Outcome::Stopped(reason),
                Resolution::Died => {
                    let stderr = written.stderr() + &self.process.stderr_tail();
                    Outcome::Died {
                        exit: last.exit(),
                        stderr,
                    }
                }
                Resolution::Lie => Outcome::Lie(last.lie()),
            }
        });
        match step.worker {
            Order::Leave => {}
            Order::Interrupt => {
                self.slot.cancel(id);
                self.process.interrupt();
                let until = clock::after(Instant::now(), self.interrupt_grace);
                if let Some(call) = &mut record.call {
                    call.grace_until = Some(until);
                }
                if let Some(pool) = self.pool.upgrade() {
                    pool.supervisor.look_at(until);
                }
            }
            Order::Kill => self.process.kill(),
            Order::Reuse => {
                after.over = record.call.take();
                after.release = true;
                if record.pages_touched {
                    let at = Instant::now() + KEEP_PAGES;
                    record.release_pages_at = Some(at);
                    if let Some(pool) = self.pool.upgrade() {
                        pool.supervisor.look_at(at);
                    }
                }
            }
        }
        if record.machine.is_dead() {
            after.over = record.call.take();
        }
        (outcome, after)
    }

    /// What must not be done under the lock.
    fn finish(self: &Arc<Self>, after: After) {
        if after.release
            && let Some(pool) = self.pool.upgrade()
        {
            pool.release(Arc::clone(self));
        }
        drop(after.over);
        if let Some(waker) = after.wake {
            waker.wake();
        }
        if let Some((function, written)) = after.output
            && let Some(pool) = self.pool.upgrade()
        {
            written.deliver(pool.config.wasi.output(), function.name(), self.id);
        }
    }

    /// Acts on a step whose caller, if any, is somebody else.
    fn act(self: &Arc<Self>, mut record: MutexGuard<'_, Record>, step: Step, last: LastWord) {
        let id = record.machine.id();
        let (outcome, after) = self.carry_out(&mut record, step, last);
        record.settled.extend(outcome.map(|outcome| (id, outcome)));
        drop(record);
        self.finish(after);
    }

    /// Gives a reply buffer back for the next call.
    pub(super) fn give_back(&self, mut scratch: Vec<u8>) {
        if scratch.capacity() <= SCRATCH_KEPT {
            scratch.clear();
            self.lock().scratch = scratch;
        }
    }

    /// Stops call `id`, if it still runs.
    pub(super) fn stop(self: &Arc<Self>, id: u64, reason: StopReason) {
        let mut record = self.lock();
        if reason == StopReason::CallerGone {
            record.settled.retain(|(of, _)| *of != id);
        }
        if !record.machine.is_running(id) {
            return;
        }
        // Its caller may not have slept yet, and nobody will look at the slot again without a ring.
        self.slot.arm(id);
        let seen = self.seen(&record);
        let step = record.machine.stop(reason, seen.map(reply_of));
        self.act(record, step, seen.map_or(LastWord::None, LastWord::Reply));
    }

    /// Kills the process; its call, if any, is cancelled.
    pub(crate) fn condemn(self: &Arc<Self>) {
        let mut record = self.lock();
        // The pool is told of the death of a worker that had been ready: its place is free then.
        if record.startup != Startup::Ready {
            record.startup = Startup::Failed;
        }
        let step = record.machine.condemn();
        self.act(record, step, LastWord::None);
    }

    /// The eventfd was rung.
    pub(crate) fn on_ring(self: &Arc<Self>) {
        let mut count = [0; 8];
        // Empty when one ring was reported twice.
        let _ = rustix::io::read(&self.eventfd, &mut count);
        let mut record = self.lock();
        record.rings = record.rings.saturating_add(1);
        if record.rings > RINGS_MAX {
            let step = record.machine.lied();
            return self.act(record, step, LastWord::Lie(Disbelief::EmptyRing));
        }
        // A caller that waits copies the reply itself; nobody else needs the copy.
        if let Some(waker) = record.call.as_mut().and_then(|call| call.waker.take()) {
            drop(record);
            waker.wake();
        } else if record.machine.is_stopping()
            && let Some((step, last)) = self.look(&mut record)
        {
            self.act(record, step, last);
        }
    }

    /// The worker has said something on its socket; `false` when it will not say more.
    pub(crate) fn on_message(self: &Arc<Self>) -> bool {
        let bytes = match packet::receive_untrusted(self.process.socket()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => Vec::new(),
        };
        let mut record = self.lock();
        if bytes.is_empty() {
            // It is dying, and its death will tell how. If it only closed its socket before it was ready,
            // its time runs out.
            return false;
        }
        let (Startup::Silent { until } | Startup::Loaded { until }) = record.startup else {
            // A worker that serves has nothing to say here.
            let step = record.machine.lied();
            self.act(record, step, LastWord::Lie(Disbelief::Chatter));
            return false;
        };
        match message::decode(&bytes) {
            Ok(WorkerMessage::Loaded) => {
                record.startup = Startup::Loaded { until };
                true
            }
            Ok(WorkerMessage::Ready) => {
                record.startup = Startup::Ready;
                drop(record);
                if let Some(pool) = self.pool.upgrade() {
                    pool.worker_ready(Arc::clone(self));
                }
                true
            }
            Ok(WorkerMessage::Refused { why, message }) => {
                let error = match why {
                    WorkerRefusal::Artifact => StartError::Artifact(message),
                    WorkerRefusal::Init => StartError::Error(Error::Init { reason: message }),
                    WorkerRefusal::Setup => StartError::Error(Error::Spawn { reason: message }),
                };
                self.fail_startup(record, error);
                false
            }
            Err(malformed) => {
                let reason = match self.pool.upgrade() {
                    Some(pool) => format!("{}: {malformed}", pool.recipe().program.shown()),
                    None => malformed.to_string(),
                };
                self.fail_startup(record, StartError::Error(Error::Spawn { reason }));
                false
            }
        }
    }

    fn fail_startup(self: &Arc<Self>, mut record: MutexGuard<'_, Record>, error: StartError) {
        record.startup = Startup::Failed;
        let step = record.machine.condemn();
        self.act(record, step, LastWord::None);
        if let Some(pool) = self.pool.upgrade() {
            pool.worker_failed(self, error);
        }
    }

    /// The process is dead.
    pub(crate) fn on_death(self: &Arc<Self>) {
        let exit = self.process.reap();
        let mut record = self.lock();
        let startup = record.startup;
        match startup {
            Startup::Silent { .. } | Startup::Loaded { .. } => {
                let error = self.early_death(startup, exit);
                record.startup = Startup::Failed;
                let step = record.machine.died(None, false);
                self.act(record, step, LastWord::Death(exit));
                if let Some(pool) = self.pool.upgrade() {
                    pool.worker_failed(self, error);
                }
                return;
            }
            Startup::Ready | Startup::Failed => {}
        }
        let seen = self.seen(&record);
        let accepted = self.slot.accepted(record.machine.id());
        let step = if !accepted && self.slot.output_totals() != record.output_totals {
            // Guest code has run, whatever the mark says, so the call must not run again.
            record.machine.died(None, true)
        } else {
            record.machine.died(seen.map(reply_of), accepted)
        };
        let last = match seen {
            Some(head) if step.resolve == Some(Resolution::Reply) => LastWord::Reply(head),
            _ => LastWord::Death(exit),
        };
        self.act(record, step, last);
        if startup == Startup::Ready
            && let Some(pool) = self.pool.upgrade()
        {
            pool.worker_died(self);
        }
    }

    fn early_death(&self, startup: Startup, exit: Option<Exit>) -> StartError {
        let how = exit.map_or_else(
            || "it ended".to_owned(),
            |exit| format!("it ended ({exit})"),
        );
        let stderr = self.process.stderr_tail();
        let said = stderr.trim();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!("; it said: {said}")
        };
        StartError::Error(match startup {
            Startup::Loaded { .. } => Error::Init {
                reason: format!("{how} while the module's start code ran{said}"),
            },
            _ => {
                let program = self
                    .pool
                    .upgrade()
                    .map(|pool| pool.recipe().program.shown().to_string());
                let program = program.unwrap_or_default();
                Error::Spawn {
                    reason: format!(
                        "{program} is no stockade worker, or broken: {how} before it was ready{said}"
                    ),
                }
            }
        })
    }

    /// Looks at this worker's clocks, and says when to look again.
    pub(crate) fn on_time(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut record = self.lock();
        if let Startup::Silent { until } | Startup::Loaded { until } = record.startup {
            if until > now {
                return Some(until);
            }
            let error = self.too_slow(record.startup);
            self.fail_startup(record, error);
            return None;
        }
        if record.release_pages_at.is_some_and(|at| at <= now) && record.machine.is_idle() {
            record.release_pages_at = None;
            record.pages_touched = false;
            // Refused only by kernels without hole punching; the memory is then kept.
            let _ = self.slot.release_pages();
        }
        let mut next = record.release_pages_at;
        let (step, last) = self.look_at_call(&mut record, now);
        next = next
            .into_iter()
            .chain(record.call.as_ref().and_then(Call::next_due))
            .min();
        if let Some(step) = step {
            self.act(record, step, last);
        }
        next
    }

    fn too_slow(&self, startup: Startup) -> StartError {
        let pool = self.pool.upgrade();
        let timeout = pool
            .as_ref()
            .map(|pool| pool.config.spawn_timeout)
            .unwrap_or_default();
        StartError::Error(match startup {
            Startup::Loaded { .. } => Error::Init {
                reason: format!(
                    "the module's start code did not end within {timeout:?} (`spawn_timeout`)"
                ),
            },
            _ => {
                let program = pool
                    .map(|pool| pool.recipe().program.shown().to_string())
                    .unwrap_or_default();
                Error::Spawn {
                    reason: format!(
                        "{program} did not answer within {timeout:?} (`spawn_timeout`)"
                    ),
                }
            }
        })
    }

    /// The first of a call's clocks that has run out, and what that means.
    fn look_at_call(&self, record: &mut Record, now: Instant) -> (Option<Step>, LastWord) {
        let id = record.machine.id();
        let head = self.seen(record);
        let last = head.map_or(LastWord::None, LastWord::Reply);
        let Record {
            machine,
            call: Some(call),
            ..
        } = record
        else {
            return (None, last);
        };
        let passed = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if passed(&mut call.grace_until) {
            return (Some(machine.grace_over(id, head.map(reply_of))), last);
        }
        if head.is_some() {
            // Answered in time: whoever waits for it has been rung for.
            call.deadline = None;
            call.accept_by = None;
            call.cpu = None;
            return (None, last);
        }
        if passed(&mut call.deadline) {
            return (Some(machine.stop(StopReason::TimedOut, None)), last);
        }
        if call.cpu.is_some_and(|cpu| cpu.look_at <= now)
            && let Some(step) = self.look_at_cpu(machine, call, now)
        {
            return (Some(step), last);
        }
        if passed(&mut call.accept_by) && !self.slot.accepted(id) {
            let taken_back = self.slot.withdraw(id);
            return (Some(machine.withdrawn(!taken_back)), last);
        }
        (None, last)
    }

    fn look_at_cpu(&self, machine: &mut Machine, call: &mut Call, now: Instant) -> Option<Step> {
        let budget = call.cpu?;
        match cpu::process_cpu_time(self.pid()) {
            Some(used) if used < budget.until => {
                // One thread cannot use CPU time faster than time passes.
                call.cpu = Some(CpuBudget {
                    look_at: clock::after(now, budget.until - used),
                    ..budget
                });
                None
            }
            _ => {
                call.cpu = None;
                Some(machine.stop(StopReason::CpuTime, None))
            }
        }
    }

    pub(crate) fn stats(&self) -> WorkerStats {
        let record = self.lock();
        let state = match record.startup {
            Startup::Silent { .. } | Startup::Loaded { .. } => WorkerState::Starting,
            Startup::Failed => WorkerState::Stopping,
            Startup::Ready if record.machine.is_idle() => WorkerState::Idle,
            Startup::Ready
                if record.machine.is_running(record.machine.id())
                    && !record.machine.is_stopping() =>
            {
                WorkerState::Running
            }
            Startup::Ready => WorkerState::Stopping,
        };
        WorkerStats {
            id: self.id,
            pid: self.pid(),
            state,
        }
    }
}

fn reply_of(head: Head) -> Reply {
    match head.kind {
        ReplyKind::Value | ReplyKind::Failure => Reply::Answer,
        ReplyKind::Skipped => Reply::Skipped,
        ReplyKind::Interrupted => Reply::Interrupted,
    }
}

/// What was seen of the worker when a step was taken.
#[derive(Debug, Clone, Copy)]
enum LastWord {
    None,
    Reply(Head),
    Lie(Disbelief),
    Death(Option<Exit>),
}

impl LastWord {
    fn has_output(self) -> bool {
        matches!(self, Self::Reply(head) if head.output)
    }

    fn exit(self) -> Option<Exit> {
        match self {
            Self::Death(exit) => exit,
            _ => None,
        }
    }

    fn lie(self) -> Disbelief {
        match self {
            Self::Lie(lie) => lie,
            _ => Disbelief::NotStopped,
        }
    }
}
