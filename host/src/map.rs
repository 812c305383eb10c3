//! One function over many inputs.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::call::{self, Call, Running};
use crate::function::Function;
use crate::hold::Shared;

/// While a result is copied and the next input encoded, a worker would wait; so this many calls are under
/// way for each worker.
const CALLS_PER_WORKER: usize = 2;

/// The calls of a map.
#[derive(Debug)]
struct Calls<A, R, I> {
    shared: Arc<Shared>,
    /// `None` when nothing can be called, and that has been said.
    function: Option<Result<usize, Error>>,
    /// `None` when there are no more.
    inputs: Option<I>,
    in_flight: usize,
    timeout: Option<Duration>,
    /// In the order of the inputs.
    calls: VecDeque<Item<A, R>>,
}

#[derive(Debug)]
enum Item<A, R> {
    UnderWay(Running<A, R>),
    Over(Result<R, Error>),
}

impl<A, R, I> Calls<A, R, I>
where
    A: Serialize,
    R: DeserializeOwned,
{
    fn new(shared: &Arc<Shared>, function: &impl Function<A, R>, inputs: I) -> Self {
        Self {
            function: Some(call::find::<A, R>(shared, function)),
            inputs: Some(inputs),
            in_flight: shared.pool.config.workers.saturating_mul(CALLS_PER_WORKER),
            timeout: None,
            calls: VecDeque::new(),
            shared: Arc::clone(shared),
        }
    }
}

impl<A, R, I> Calls<A, R, I>
where
    A: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = A>,
{
    /// Goes on with every call, and begins as many as may be under way until there is a result; or says that
    /// none can be begun.
    fn advance(&mut self, place: Place<A, R>, cx: &mut Context<'_>) -> Result<(), Error> {
        let function = match self.function.take() {
            Some(Ok(function)) if self.in_flight > 0 => function,
            Some(Ok(_)) => {
                let reason = "no call could ever run: give at least 1";
                return Err(Error::config("in_flight", reason));
            }
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        };
        self.function = Some(Ok(function));
        for item in &mut self.calls {
            item.poll(cx);
        }
        while self.calls.len() < self.in_flight && place(&self.calls).is_none() {
            let Some(args) = self.inputs.as_mut().and_then(Iterator::next) else {
                self.inputs = None;
                break;
            };
            let mut call = Call::of(&self.shared, Ok(function), args);
            if let Some(timeout) = self.timeout {
                call = call.timeout(timeout);
            }
            let mut item = Item::UnderWay(call.into_running());
            item.poll(cx);
            self.calls.push_back(item);
        }
        Ok(())
    }

    fn poll(&mut self, place: Place<A, R>, cx: &mut Context<'_>) -> Poll<Option<Result<R, Error>>> {
        if let Err(error) = self.advance(place, cx) {
            return Poll::Ready(Some(Err(error)));
        }
        match place(&self.calls).and_then(|place| self.calls.remove(place)) {
            Some(Item::Over(result)) => Poll::Ready(Some(result)),
            _ if self.calls.is_empty() => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}

/// Where the next result is, if it is there.
type Place<A, R> = fn(&VecDeque<Item<A, R>>) -> Option<usize>;

impl<A, R> Item<A, R>
where
    A: Serialize,
    R: DeserializeOwned,
{
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::UnderWay(running) = self
            && let Poll::Ready(result) = Pin::new(running).poll(cx)
        {
            *self = Self::Over(result);
        }
    }
}

macro_rules! stream {
    ($(#[$doc:meta])* $name:ident, $place:expr) => {
        $(#[$doc])*
        #[must_use = "streams do nothing unless polled"]
        pub struct $name<A, R, I>(Calls<A, R, I>);

        impl<A, R, I> $name<A, R, I>
        where
            A: Serialize,
            R: DeserializeOwned,
        {
            pub(crate) fn new(
                shared: &Arc<Shared>,
                function: &impl Function<A, R>,
                inputs: I,
            ) -> Self {
                Self(Calls::new(shared, function, inputs))
            }
        }

        impl<A, R, I> $name<A, R, I> {
            /// How many calls may be under way at once, results that nobody has taken included. Default:
            /// twice as many as there may be workers. With 0 the stream's only item is
            /// [`Error::Config`].
            pub fn in_flight(mut self, calls: usize) -> Self {
                self.0.in_flight = calls;
                self
            }

            /// How long each call may run. Default: [`crate::Limits::timeout`].
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.0.timeout = Some(timeout);
                self
            }
        }

        impl<A, R, I> $name<A, R, I>
        where
            A: Serialize,
            R: DeserializeOwned,
            I: Iterator<Item = A>,
        {
            /// The next result; `None` after the last.
            #[expect(
                clippy::should_implement_trait,
                reason = "named as every stream's method; the type is no iterator"
            )]
            pub fn next(&mut self) -> impl Future<Output = Option<Result<R, Error>>> {
                poll_fn(|cx| self.0.poll($place, cx))
            }
        }

        /// No field is pinned: calls are reached through their own heap memory.
        impl<A, R, I> Unpin for $name<A, R, I> {}

        impl<A, R, I> Stream for $name<A, R, I>
        where
            A: Serialize,
            R: DeserializeOwned,
            I: Iterator<Item = A>,
        {
            type Item = Result<R, Error>;

            fn poll_next(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Self::Item>> {
                self.get_mut().0.poll($place, cx)
            }
        }

        impl<A, R, I> std::fmt::Debug for $name<A, R, I> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("under_way", &self.0.calls.len())
                    .finish_non_exhaustive()
            }
        }
    };
}

stream! {
    /// Results in the order of their inputs, made by [`crate::Host::map`].
    Map, |calls| matches!(calls.front(), Some(Item::Over(_))).then_some(0)
}

stream! {
    /// Results as they come, made by [`crate::Host::map_unordered`].
    MapUnordered, |calls| calls.iter().position(|call| matches!(call, Item::Over(_)))
}
