//! The future of a call: from the caller to a worker and back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::Args;
use super::choices::Chosen;
use super::hosting::Hosting;
use super::replies::{Left, Raw};
use super::waiting::Waiting;
use crate::error::Phase;
use crate::functions::Entry;
use crate::handle;
use crate::hold::Hold;
use crate::limiter::{Pass, Permit, WaitPermit};
use crate::limits::Codec;
use crate::pool::{CallEnd, Detached, InFlight, Pool, Taken, WaitWorker};
use crate::progress::Whereabouts;
use crate::rider::Ride;
use crate::{Error, Limiter, Progress, output};

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
    pub(super) may_wait: bool,
    /// Whether it counts itself; one that stands for several is counted by whoever made it.
    pub(super) counts: bool,
    /// Whether it is counted as submitted, and not yet as ended.
    pub(super) counted: bool,
    pub(super) timeout: Option<Duration>,
    pub(super) chosen: Chosen,
    /// If it has ever had to wait for a permit or a worker.
    pub(super) waiting: Option<Box<Waiting>>,
    /// The host function that the guest waits for.
    pub(super) hosting: Option<Box<Hosting>>,
    /// What a chunk has left beside its replies.
    pub(super) left: Option<Box<Left>>,
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
    Failed(Option<Box<Error>>),
    Begin,
    Permit(WaitPermit),
    /// Without a permit where calls wait for host functions.
    Worker(Option<Permit>, WaitWorker),
    InFlight(InFlight),
    /// As one of several calls that travel together.
    Riding(Ride),
    Over,
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
        let mut steps = 0;
        let result = loop {
            if has_had_its_turn(&mut steps, cx) {
                return Poll::Pending;
            }
            match this.advance(cx) {
                Poll::Pending => return Poll::Pending,
                // Nobody listens, so a worker that is honest emits nothing.
                Poll::Ready(Ok(None | Some(Advance::Item(_)))) => {}
                Poll::Ready(Ok(Some(Advance::Reply(raw)))) => break this.decode_raw(raw),
                Poll::Ready(Err(error)) => break Err(error),
            }
        };
        this.count(&result);
        // In parts, which stay in registers: in one piece it would be read back right after it was written in two.
        match result {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

/// Whether other tasks of this thread are to go on before the next step: a guest that wants one thing after the
/// other would hold them up for as long as it likes.
fn has_had_its_turn(steps: &mut u32, cx: &Context<'_>) -> bool {
    /// Several times as many as a call that goes smoothly takes.
    const STEPS_MAX: u32 = 16;
    *steps += 1;
    let over = *steps > STEPS_MAX;
    if over {
        #[expect(
            clippy::waker_clone_wake,
            reason = "of calls that travel together all are to look, and by reference one of them is woken"
        )]
        cx.waker().clone().wake();
    }
    over
}

/// What a poll of a call has brought.
#[derive(Debug)]
pub(crate) enum Advance {
    /// The guest has emitted this, encoded.
    Item(Vec<u8>),
    /// The call is over.
    Reply(Raw),
}

