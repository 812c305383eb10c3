//! The future of a call: from the caller to a worker and back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade_wire::message::{Failure, FailureKind, TrapKind};
use stockade_wire::slot::machine::StopReason;
use stockade_wire::slot::{Disbelief, Written};

use crate::clock::after;
use crate::error::{Broken, Exit, Phase};
use crate::functions::Entry;
use crate::handle;
use crate::hold::Hold;
use crate::limiter::{Permit, WaitPermit};
use crate::limits::{Codec, Interrupt};
use crate::pool::{
    Budget, CallEnd, CloseWatch, InFlight, Lease, Outcome, Pool, WaitWorker, Worker,
};
use crate::supervisor::Timer;
use crate::{Cause, Error, Limiter, Trap, codec, output};

/// After so many workers that were gone before they had a call, or did not accept it, it is given up.
const DISPATCHES_MAX: u32 = 3;

/// A call that is awaited: what [`crate::Host::run_sync`] returns.
#[must_use = "futures do nothing unless polled"]
pub struct Running<A, R> {
    pub(super) hold: Hold,
    /// Its place among the module's functions; none for a call that has failed already.
    pub(super) function: usize,
    /// Kept until the call is over: a second dispatch encodes them again, and never reads a slot that a
    /// dead worker could have written.
    pub(super) args: Option<A>,
    pub(super) step: Step,
    pub(super) codec: Codec,
    pub(super) timeout: Option<Duration>,
    pub(super) queue_timeout: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    pub(super) limiter: Option<Limiter>,
    pub(super) begun: Option<Instant>,
    /// Whether it is counted as submitted, and not yet as ended.
    pub(super) counted: bool,
    pub(super) timer: Option<Timer>,
    pub(super) waiting: Option<Waiting>,
    pub(super) watch: Option<CloseWatch>,
    /// What the guest wrote, where the caller wants it.
    pub(crate) output: Option<Box<output::Written>>,
    pub(super) may_wait: bool,
    pub(super) dispatches: u32,
    /// How many workers ended as it was given to them.
    pub(super) ended_before: usize,
    pub(super) detach: Option<fn(Running<A, R>)>,
    pub(super) result: std::marker::PhantomData<fn() -> R>,
}

/// How far a call has come.
#[derive(Debug)]
pub(super) enum Step {
    /// It was refused when it was made.
    Failed(Option<Error>),
    Begin,
    Permit(WaitPermit),
    Worker(Option<Permit>, WaitWorker),
    InFlight(InFlight),
    Over,
}

/// Counts a waiting call.
#[derive(Debug)]
pub(super) struct Waiting(Arc<Pool>);

impl Waiting {
    fn begin(pool: &Arc<Pool>) -> Result<Self, Error> {
        let before = pool.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(Arc::clone(pool));
        if before >= pool.config.queue_limit {
            return Err(Error::Saturated { waiting: before });
        }
        Ok(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No field is pinned: what waits is reached through an `Arc`, and the arguments are only ever borrowed.
impl<A, R> Unpin for Running<A, R> {}

impl<A, R> Future for Running<A, R>
where
    A: Serialize,
    R: DeserializeOwned,
{
    type Output = Result<R, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if !this.counted {
            this.counted = true;
            this.hold.pool().tally.submitted();
        }
        let result = loop {
            match this.advance(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(result))) => break Ok(result),
                Poll::Ready(Err(error)) => break Err(error),
            }
        };
        this.end();
        let how = result
            .as_ref()
            .map_or_else(CallEnd::of, |_| CallEnd::Finished);
        this.hold.pool().tally.ended(how);
        this.counted = false;
        Poll::Ready(result)
    }
}

