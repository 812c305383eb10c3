//! Calls of several callers that travel together: one worker has them as one call, and runs one after the other.
//!
//! Calls that wait in line for a permit would otherwise cost a wake-up on each side, or a CPU that polls, for each of
//! them, while workers and callers compete for the same CPUs. Whoever gets the permit takes along those behind it in
//! line that call the same function.
//!
//! None of them gives up anything for it. Each is encoded and decoded by its own caller. One that is dropped stops
//! alone, and one that takes long holds up nobody: then no further item begins, those that are over land, and those that
//! have not begun go back to where they came from, before all who still wait. One that writes something or fails is the
//! last of its batch, so that what it leaves is not taken for another's.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};

use super::args::{Args, Requests};
use super::choices::Chosen;
use super::dispatch::DISPATCHES_MAX;
use super::replies::{Left, Raw};
use super::running::{Advance, Running, Step};
use super::waiting::Waiting;
use crate::hold::Hold;
use crate::limiter::Permit;
use crate::pool::{Detached, Lease, OVERDUE, Pool, Worker};
use crate::rider::{Carrier, Landed, Ride, Rider, Route};
use crate::{Cause, Error};

/// A limit of time is that of the whole batch. This many times what a batch may take until it is broken up is so long
/// that it means each of the calls.
const TIMEOUT_MIN: u32 = 20;

/// So often at once a caller goes on for others who want it: its own call may have landed, and the guest of one of them
/// can have it wanted for ever.
const TURNS_MAX: u32 = 4;

impl<A: Args, R> Running<A, R> {
    /// What others need to take the call along, if they may: it is a short one of a function whose calls are short, and
    /// nothing about it is special.
    pub(super) fn rider(&self) -> Option<Arc<Rider>> {
        let pool = self.hold.pool();
        let entry = pool.functions.entry(self.function);
        let limits = &pool.config.limits;
        let is_plain = self.chosen.get().is_none()
            && self.may_wait
            && limits.cpu_time.is_none()
            && self
                .timeout
                .is_none_or(|timeout| timeout >= OVERDUE * TIMEOUT_MIN)
            && pool.config.host_functions.is_empty();
        if !is_plain || entry.typical.together() < 2 {
            return None;
        }
        let args = self.args.as_ref()?;
        let request = args.short(entry.name(), &entry.info.kind, self.codec)?;
        let route = Route {
            pool: Arc::as_ptr(pool).addr(),
            function: self.function,
            codec: self.codec,
            timeout: self.timeout,
        };
        Some(Rider::new(route, entry.typical.is_short(), request))
    }

    /// The calls that travel with this one, which has a permit.
    pub(super) fn take_along(&self, rider: &Rider, worker: &Worker) -> Vec<Arc<Rider>> {
        let pool = self.hold.pool();
        let together = pool.functions.entry(self.function).typical.together();
        let bytes_max = pool.config.limits.payload_bytes;
        // No worker serves more calls than it may.
        let most = worker.calls_left().min(together as u64).saturating_sub(1);
        self.limiter().take_along(rider, most as usize, bytes_max)
    }

    /// Has a worker run this call and those that it has taken along.
    pub(super) fn lead(
        &mut self,
        rider: Arc<Rider>,
        along: Vec<Arc<Rider>>,
        permit: Permit,
        lease: Lease,
    ) {
        let pool = self.hold.pool();
        let riders = [Arc::clone(&rider)].into_iter().chain(along).collect();
        // The first of them has waited for longest: that is how long they all have, as far as it is counted.
        let waiting = self.waiting.take();
        Together::begin(pool, riders, waiting, permit, lease);
        self.end();
        self.step = Step::Riding(Ride::new(rider));
    }

    /// Its ride is over.
    pub(super) fn landed(&mut self, landed: Landed) -> Result<Option<Advance>, Error> {
        self.step = Step::Over;
        match landed {
            Landed::Reply(reply) => Ok(Some(Advance::Reply(Raw::of_rider(reply)))),
            Landed::Failed(error) => Err(*error),
            Landed::Unbegun => {
                let (waiting, _) = self.waiting();
                waiting.has_ridden = true;
                self.step = Step::Begin;
                Ok(None)
            }
            Landed::Lost => panic!("the result was lost in a panic of the application's own code"),
        }
    }
}