impl<A, R> Running<A, R>
where
    A: Args,
{
    /// Polls for what comes next, the guest's items included.
    pub(crate) fn poll_raw(&mut self, cx: &mut Context<'_>) -> Poll<Result<Advance, Error>> {
        let mut steps = 0;
        let result = loop {
            if has_had_its_turn(&mut steps, cx) {
                return Poll::Pending;
            }
            match self.advance(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(item @ Advance::Item(_)))) => return Poll::Ready(Ok(item)),
                Poll::Ready(result) => break result,
            }
        };
        self.count(&result);
        Poll::Ready(result.map(|reply| reply.expect("there are no more steps")))
    }

    /// One step on; `None` when there are more.
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Advance>, Error>> {
        if self.counts && !self.counted {
            self.counted = true;
            self.hold.pool().tally.submitted();
        }
        match &mut self.step {
            Step::Failed(error) => {
                let error = error.take().expect("a call ends once");
                Poll::Ready(Err(*error))
            }
            Step::Begin => {
                if self.hold.pool().is_closed() {
                    return Poll::Ready(Err(Error::Closed));
                }
                if let Some(elapsed) = self.is_late() {
                    let phase = Phase::Queued;
                    return Poll::Ready(Err(Error::Timeout { phase, elapsed }));
                }
                let limiter = self.limiter();
                let permit = match self.has_been_in_line() {
                    true => limiter.acquire_first(),
                    false => limiter.acquire(|| self.rider()),
                };
                match permit {
                    Ok(permit) => Poll::Ready(self.find_worker(permit).map(|()| None)),
                    Err(mut place) => {
                        if place.is_only() {
                            self.hold.pool().await_stop();
                            if let Poll::Ready(pass) = place.poll(cx) {
                                return Poll::Ready(self.pass(pass).map(|()| None));
                            }
                        }
                        self.step = Step::Permit(place);
                        Poll::Ready(self.begin_waiting().map(|()| None))
                    }
                }
            }
            Step::Permit(place) => match place.poll(cx) {
                Poll::Ready(pass) => Poll::Ready(self.pass(pass).map(|()| None)),
                Poll::Pending => {
                    // It is in the limiter's queue, not in the pool's, whose end it must not miss.
                    let (waiting, pool) = self.waiting();
                    if waiting.is_closed_or_wakes(pool, cx) {
                        return Poll::Ready(Err(Error::Closed));
                    }
                    self.wait(cx)
                }
            },
            Step::Worker(permit, place) => match place.poll(cx) {
                Poll::Ready(Ok(lease)) => {
                    let permit = permit.take();
                    Poll::Ready(self.with_worker(permit, lease).map(|()| None))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
                Poll::Pending => self.wait(cx),
            },
            Step::InFlight(in_flight) => {
                match in_flight.poll(self.hold.pool(), self.function, cx) {
                    Poll::Ready(Taken::Over(outcome)) => {
                        self.hosting = None;
                        Poll::Ready(self.settle(outcome))
                    }
                    Poll::Ready(Taken::Short(payload)) => {
                        self.hosting = None;
                        Poll::Ready(Ok(Some(self.settle_short(payload))))
                    }
                    Poll::Ready(Taken::Event(event)) => Poll::Ready(self.serve(event)),
                    Poll::Pending => {
                        if let Some(following) = self.chosen.following() {
                            following.look(in_flight, &self.hold.pool().supervisor, cx);
                        }
                        self.host(cx)
                    }
                }
            }
            Step::Riding(ride) => match ride.poll(cx) {
                Poll::Ready(landed) => Poll::Ready(self.landed(landed)),
                Poll::Pending => Poll::Pending,
            },
            Step::Over => panic!("a call was polled after it had ended"),
        }
    }

    /// It has waited in line for long enough.
    fn pass(&mut self, pass: Pass) -> Result<(), Error> {
        match pass {
            Pass::Permit(permit, rider) => {
                let (waiting, _) = self.waiting();
                waiting.rider = rider;
                self.find_worker(permit)
            }
            Pass::Ride(ride) => {
                self.end();
                self.step = Step::Riding(ride);
                Ok(())
            }
        }
    }

    /// Whether it has had its turn before, and could not begin.
    fn has_been_in_line(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.has_ridden)
    }

    /// For how long the call has been awaited, if its deadline has passed before it was dispatched.
    fn is_late(&self) -> Option<Duration> {
        let deadline = self.chosen.deadline()?;
        let now = Instant::now();
        let begun = self.waiting.as_ref().map_or(now, |waiting| waiting.since());
        (deadline <= now).then(|| now - begun)
    }

    /// Its state as one that waits.
    pub(super) fn waiting(&mut self) -> (&mut Waiting, &Arc<Pool>) {
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::new(Waiting::begin()));
        (waiting, self.hold.pool())
    }

    pub(super) fn limiter(&self) -> &Limiter {
        let default = &self.hold.pool().config.limiter;
        self.chosen.limiter().unwrap_or(default)
    }

    /// Waits in line.
    pub(super) fn begin_waiting(&mut self) -> Result<(), Error> {
        if !self.may_wait {
            let waiting = self.hold.pool().waiting.load(Ordering::Relaxed);
            return Err(Error::Saturated { waiting });
        }
        let (waiting, pool) = self.waiting();
        waiting.join(pool)
    }

    /// Waits on, unless the time for waiting is over.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Advance>, Error>> {
        let (timeout, deadline) = match self.chosen.get() {
            Some(choices) => (choices.queue_timeout, choices.deadline),
            None => (None, None),
        };
        let (waiting, pool) = self.waiting();
        let Some(elapsed) = waiting.is_over(pool, timeout, deadline, cx) else {
            return Poll::Pending;
        };
        let starting = matches!(self.step, Step::Worker(..)) && self.hold.pool().is_starting();
        let phase = if starting {
            Phase::Starting
        } else {
            Phase::Queued
        };
        Poll::Ready(Err(Error::Timeout { phase, elapsed }))
    }
}

