//! One function over many inputs.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{self, Advance, Call, Chunk, Running};
use crate::function::Function;
use crate::hold::{Hold, Shared};
use crate::pool::CallEnd;
use crate::{Cause, Error};

/// While a result is copied and the next input encoded, a worker would wait; so this many calls are under
/// way for each worker.
const CALLS_PER_WORKER: usize = 2;

/// Short calls travel together, about as many as take this long: the host is asleep meanwhile, and waking it costs
/// a part of that.
const CHUNK: Duration = Duration::from_millis(1);

/// The most calls that travel together.
const CHUNK_MAX: usize = 4096;

/// From one chunk to the next: what the first calls of a function take says little.
const GROWTH_MAX: usize = 8;

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

/// Some items, and how far they have come.
#[derive(Debug)]
struct Work<A, R> {
    way: Way<A, R>,
    /// Of the first of them.
    results: VecDeque<Result<R, Error>>,
    /// How many of them have no result yet.
    left: usize,
    begun: Instant,
}

#[derive(Debug)]
enum Way<A, R> {
    /// One item, as a call.
    One(Box<Running<A, R>>),
    /// Several, as one call.
    Many(Box<Running<Chunk<A>, R>>),
    /// Several that cannot travel together, one after the other.
    Singly(Option<Box<Running<A, R>>>, VecDeque<A>),
    Over,
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
    /// How many works may be under way, and how many items in each.
    fn room(&self) -> (usize, usize) {
        let config = &self.shared.pool.config;
        let works = config.workers.saturating_mul(CALLS_PER_WORKER);
        // A limit of time is each item's own, which only a call of its own can have.
        let is_timed =
            self.timeout.or(config.limits.timeout).is_some() || config.limits.cpu_time.is_some();
        let chunk = if is_timed { 1 } else { self.chunk };
        match self.in_flight {
            None => (works, chunk),
            Some(items) => (works.min(items), chunk.min((items / works).max(1))),
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
        for work in &mut self.works {
            if let Some(chunk) = work.poll(&self.shared, function, cx) {
                self.chunk = chunk.min(self.chunk.saturating_mul(GROWTH_MAX)).max(1);
            }
        }
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
            let Some(mut work) = self.begin(function, items) else {
                break;
            };
            if let Some(chunk) = work.poll(&self.shared, function, cx) {
                self.chunk = chunk.min(self.chunk.saturating_mul(GROWTH_MAX)).max(1);
            }
            self.works.push_back(work);
        }
        Ok(())
    }

    fn begin(&self, function: usize, mut items: Vec<A>) -> Option<Work<A, R>> {
        let left = items.len();
        let way = match left {
            0 => return None,
            1 => {
                let mut call = Call::of(
                    Hold::Service(Arc::clone(&self.shared)),
                    Ok(function),
                    items.pop()?,
                );
                if let Some(timeout) = self.timeout {
                    call = call.timeout(timeout);
                }
                Way::One(Box::new(call.into_running()))
            }
            _ => {
                self.shared.pool.tally.submitted_many(left as u64);
                Way::Many(Box::new(chunk(&self.shared, function, items)))
            }
        };
        Some(Work {
            way,
            results: VecDeque::new(),
            left,
            begun: Instant::now(),
        })
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
            // One alone counts itself.
            if !matches!(work.way, Way::One(_)) {
                self.shared.pool.tally.cancelled_many(work.left as u64);
            }
        }
    }
}

fn chunk<A, R>(shared: &Arc<Shared>, function: usize, items: Vec<A>) -> Running<Chunk<A>, R> {
    let hold = Hold::Service(Arc::clone(shared));
    let call = Call::of(hold, Ok(function), Chunk(items));
    call.uncounted().into_running()
}

/// Where the next result is, if it is there.
type Place<A, R> = fn(&VecDeque<Work<A, R>>) -> Option<usize>;

impl<A, R> Work<A, R> {
    fn is_used_up(&self) -> bool {
        self.results.is_empty() && matches!(self.way, Way::Over)
    }

    fn has_result(&self) -> bool {
        !self.results.is_empty()
    }
}

