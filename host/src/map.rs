//! One function over many inputs.

mod work;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::work::Work;
use crate::Error;
use crate::call;
use crate::function::Function;
use crate::hold::Shared;

/// While a result is copied and the next input encoded, a worker would wait; so this many calls are under
/// way for each worker.
const CALLS_PER_WORKER: usize = 2;

/// From one chunk to the next: what the first calls of a function take says little.
const GROWTH_MAX: usize = 16;

/// Into so many a chunk may be split where few items are left.
const SHARES_MAX: usize = 8;

/// So many results are handed out before the other calls are looked after.
const BETWEEN_LOOKS: u32 = 32;

/// The calls of a map.
#[derive(Debug)]
struct Calls<A, R, I> {
    shared: Arc<Shared>,
    /// `None` when nothing can be called, and that has been said.
    function: Option<Result<usize, Error>>,
    /// `None` when there are no more.
    inputs: Option<I>,
    in_flight: Option<usize>,
    timeout: Option<Duration>,
    /// In the order of the inputs.
    works: VecDeque<Work<A, R>>,
    /// How many items travel together.
    chunk: usize,
    /// How many results have been handed out since all works were looked after.
    handed_out: u32,
}

impl<A, R, I> Calls<A, R, I>
where
    A: Serialize,
    R: DeserializeOwned,
{
    fn new(shared: Arc<Shared>, function: &impl Function<A, R>, inputs: I) -> Self {
        Self {
            function: Some(call::find::<A, R>(&shared.pool, function)),
            inputs: Some(inputs),
            in_flight: None,
            timeout: None,
            works: VecDeque::new(),
            chunk: 1,
            handed_out: 0,
            shared,
        }
    }
}

impl<A, R, I> Calls<A, R, I> {
    /// How many works may be under way, and how many items in the next.
    fn room(&self) -> (usize, usize)
    where
        I: Iterator,
    {
        let config = &self.shared.pool.config;
        let works = config.workers.saturating_mul(CALLS_PER_WORKER);
        // A limit of time is each item's own, which only a call of its own can have.
        let is_timed =
            self.timeout.or(config.limits.timeout).is_some() || config.limits.cpu_time.is_some();
        if is_timed {
            return (self.in_flight.map_or(works, |items| works.min(items)), 1);
        }
        let left = self.inputs.as_ref().and_then(|left| left.size_hint().1);
        let chunk = left.map_or(self.chunk, |left| share(self.chunk, left, works));
        match self.in_flight {
            None => (works, chunk),
            Some(items) => (works.min(items), chunk.min((items / works).max(1))),
        }
    }

    /// So many items should have travelled together, if that is known.
    fn learn(&mut self, chunk: Option<usize>) {
        if let Some(chunk) = chunk {
            self.chunk = chunk.min(self.chunk.saturating_mul(GROWTH_MAX)).max(1);
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
            Some(Ok(function)) if self.in_flight != Some(0) => function,
            Some(Ok(_)) => {
                let reason = "no call could ever run: give at least 1";
                return Err(Error::config("in_flight", reason));
            }
            Some(Err(error)) => return Err(error),
            None => return Ok(()),
        };
        self.function = Some(Ok(function));
        self.handed_out = 0;
        self.go_on(0, function, cx);
        self.works.retain(|work| !work.is_used_up());
        while place(&self.works).is_none() {
            let (works, chunk) = self.room();
            if self.works.len() >= works {
                break;
            }
            let inputs = self.inputs.iter_mut().flat_map(|inputs| inputs.take(chunk));
            let items: Vec<A> = inputs.collect();
            if items.len() < chunk {
                self.inputs = None;
            }
            let work = Work::begin(&self.shared, function, items, self.timeout);
            let Some(work) = work else {
                break;
            };
            // First: reading a result runs the application's code, which may panic, and what is not here then is lost.
            self.works.push_back(work);
            self.go_on(self.works.len() - 1, function, cx);
        }
        Ok(())
    }