impl<A, R> Running<A, R> {
    /// The call is over, and so ended.
    fn count<T>(&mut self, result: &Result<T, Error>) {
        self.count_as(CallEnd::of_result(result));
    }

    fn count_as(&mut self, how: CallEnd) {
        self.end();
        if self.counts {
            self.hold.pool().tally.ended(how);
            self.counted = false;
        }
    }

    /// Stops the call for this reason, which is returned.
    pub(crate) fn give_up(&mut self, error: Error) -> Error {
        self.count_as(CallEnd::of(&error));
        error
    }

    /// Gives the arguments back, once the call is over.
    pub(crate) fn take_args(&mut self) -> Option<A> {
        self.args.take()
    }

    /// What the guest wrote, if it was to be kept.
    pub(crate) fn take_output(&mut self) -> output::Written {
        let kept = self
            .chosen
            .get_mut()
            .and_then(|choices| choices.output.take());
        kept.map(|written| *written).unwrap_or_default()
    }

    pub(crate) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    pub(crate) fn function_name(&self) -> &str {
        self.hold.pool().functions.entry(self.function).name()
    }

    /// What says how far the guest has come, whoever polls the call.
    pub(crate) fn track(&mut self) -> Arc<Whereabouts> {
        let whereabouts = Arc::<Whereabouts>::default();
        if let Step::InFlight(in_flight) = &self.step {
            whereabouts.set(Arc::downgrade(in_flight.worker()), in_flight.id());
        }
        self.chosen.change().whereabouts = Some(Arc::clone(&whereabouts));
        whereabouts
    }

    /// How far the guest says that it has come.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.chosen.whereabouts()?.progress()
    }

    /// Lets go of everything that only a call under way needs.
    pub(super) fn end(&mut self) {
        self.step = Step::Over;
        self.hosting = None;
        if let Some(waiting) = &mut self.waiting {
            waiting.end();
        }
    }

    /// Whether the call waits or runs. One that never began has nothing to go on with.
    pub(crate) fn is_under_way(&self) -> bool {
        match &self.step {
            Step::Failed(_) | Step::Begin | Step::Over => false,
            Step::InFlight(in_flight) => !in_flight.is_over(),
            Step::Permit(_) | Step::Worker(..) | Step::Riding(_) => true,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.hold.pool()
    }

    /// From now on the call does not keep its pool in service; what is returned does.
    pub(crate) fn let_go(&mut self) -> Hold {
        let detached = Hold::Pool(Detached::new(self.pool()));
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
            may_wait: self.may_wait,
            counts: self.counts,
            counted: std::mem::take(&mut self.counted),
            timeout: self.timeout,
            chosen: std::mem::take(&mut self.chosen),
            waiting: self.waiting.take(),
            hosting: self.hosting.take(),
            left: None,
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

/// Lets a dropped call go on, without keeping its pool alive.
pub(super) fn detach<A, R>(running: Running<A, R>)
where
    A: Serialize + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    drop(handle::spawn(running, true));
}
