//! A call that has not begun: what is called, and the choices about it.

mod args;
mod blame;
mod choices;
mod dispatch;
mod following;
mod hosting;
mod replies;
mod running;
mod serving;
mod settling;
mod together;
mod waiting;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::args::Chunk;
use self::choices::Chosen;
use self::following::Following;
pub(crate) use self::following::Sink;
pub(crate) use self::replies::Raw;
pub(crate) use self::running::Advance;
pub use self::running::Running;
use self::running::{Step, detach};
use crate::function::{Emitting, Function};
use crate::handle::{self, CallHandle};
use crate::hold::Hold;
use crate::limits::{Codec, OnDrop};
use crate::pool::Pool;
use crate::{Error, Limiter};

/// A call that has not been awaited yet, made by [`crate::Host::call`].
///
/// It does nothing before it is awaited or spawned. Dropped after that, it is stopped.
#[must_use = "a call does nothing until it is awaited or spawned"]
#[derive(Debug)]
pub struct Call<A, R>(Running<A, R>);

/// The place of the function that is meant, if it takes and gives these types.
pub(crate) fn find<A, R>(pool: &Pool, function: &impl Function<A, R>) -> Result<usize, Error> {
    let (index, entry) = pool.functions.find(function.name()?)?;
    entry.check::<A, R>()?;
    Ok(index)
}

/// The same where the result's type is not known yet.
pub(crate) fn find_emitting<A>(pool: &Pool, function: &impl Emitting<A>) -> Result<usize, Error> {
    let (index, entry) = pool.functions.find(function.name()?)?;
    entry.check_args::<A>()?;
    Ok(index)
}

impl<A, R> Call<A, R> {
    #[inline(always)]
    pub(crate) fn new(hold: Hold, function: impl Function<A, R>, args: A) -> Self {
        let found = find::<A, R>(hold.pool(), &function);
        Self::of(hold, found, args)
    }

    /// A call of a function that [`find`] found.
    #[inline(always)]
    pub(crate) fn of(hold: Hold, function: Result<usize, Error>, args: A) -> Self {
        let pool = hold.pool();
        let (function, step) = match function {
            Ok(index) => (index, Step::Begin),
            Err(error) => (usize::MAX, Step::Failed(Some(Box::new(error)))),
        };
        Self(Running {
            timeout: pool.config.limits.timeout,
            codec: pool.config.codec,
            hold,
            function,
            args: Some(args),
            step,
            may_wait: true,
            counts: true,
            counted: false,
            chosen: Chosen::default(),
            waiting: None,
            hosting: None,
            left: None,
            dispatches: 0,
            ended_before: 0,
            detach: None,
            result: std::marker::PhantomData,
        })
    }

    /// How long the call may run, from the moment it is given to a worker. Time in the queue does not
    /// count. Default: [`crate::Limits::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(timeout);
        self
    }

    /// How long the call may wait for a permit and a worker. Default: for ever.
    pub fn queue_timeout(mut self, timeout: Duration) -> Self {
        self.0.chosen.change().queue_timeout = Some(timeout);
        self
    }

    /// The moment by which the call must be over, waiting included.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.0.chosen.change().deadline = Some(deadline);
        self
    }

    /// Takes the permit from this limiter instead of the host's.
    pub fn limiter(mut self, limiter: &Limiter) -> Self {
        self.0.chosen.change().limiter = Some(limiter.clone());
        self
    }

    /// How arguments and result are encoded, instead of the host's codec.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.0.codec = codec;
        self
    }

    /// Fails with [`Error::Saturated`] instead of waiting for a permit or a worker.
    pub(crate) fn without_waiting(mut self) -> Self {
        self.0.may_wait = false;
        self
    }

    /// Keeps what the guest writes for the caller.
    pub(crate) fn keeping_output(mut self) -> Self {
        self.0.chosen.change().output = Some(Box::default());
        self
    }

    /// Gives what the guest writes to `sink` while it runs. For calls that keep their output.
    pub(crate) fn following(mut self, sink: Sink) -> Self {
        self.0.chosen.change().following = Some(Following::new(sink));
        self
    }

    /// Leaves counting to whoever made it.
    pub(crate) fn uncounted(mut self) -> Self {
        self.0.counts = false;
        self
    }

    /// Wants what the guest emits, and how far it has come.
    pub(crate) fn listening(mut self) -> Self {
        let choices = self.0.chosen.change();
        choices.listens = true;
        choices.whereabouts = Some(Arc::default());
        self
    }

    /// The future that runs the call.
    #[inline(always)]
    pub(crate) fn into_running(self) -> Running<A, R> {
        self.0
    }
}

impl<A, R> Call<A, R>
where
    A: Serialize + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    /// What happens when the future is dropped before the call is over. Default: [`OnDrop::Cancel`].
    pub fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.0.detach = match on_drop {
            OnDrop::Cancel => None,
            OnDrop::Detach => Some(detach::<A, R>),
        };
        self
    }

    /// Starts the call now, in the background, and returns a handle to await or cancel it.
    ///
    /// It runs as a task of the current tokio runtime, else of the one in which the host was built, else on
    /// a thread of its own.
    pub fn spawn(self) -> CallHandle<R> {
        let mut running = self.0;
        let detached = running.detach.take().is_some();
        handle::spawn(running, detached)
    }
}

impl<A, R> IntoFuture for Call<A, R>
where
    A: Serialize,
    R: DeserializeOwned,
{
    type Output = Result<R, Error>;
    type IntoFuture = Running<A, R>;

    #[inline(always)]
    fn into_future(self) -> Self::IntoFuture {
        self.0
    }
}