/// Several calls that one worker has.
#[derive(Debug)]
struct Together {
    riders: Arc<[Arc<Rider>]>,
    state: Mutex<State>,
    /// Whether somebody has wanted to go on since whoever has the lock began to.
    wanted: AtomicBool,
    /// Whether one of the riders has left since all were looked after.
    left: AtomicBool,
    /// Whether one of them has been woken since.
    woken: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// None when all have landed.
    running: Option<Box<Running<Requests, ()>>>,
    /// No further one of them begins.
    closed: bool,
}

/// What a rider gets that has not been decoded.
type Reply = Result<Vec<u8>, Error>;

impl Together {
    fn begin(
        pool: &Arc<Pool>,
        riders: Arc<[Arc<Rider>]>,
        waiting: Option<Box<Waiting>>,
        permit: Permit,
        lease: Lease,
    ) {
        let route = riders[0].route;
        pool.tally.travel_together(riders.len());
        let mut running = Box::new(Running {
            hold: Hold::Pool(Detached::new(pool)),
            function: route.function,
            args: Some(Requests(Arc::clone(&riders))),
            step: Step::Over,
            codec: route.codec,
            may_wait: true,
            counts: false,
            counted: false,
            timeout: route.timeout,
            chosen: Chosen::default(),
            waiting,
            hosting: None,
            left: None,
            // Once: another worker may serve fewer, and whoever is gone by then must not begin.
            dispatches: DISPATCHES_MAX - 1,
            ended_before: usize::MAX,
            detach: None,
            result: std::marker::PhantomData,
        });
        let dispatched = running.dispatch(permit, lease);
        let together = Arc::new(Self {
            riders,
            state: Mutex::new(State {
                running: Some(running),
                closed: false,
            }),
            wanted: AtomicBool::new(false),
            left: AtomicBool::new(false),
            woken: AtomicBool::new(false),
        });
        let mut state = together.state();
        for rider in &*together.riders {
            let carrier = Arc::clone(&together);
            if !rider.board(carrier) {
                together.left.store(true, Ordering::Relaxed);
            }
        }
        if let Err(error) = dispatched {
            together.settle(&mut state, Err(error));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(self: &Arc<Self>, state: &mut State) {
        let Some(running) = &mut state.running else {
            return;
        };
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        match catch_unwind(AssertUnwindSafe(|| running.poll_raw(&mut cx))) {
            Ok(Poll::Pending) => self.look_after(state),
            Ok(Poll::Ready(Ok(Advance::Item(_)))) => {
                // Nobody listens, so a worker that is honest emits nothing.
                self.look_after(state);
                waker.wake();
            }
            Ok(Poll::Ready(Ok(Advance::Reply(raw)))) => self.settle(state, Ok(raw)),
            Ok(Poll::Ready(Err(error))) => self.settle(state, Err(error)),
            Err(panic) => {
                let _lost = state.running.take();
                self.riders
                    .iter()
                    .for_each(|rider| rider.land(Landed::Lost));
                resume_unwind(panic)
            }
        }
    }

    /// Breaks them up, if one has left or they take long.
    fn look_after(&self, state: &mut State) {
        if self.left.swap(false, Ordering::SeqCst) || state.is_overdue() {
            self.break_up(state);
        }
    }

    /// All that were begun are over, or nothing of them runs on.
    fn settle(&self, state: &mut State, ended: Result<Raw, Error>) {
        let Some(mut running) = state.running.take() else {
            return;
        };
        let (replies, begun, mut error) = match ended {
            Ok(raw) => {
                // One that was closed early may have had no item yet.
                let replies = running.replies(raw, 0..=self.riders.len(), read);
                let begun = replies.len();
                (replies, begun, None)
            }
            Err(error) => {
                let left = running.replies_left(self.riders.len(), read);
                let (replies, begun) = left.unwrap_or_default();
                (replies, begun, Some(error))
            }
        };
        let over = replies.len();
        let mut replies = replies.into_iter();
        for (place, rider) in self.riders.iter().enumerate() {
            rider.land(match (replies.next(), &error) {
                (Some(reply), _) => landed(reply),
                // A worker that lies may have run any of them.
                (None, Some(Error::BrokenWorker(broken)))
                    if matches!(broken.cause(), Cause::Protocol(_)) =>
                {
                    Landed::Failed(Box::new(Error::BrokenWorker(broken.clone())))
                }
                (None, _) if place == over && begun > over => error
                    .take()
                    .map_or(Landed::Unbegun, |error| Landed::Failed(Box::new(error))),
                (None, _) => Landed::Unbegun,
            });
        }
    }

    /// Lets no further one begin. Only the one that runs stays, for as long as its caller does.
    fn break_up(&self, state: &mut State) {
        let Some(running) = &mut state.running else {
            return;
        };
        let Some((mut replies, begun)) = running.close() else {
            // It has just ended, or is not to go on without whoever has left.
            self.left.store(true, Ordering::SeqCst);
            self.wanted.store(true, Ordering::SeqCst);
            return;
        };
        let runs = begun > replies.len();
        // The worker is about to tell what goes with a failure.
        replies.pop_if(|last| last.is_err());
        state.closed = true;
        let over = replies.len();
        let mut replies = replies.into_iter();
        let mut is_awaited = false;
        for (place, rider) in self.riders.iter().enumerate() {
            match replies.next() {
                Some(reply) => rider.land(landed(reply)),
                None if place == over && begun > over => is_awaited = rider.rides(),
                None => rider.land(Landed::Unbegun),
            }
        }
        if is_awaited {
            // Whoever has been woken for the end may be one of those that have just landed.
            self.wanted.store(true, Ordering::SeqCst);
        } else {
            if !runs {
                running.ends_by_itself();
            }
            state.running = None;
        }
    }
}

impl Running<Requests, ()> {
    /// Lets no further item begin. Returns what those that are over have replied, and how many have begun; `None` when the
    /// whole is over.
    fn close(&mut self) -> Option<(Vec<Reply>, usize)> {
        let Step::InFlight(in_flight) = &mut self.step else {
            return Some((Vec::new(), 0));
        };
        let chunk = in_flight.close_chunk()?;
        self.left = Some(Box::new(Left::of_chunk(*chunk, in_flight.of())));
        let all = self.args.as_ref().map_or(0, Args::count);
        self.replies_left(all, read)
    }

    /// None of the items runs, and no further one begins.
    fn ends_by_itself(&mut self) {
        if let Step::InFlight(in_flight) = &mut self.step {
            in_flight.ends_by_itself();
        }
    }
}

impl State {
    /// Whether the calls have been under way for longer than is good for those that are over, and for those that have not
    /// begun.
    fn is_overdue(&self) -> bool {
        let published = match self.running.as_deref() {
            Some(Running {
                step: Step::InFlight(in_flight),
                ..
            }) if !self.closed => in_flight.published(),
            _ => return false,
        };
        published.elapsed() >= OVERDUE
    }
}

impl Carrier for Together {
    fn attend(self: Arc<Self>) {
        self.wanted.store(true, Ordering::SeqCst);
        let mut turns = 0;
        loop {
            // Before the look at who has the lock: either that is released now, or whoever releases it sees the wish.
            fence(Ordering::SeqCst);
            let mut state = match self.state.try_lock() {
                Ok(state) => state,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            self.wanted.store(false, Ordering::SeqCst);
            self.woken.store(false, Ordering::SeqCst);
            self.go_on(&mut state);
            drop(state);
            fence(Ordering::SeqCst);
            if !self.wanted.load(Ordering::SeqCst) {
                return;
            }
            turns += 1;
            // Whoever rides can look itself; whoever has left cannot.
            if turns >= TURNS_MAX && !self.left.load(Ordering::SeqCst) {
                return Wake::wake(self);
            }
        }
    }

    fn left(self: Arc<Self>) {
        self.left.store(true, Ordering::SeqCst);
        // Whoever leaves may do so in a panic. The others find that it is lost.
        let _ = catch_unwind(AssertUnwindSafe(|| self.attend()));
    }
}

/// There is something to be seen. All of them are woken, as one alone may not look for a long time; by reference one of
/// them is, who has the others woken in turn, and all if none has looked since: for where they are woken again soon.
impl Wake for Together {
    fn wake(self: Arc<Self>) {
        self.riders.iter().for_each(|rider| rider.wake());
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut riding = self.riders.iter().filter(|rider| rider.rides());
        if self.woken.swap(true, Ordering::SeqCst) {
            riding.for_each(|rider| rider.wake());
        } else if let Some(first) = riding.next() {
            first.wake();
        }
    }
}

fn read(_: &Running<Requests, ()>, reply: &[u8]) -> Reply {
    Ok(reply.to_vec())
}

fn landed(reply: Reply) -> Landed {
    match reply {
        Ok(reply) => Landed::Reply(reply),
        Err(error) => Landed::Failed(Box::new(error)),
    }
}
