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

use crate::call::{self, Advance, Call, Chunk, Raw, Running};
use crate::function::Function;
use crate::hold::{Hold, Shared};
use crate::pool::CallEnd;
use crate::{Cause, Error};

/// While a result is copied and the next input encoded, a worker would wait; so this many calls are under
/// way for each worker.
const CALLS_PER_WORKER: usize = 2;

/// Short calls travel together, about as many as take this long: the host is asleep meanwhile, and waking it costs
/// a part of that.
const CHUNK: Duration = Duration::from_millis(2);

/// The most calls that travel together.
const CHUNK_MAX: usize = 4096;

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

/// Some items, and how far they have come.
#[derive(Debug)]
struct Work<A, R> {
    way: Way<A, R>,
    /// Of the first of them.
    results: VecDeque<Result<R, Error>>,
    /// How many of them have no result yet.
    left: usize,
}

#[derive(Debug)]
enum Way<A, R> {
    /// One item, as a call, and when it was made.
    One(Box<Running<A, R>>, Instant),
    /// Several, as one call.
    Many(Box<Running<Chunk<A>, R>>),
    /// Several whose call is over and has not been read yet. A worker had it for this time, if it replied.
    Ended(
        Box<Running<Chunk<A>, R>>,
        Result<Raw, Error>,
        Option<Duration>,
    ),
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
            let Some(work) = self.begin(function, items) else {
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
                Way::One(Box::new(call.into_running()), Instant::now())
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
            if !matches!(work.way, Way::One(..)) {
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
        self.results.is_empty() && self.left == 0
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
    ///
    /// # Panics
    /// When the application's own code panicked as it read a result of theirs before.
    fn poll(
        &mut self,
        shared: &Arc<Shared>,
        function: usize,
        cx: &mut Context<'_>,
    ) -> Option<usize> {
        match &mut self.way {
            Way::Ended(..) => None,
            Way::Over => {
                assert_eq!(self.left, 0, "results were lost in an earlier panic");
                None
            }
            Way::One(running, begun) => {
                let Poll::Ready(result) = Pin::new(&mut **running).poll(cx) else {
                    return None;
                };
                let took = result.is_ok().then(|| begun.elapsed());
                self.way = Way::Over;
                self.left = 0;
                self.results.push_back(result);
                took.map(|took| better_size(took, 1))
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
                // Without the time that it waited for a worker: more of them would not shorten that.
                let took = ended.as_ref().ok().and_then(Raw::took);
                if let Way::Many(running) = std::mem::replace(&mut self.way, Way::Over) {
                    self.way = Way::Ended(running, ended, took);
                }
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

    /// Reads what has ended since. When all items are over in one go, or none has begun: how many of them should have
    /// travelled together.
    fn read(
        &mut self,
        shared: &Arc<Shared>,
        function: usize,
        cx: &mut Context<'_>,
    ) -> Option<usize> {
        let mut better = None;
        loop {
            match std::mem::replace(&mut self.way, Way::Over) {
                Way::Ended(running, ended, took) => {
                    let all = self.left;
                    self.take(shared, function, *running, ended);
                    match self.left {
                        0 => return took.map(|took| better_size(took, all)),
                        // Together they may be longer than a payload.
                        left if left == all => better = Some(all / 2),
                        _ => {}
                    }
                    self.poll(shared, function, cx);
                }
                other => {
                    self.way = other;
                    return better;
                }
            }
        }
    }

    /// What has become of items that travelled together, and how those go on that have not begun.
    fn take(
        &mut self,
        shared: &Arc<Shared>,
        function: usize,
        mut running: Running<Chunk<A>, R>,
        ended: Result<Raw, Error>,
    ) {
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
            return;
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
    }

    fn give(&mut self, shared: &Arc<Shared>, result: Result<R, Error>) {
        self.left -= 1;
        shared.pool.tally.ended(CallEnd::of_result(&result));
        self.results.push_back(result);
    }

    /// The items that have not begun: together, if some of the others have come to their end so, else one by one,
    /// so that each has its own error.
    fn go_on(&mut self, shared: &Arc<Shared>, function: usize, items: VecDeque<A>, together: bool) {
        self.way = if items.is_empty() {
            Way::Over
        } else if together && items.len() > 1 {
            Way::Many(Box::new(chunk(shared, function, items.into())))
        } else {
            Way::Singly(None, items)
        };
    }
}

/// How many of so many items that are left travel together, where as many as a `chunk` may. The last ones are shared out,
/// or one worker would have a whole chunk when the others have nothing.
fn share(chunk: usize, left: usize, works: usize) -> usize {
    let least = chunk.div_ceil(SHARES_MAX);
    chunk.min(left.div_ceil(works).max(least))
}

/// How many items take about as long as a chunk should, when so many took this time.
fn better_size(took: Duration, items: usize) -> usize {
    let better = CHUNK.as_nanos() * items as u128 / took.as_nanos().max(1);
    usize::try_from(better)
        .unwrap_or(usize::MAX)
        .clamp(1, CHUNK_MAX)
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
