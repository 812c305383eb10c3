//! Some inputs of a map, from their call to their results.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{Advance, Call, Chunk, Raw, Running};
use crate::hold::{Hold, Shared};
use crate::pool::CallEnd;
use crate::{Cause, Error};

/// Short calls travel together, about as many as take this long: the host is asleep meanwhile, and waking it costs
/// a part of that.
const CHUNK: Duration = Duration::from_millis(2);

/// The most calls that travel together.
const CHUNK_MAX: usize = 4096;

/// Some items, and how far they have come.
#[derive(Debug)]
pub(super) struct Work<A, R> {
    way: Way<A, R>,
    /// Of the first of them.
    pub(super) results: VecDeque<Result<R, Error>>,
    /// How many of them have no result yet.
    pub(super) left: usize,
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

impl<A, R> Work<A, R> {
    pub(super) fn is_used_up(&self) -> bool {
        self.results.is_empty() && self.left == 0
    }

    /// One alone counts itself; those that travel together are counted by whoever has them.
    pub(super) fn counts_itself(&self) -> bool {
        matches!(self.way, Way::One(..))
    }

    pub(super) fn has_result(&self) -> bool {
        !self.results.is_empty()
    }
}

impl<A, R> Work<A, R>
where
    A: Serialize,
    R: DeserializeOwned,
{
    /// Begins with some of them, each of which may take so long; none if there are none.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        function: usize,
        mut items: Vec<A>,
        timeout: Option<Duration>,
    ) -> Option<Self> {
        let left = items.len();
        let way = match left {
            0 => return None,
            1 => {
                let mut call = Call::of(
                    Hold::Service(Arc::clone(shared)),
                    Ok(function),
                    items.pop()?,
                );
                if let Some(timeout) = timeout {
                    call = call.timeout(timeout);
                }
                Way::One(Box::new(call.into_running()), Instant::now())
            }
            _ => {
                shared.pool.tally.submitted_many(left as u64);
                Way::Many(Box::new(chunk(shared, function, items)))
            }
        };
        Some(Self {
            way,
            results: VecDeque::new(),
            left,
        })
    }

    /// Goes on. When all items are over in one go: how many of them should have been so.
    ///
    /// # Panics
    /// When the application's own code panicked as it read a result of theirs before.
    pub(super) fn poll(
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
    pub(super) fn read(
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
                let results = running.replies(raw, 1..=all, Running::decode);
                let begun = results.len();
                (results, begun, None)
            }
            Err(error) => {
                let (results, begun) = running
                    .replies_left(all, Running::decode)
                    .unwrap_or_default();
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

/// How many items take about as long as a chunk should, when so many took this time.
fn better_size(took: Duration, items: usize) -> usize {
    let better = CHUNK.as_nanos() * items as u128 / took.as_nanos().max(1);
    usize::try_from(better)
        .unwrap_or(usize::MAX)
        .clamp(1, CHUNK_MAX)
}

fn chunk<A, R>(shared: &Arc<Shared>, function: usize, items: Vec<A>) -> Running<Chunk<A>, R> {
    let hold = Hold::Service(Arc::clone(shared));
    let call = Call::of(hold, Ok(function), Chunk(items));
    call.uncounted().into_running()
}