impl<A, R> Running<A, R>
where
    A: Serialize,
    R: DeserializeOwned,
{
    /// One step on; `None` when there are more.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<R>, Error>> {
        match &mut self.step {
            Step::Failed(error) => {
                let error = error.take().expect("a call ends once");
                Poll::Ready(Err(error))
            }
            Step::Begin => {
                if self.hold.pool().is_closed() {
                    return Poll::Ready(Err(Error::Closed));
                }
                if let Some(elapsed) = self.is_late() {
                    let phase = Phase::Queued;
                    return Poll::Ready(Err(Error::Timeout { phase, elapsed }));
                }
                let limiter = self
                    .limiter
                    .as_ref()
                    .unwrap_or(&self.hold.pool().config.limiter);
                match limiter.acquire() {
                    Ok(permit) => Poll::Ready(self.find_worker(permit).map(|()| None)),
                    Err(place) => {
                        let waiting = limiter.waiting();
                        self.step = Step::Permit(place);
                        Poll::Ready(self.begin_waiting(waiting).map(|()| None))
                    }
                }
            }
            Step::Permit(place) => match place.poll(cx) {
                Poll::Ready(permit) => Poll::Ready(self.find_worker(permit).map(|()| None)),
                // It is in the limiter's queue, not in the pool's, whose end it must not miss.
                Poll::Pending if self.hold.pool().is_closed_or_wakes(&mut self.watch, cx) => {
                    Poll::Ready(Err(Error::Closed))
                }
                Poll::Pending => self.wait(cx),
            },
            Step::Worker(permit, place) => match place.poll(cx) {
                Poll::Ready(Ok(lease)) => {
                    let permit = permit.take().expect("kept until there is a worker");
                    Poll::Ready(self.dispatch(permit, lease).map(|()| None))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Pending => self.wait(cx),
            },
            Step::InFlight(in_flight) => {
                match in_flight.poll(self.hold.pool(), self.function, cx) {
                    Poll::Ready(outcome) => Poll::Ready(self.settle(outcome)),
                    Poll::Pending => Poll::Pending,
                }
            }
            Step::Over => panic!("a call was polled after it had ended"),
        }
    }

    /// For how long the call has been awaited, if its deadline has passed before it was dispatched.
    fn is_late(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        let now = Instant::now();
        (deadline <= now).then(|| self.begun.map_or(Duration::ZERO, |begun| now - begun))
    }

    fn find_worker(&mut self, permit: Permit) -> Result<(), Error> {
        match self.hold.pool().acquire() {
            Ok(lease) => self.dispatch(permit, lease),
            Err(place) => {
                self.step = Step::Worker(Some(permit), place);
                if !self.may_wait && self.hold.pool().starts_for_everybody() {
                    // It waits all the same, if not in line.
                    self.waiting = Waiting::begin(self.hold.pool()).ok();
                    return Ok(());
                }
                self.begin_waiting(self.hold.pool().waiting.load(Ordering::Relaxed))
            }
        }
    }

    fn begin_waiting(&mut self, waiting: usize) -> Result<(), Error> {
        if !self.may_wait {
            return Err(Error::Saturated { waiting });
        }
        if self.waiting.is_none() {
            self.waiting = Some(Waiting::begin(self.hold.pool())?);
        }
        self.begun.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Waits on, unless the time for waiting is over.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<R>, Error>> {
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let queue_deadline = self.queue_timeout.map(|timeout| after(begun, timeout));
        let Some(due) = queue_deadline.into_iter().chain(self.deadline).min() else {
            return Poll::Pending;
        };
        let now = Instant::now();
        if due <= now {
            let starting = matches!(self.step, Step::Worker(..)) && self.hold.pool().is_starting();
            let phase = if starting {
                Phase::Starting
            } else {
                Phase::Queued
            };
            return Poll::Ready(Err(Error::Timeout {
                phase,
                elapsed: now - begun,
            }));
        }
        match &self.timer {
            Some(timer) => timer.set_waker(cx.waker()),
            None => self.timer = Some(self.hold.pool().supervisor.wake_at(due, cx.waker().clone())),
        }
        Poll::Pending
    }

    /// Encodes the arguments straight into the worker's slot and gives it the call.
    fn dispatch(&mut self, permit: Permit, lease: Lease) -> Result<(), Error> {
        // Over unless it is published: encoding runs the application's code, which may panic.
        self.end();
        let written = self.write(&lease)?;
        let budget = Budget {
            timeout: self.timeout,
            deadline: self.deadline,
            cpu_time: self.hold.pool().config.limits.cpu_time,
        };
        let pool = self.hold.pool();
        match Worker::publish(pool, lease, permit, self.function, written, budget) {
            Ok(mut in_flight) => {
                if self.output.is_some() {
                    in_flight.keep_output();
                }
                self.step = Step::InFlight(in_flight);
                Ok(())
            }
            Err((permit, worker)) => {
                self.dispatches += 1;
                if self.dispatches < DISPATCHES_MAX {
                    return self.find_worker(permit);
                }
                let function = pool.functions.entry(self.function);
                let broken = broken_by(&worker, Duration::ZERO, function, Cause::Unresponsive);
                Err(Broken {
                    process_died: true,
                    ..broken
                }
                .into())
            }
        }
    }

    fn write(&self, lease: &Lease) -> Result<Written, Error> {
        let function = self.hold.pool().functions.entry(self.function);
        let args = self.args.as_ref().expect("kept until the call is over");
        let (name, kind) = (function.name(), &function.info.kind);
        lease.worker().request_begins();
        let mut writer = lease.worker().slot().writer();
        let encoded = codec::encode(name, kind, self.codec, args, &mut writer);
        let len = writer.len();
        let limit = self.hold.pool().config.limits.payload_bytes;
        let written = encoded.and_then(|()| {
            writer
                .finish()
                .map_err(|bytes| Error::PayloadTooLarge { bytes, limit })
        });
        if written.is_err() {
            lease.worker().request_refused(len);
        }
        written
    }

    fn settle(&mut self, outcome: Outcome) -> Result<Option<R>, Error> {
        // Over whatever happens: decoding runs the application's code, which may panic.
        let Step::InFlight(mut in_flight) = std::mem::replace(&mut self.step, Step::Over) else {
            unreachable!("only a call in flight has an outcome")
        };
        if let Some(output) = &mut self.output {
            *output = in_flight.kept_output().unwrap_or_default();
        }
        let pool = self.hold.pool();
        let published = in_flight.published();
        let queue = self
            .begun
            .map(|begun| published.saturating_duration_since(begun));
        if !matches!(outcome, Outcome::Retry { .. }) {
            in_flight.time(&pool.tally, queue);
        }
        let function = pool.functions.entry(self.function);
        match outcome {
            Outcome::Failed { failure, stderr } => {
                Err(self.failure(&in_flight, function, failure, stderr))
            }
            Outcome::Reply(payload) => {
                let kind = &function.info.kind;
                let (result, buffer) = payload
                    .decoded(|bytes| codec::decode(function.name(), kind, self.codec, bytes));
                if let Some(buffer) = buffer {
                    in_flight.give_back(buffer);
                }
                result.map(Some)
            }
            Outcome::Retry { exit } => {
                // One that ended in good order just before says nothing about the call.
                let ended = exit == Some(Exit::Code(0));
                if ended && self.ended_before < self.hold.pool().config.workers {
                    self.ended_before += 1;
                } else {
                    self.dispatches += 1;
                }
                if self.dispatches < DISPATCHES_MAX {
                    self.step = Step::Begin;
                    return Ok(None);
                }
                let broken = broken(&in_flight, function, Cause::Unresponsive);
                Err(Broken {
                    exit,
                    process_died: true,
                    ..broken
                }
                .into())
            }
            Outcome::Stopped(StopReason::TimedOut) => Err(Error::Timeout {
                phase: Phase::Running,
                elapsed: in_flight.published().elapsed(),
            }),
            Outcome::Stopped(StopReason::CpuTime) => {
                let limit = self.hold.pool().config.limits.cpu_time.unwrap_or_default();
                let broken = broken(&in_flight, function, Cause::CpuTime { limit });
                let process_died = self.hold.pool().config.interrupt == Interrupt::KillOnly;
                Err(Broken {
                    process_died,
                    ..broken
                }
                .into())
            }
            Outcome::Stopped(StopReason::CallerGone | StopReason::Cancelled) => Err(Error::Closed),
            Outcome::Died { exit, stderr } => {
                const SIGSYS: Exit = Exit::Signal(31);
                let cause = match exit {
                    Some(SIGSYS) => Cause::PolicyViolation { syscall: None },
                    _ => Cause::Died,
                };
                let broken = broken(&in_flight, function, cause);
                Err(Broken {
                    exit,
                    stderr_tail: stderr,
                    process_died: true,
                    ..broken
                }
                .into())
            }
            Outcome::Lie(lie) => Err(disbelieved(&in_flight, function, lie)),
        }
    }

    /// What a worker says of a failed call.
    fn failure(
        &self,
        in_flight: &InFlight,
        function: &Entry,
        Failure { kind, backtrace }: Failure,
        stderr_tail: String,
    ) -> Error {
        let cause = match kind {
            FailureKind::Trap(kind) => Cause::Trap(trap(kind)),
            FailureKind::Panic { message, location } => Cause::Panic { message, location },
            FailureKind::OutOfMemory { limit, requested } => {
                Cause::OutOfMemory { limit, requested }
            }
            FailureKind::NoRoomForArguments { bytes } => Cause::OutOfMemory {
                limit: self.hold.pool().config.limits.memory_bytes as u64,
                requested: bytes,
            },
            FailureKind::StackOverflow => Cause::StackOverflow,
            FailureKind::Exit(code) => Cause::GuestExit(code),
            FailureKind::Abi(what) => Cause::Protocol(format!("by the guest's code: {what}")),
            FailureKind::ResultTooLarge { bytes } => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                return Error::PayloadTooLarge {
                    bytes,
                    limit: self.hold.pool().config.limits.payload_bytes,
                };
            }
        };
        Broken {
            backtrace,
            stderr_tail,
            ..broken(in_flight, function, cause)
        }
        .into()
    }
}