impl<A, R> Work<A, R>
where
    A: Serialize,
    R: DeserializeOwned,
{
    /// Goes on. When all items are over in one go: how many of them should have been so.
    fn poll(
        &mut self,
        shared: &Arc<Shared>,
        function: usize,
        cx: &mut Context<'_>,
    ) -> Option<usize> {
        match &mut self.way {
            Way::Over => None,
            Way::One(running) => {
                let Poll::Ready(result) = Pin::new(&mut **running).poll(cx) else {
                    return None;
                };
                self.way = Way::Over;
                self.left = 0;
                self.results.push_back(result);
                Some(self.better_size(1))
            }
            Way::Many(running) => {
                let ended = match running.poll_raw(cx) {
                    Poll::Pending => return None,
                    // Nobody listens. Others go on before the next.
                    Poll::Ready(Ok(Advance::Item(_))) => {
                        cx.waker().wake_by_ref();
                        return None;
                    }
                    Poll::Ready(Ok(Advance::Reply(raw))) => Ok(raw),
                    Poll::Ready(Err(error)) => Err(error),
                };
                let items = running.take_args().map(|Chunk(items)| items);
                let mut items = VecDeque::from(items.unwrap_or_default());
                let all = items.len();
                let (results, begun, error) = match ended {
                    Ok(raw) => {
                        let results = running.items_of(raw, all);
                        let begun = results.len();
                        (results, begun, None)
                    }
                    Err(error) => {
                        let (results, begun) = running.items_left().unwrap_or_default();
                        (results, begun, Some(error))
                    }
                };
                for result in results.into_iter().take(all) {
                    items.pop_front();
                    self.give(shared, result);
                }
                let over = all - items.len();
                if items.is_empty() {
                    self.way = Way::Over;
                    return Some(self.better_size(all));
                }
                // A worker that lies may have run any of them.
                if let Some(Error::BrokenWorker(broken)) = &error
                    && matches!(broken.cause(), Cause::Protocol(_))
                {
                    for _ in items.drain(..) {
                        self.give(shared, Err(Error::BrokenWorker(broken.clone())));
                    }
                }
                // The one that was under way has the error, and is not run again.
                if begun > over
                    && items.pop_front().is_some()
                    && let Some(error) = error
                {
                    self.give(shared, Err(error));
                }
                self.go_on(shared, function, items, over > 0);
                self.poll(shared, function, cx);
                None
            }
            Way::Singly(running, items) => {
                loop {
                    let call = match running {
                        Some(call) => call,
                        None => match items.pop_front() {
                            Some(args) => {
                                let hold = Hold::Service(Arc::clone(shared));
                                let call = Call::of(hold, Ok(function), args).uncounted();
                                running.insert(Box::new(call.into_running()))
                            }
                            None => break,
                        },
                    };
                    let Poll::Ready(result) = Pin::new(&mut **call).poll(cx) else {
                        return None;
                    };
                    *running = None;
                    self.left -= 1;
                    shared.pool.tally.ended(CallEnd::of_result(&result));
                    self.results.push_back(result);
                }
                self.way = Way::Over;
                None
            }
        }
    }

    fn give(&mut self, shared: &Arc<Shared>, result: Result<R, Error>) {
        self.left -= 1;
        shared.pool.tally.ended(CallEnd::of_result(&result));
        self.results.push_back(result);
    }

    /// The items that have not begun: together, if some of the others have come to their end so, else one by one,
    /// so that each has its own error.
    fn go_on(&mut self, shared: &Arc<Shared>, function: usize, items: VecDeque<A>, together: bool) {
        self.begun = Instant::now();
        self.way = if items.is_empty() {
            Way::Over
        } else if together && items.len() > 1 {
            Way::Many(Box::new(chunk(shared, function, items.into())))
        } else {
            Way::Singly(None, items)
        };
    }

    /// How many items take about as long as a chunk should.
    fn better_size(&self, items: usize) -> usize {
        let took = self.begun.elapsed().as_nanos().max(1);
        let better = CHUNK.as_nanos() * items as u128 / took;
        usize::try_from(better)
            .unwrap_or(usize::MAX)
            .clamp(1, CHUNK_MAX)
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