    /// Goes on with the works from this one on.
    fn go_on(&mut self, from: usize, function: usize, cx: &mut Context<'_>) {
        // All of them before the replies of one are read: a worker that is free has its next items meanwhile.
        for go_on in [Work::poll, Work::read] {
            for place in from..self.works.len() {
                let chunk = go_on(&mut self.works[place], &self.shared, function, cx);
                self.learn(chunk);
            }
        }
    }

    fn poll(&mut self, place: Place<A, R>, cx: &mut Context<'_>) -> Poll<Option<Result<R, Error>>> {
        if (self.handed_out >= BETWEEN_LOOKS || place(&self.works).is_none())
            && let Err(error) = self.advance(place, cx)
        {
            return Poll::Ready(Some(Err(error)));
        }
        let ready = place(&self.works).and_then(|place| self.works.get_mut(place));
        match ready.and_then(|work| work.results.pop_front()) {
            Some(result) => {
                self.handed_out += 1;
                if self.works.front().is_some_and(Work::is_used_up) {
                    self.works.pop_front();
                }
                Poll::Ready(Some(result))
            }
            None if self.works.is_empty() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl<A, R, I> Drop for Calls<A, R, I> {
    fn drop(&mut self) {
        for work in &self.works {
            if !work.counts_itself() {
                self.shared.pool.tally.cancelled_many(work.left as u64);
            }
        }
    }
}

/// Where the next result is, if it is there.
type Place<A, R> = fn(&VecDeque<Work<A, R>>) -> Option<usize>;

/// How many of so many items that are left travel together, where as many as a `chunk` may. The last ones are shared out,
/// or one worker would have a whole chunk when the others have nothing.
fn share(chunk: usize, left: usize, works: usize) -> usize {
    let least = chunk.div_ceil(SHARES_MAX);
    chunk.min(left.div_ceil(works).max(least))
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
                shared: Arc<Shared>,
                function: &impl Function<A, R>,
                inputs: I,
            ) -> Self {
                Self(Calls::new(shared, function, inputs))
            }
        }

        impl<A, R, I> $name<A, R, I> {
            /// How many calls may be under way at once, results that nobody has taken included. Default:
            /// twice as many as there may be workers; of short calls, as many as take some milliseconds, at
            /// most 4096 times as many. With 0 the stream's only item is [`Error::Config`].
            pub fn in_flight(mut self, calls: usize) -> Self {
                self.0.in_flight = Some(calls);
                self
            }

            /// How long each call may run. Default: [`crate::Limits::timeout`]. Calls with a limit of time
            /// do not travel together, so short ones cost more.
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
                    .field("under_way", &self.0.works.len())
                    .finish_non_exhaustive()
            }
        }
    };
}

stream! {
    /// Results in the order of their inputs, made by [`crate::Host::map`].
    Map, |works| works.front().is_some_and(Work::has_result).then_some(0)
}

stream! {
    /// Results as they come, made by [`crate::Host::map_unordered`].
    MapUnordered, |works| works.iter().position(Work::has_result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_items_are_shared_out_but_not_one_by_one() {
        let shares = |chunk, mut left: usize| {
            let mut shares = Vec::new();
            while left > 0 {
                let share = share(chunk, left, 4).min(left);
                shares.push(share);
                left -= share;
            }
            shares
        };
        assert_eq!(shares(100, 1000)[..7], [100; 7]);
        assert_eq!(shares(100, 1000)[7..11], [75, 57, 42, 32]);
        assert!(shares(100, 1000).iter().rev().skip(1).all(|n| *n >= 13));
        assert_eq!(shares(1, 3), [1; 3]);
        // What is claimed to be left need not be true.
        assert_eq!(share(100, 0, 4), 13);
        assert_eq!(share(100, usize::MAX, 4), 100);
    }
}