impl<A, R> Running<A, R> {
    /// Lets go of everything that only a call under way needs.
    fn end(&mut self) {
        self.step = Step::Over;
        self.waiting = None;
        self.watch = None;
        self.timer = None;
    }

    /// Whether the call waits or runs. One that never began has nothing to go on with.
    pub(crate) fn is_under_way(&self) -> bool {
        !matches!(self.step, Step::Failed(_) | Step::Begin | Step::Over)
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.hold.pool()
    }

    /// From now on the call does not keep its pool in service; what is returned does.
    pub(crate) fn let_go(&mut self) -> Hold {
        let detached = Hold::Pool(Arc::clone(self.pool()));
        std::mem::replace(&mut self.hold, detached)
    }
}

impl<A, R> Drop for Running<A, R> {
    fn drop(&mut self) {
        let Some(detach) = self.detach.take().filter(|_| self.is_under_way()) else {
            if self.counted {
                self.pool().tally.ended(CallEnd::Cancelled);
            }
            return;
        };
        detach(Running {
            hold: self.hold.clone(),
            function: self.function,
            args: self.args.take(),
            step: std::mem::replace(&mut self.step, Step::Over),
            codec: self.codec,
            timeout: self.timeout,
            queue_timeout: self.queue_timeout,
            deadline: self.deadline,
            limiter: self.limiter.take(),
            begun: self.begun,
            counted: std::mem::take(&mut self.counted),
            timer: self.timer.take(),
            waiting: self.waiting.take(),
            watch: self.watch.take(),
            output: self.output.take(),
            may_wait: self.may_wait,
            dispatches: self.dispatches,
            ended_before: self.ended_before,
            detach: None,
            result: std::marker::PhantomData,
        });
    }
}

impl<A, R> std::fmt::Debug for Running<A, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let function = self.pool().functions.get(self.function).map(Entry::name);
        f.debug_struct("Running")
            .field("function", &function)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

fn broken(in_flight: &InFlight, function: &Entry, cause: Cause) -> Broken {
    let elapsed = in_flight.published().elapsed();
    broken_by(in_flight.worker(), elapsed, function, cause)
}

fn broken_by(worker: &Worker, elapsed: Duration, function: &Entry, cause: Cause) -> Broken {
    Broken {
        function: function.name().to_owned(),
        worker_id: worker.id,
        pid: worker.pid(),
        cause,
        exit: None,
        stderr_tail: String::new(),
        elapsed,
        backtrace: None,
        process_died: false,
    }
}

/// A worker that is not believed is killed.
fn disbelieved(in_flight: &InFlight, function: &Entry, lie: Disbelief) -> Error {
    let broken = broken(
        in_flight,
        function,
        Cause::Protocol(format!("the worker is not believed: {lie}")),
    );
    Broken {
        process_died: true,
        ..broken
    }
    .into()
}

fn trap(kind: TrapKind) -> Trap {
    match kind {
        TrapKind::Unreachable => Trap::Unreachable,
        TrapKind::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        TrapKind::TableOutOfBounds => Trap::TableOutOfBounds,
        TrapKind::IndirectCallToNull => Trap::IndirectCallToNull,
        TrapKind::BadSignature => Trap::BadSignature,
        TrapKind::IntegerOverflow => Trap::IntegerOverflow,
        TrapKind::IntegerDivisionByZero => Trap::IntegerDivisionByZero,
        TrapKind::BadConversionToInteger => Trap::BadConversionToInteger,
        TrapKind::Other => Trap::Other,
    }
}

/// Lets a dropped call go on, without keeping its pool alive.
pub(super) fn detach<A, R>(running: Running<A, R>)
where
    A: Serialize + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    drop(handle::spawn(running, true));
}
