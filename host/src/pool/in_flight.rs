//! A call that a worker has, as its caller holds it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use stockade_guest::__private::share;
use stockade_wire::message::Failure;
use stockade_wire::slot::machine::StopReason;
use stockade_wire::slot::{Chunk, Disbelief, INLINE_REPLY, Output};
use tracing::Span;
use tracing::span::Id;

use super::worker::{After, Found};
use super::{Event, Pool, Tally, Worker};
use crate::error::Exit;
use crate::later::CallerSpan;
use crate::limiter::Permit;
use crate::output::Written;
use crate::spin::{self, Lucks, Sleep};

/// A published call. Dropping it stops the call.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// Gone back to its pool with the last that there is to say about the call, if that is a short reply.
    worker: Option<Arc<Worker>>,
    of: CallOf,
    id: u64,
    contents: Contents,
    /// Nothing of it runs any more.
    ends: bool,
    looks: Looks,
    /// How many of its events have been seen.
    seen: u32,
    /// The reply was there within the first poll.
    quick: bool,
    /// It was not, and is still waited for.
    slept: Option<Sleep>,
    over: bool,
    /// What the guest wrote, if its caller wants it.
    kept: Option<Box<Written>>,
}

/// What a call stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents {
    /// A chunk of items.
    pub(super) is_chunk: bool,
    /// The items are several callers', of whom any polls for all.
    pub(super) is_shared: bool,
    /// How many calls.
    pub(super) calls: usize,
}

/// Whether the next poll may look for an answer for a while before it sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    None,
    Reply,
    /// The same after an answer to its guest, if polling for the function is worth it.
    Answered,
    /// For less long, as other calls of this thread wait meanwhile.
    Beside,
    /// For a batch.
    Together,
    /// For longer, as it is the worker's first call.
    First,
    /// For longer, as the worker makes a new instance first. That says nothing about the function.
    Renewal,
}

/// Which call it is, for those who report what became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOf {
    pub(crate) worker_id: u64,
    pub(crate) pid: u32,
    pub(crate) published: Instant,
}

impl CallOf {
    /// One that this worker was to be given now.
    pub(crate) fn now(worker: &Worker) -> Self {
        Self {
            worker_id: worker.id,
            pid: worker.pid(),
            published: Instant::now(),
        }
    }
}

/// What has become of a published call.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is over.
    Over(Outcome),
    /// It is over with a short reply, and nothing is left to be done.
    Short(Payload),
    /// Its guest wants something, and waits for it.
    Event(Event),
}

/// How a published call ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The worker answered; this is a private copy.
    Reply(Payload),
    /// The same of a chunk, and what its items have written to stderr.
    Replies { payload: Payload, stderr: String },
    /// The guest failed.
    Failed {
        failure: Box<Failure>,
        stderr: String,
    },
    /// No guest code has run: dispatch it again.
    Retry { exit: Option<Exit> },
    /// It was stopped; what the items of a chunk had left by then.
    Stopped(StopReason, Option<Box<Chunk>>),
    /// The process died while it had the call.
    Died {
        exit: Option<Exit>,
        stderr: String,
        /// The forbidden system call that it says it died for.
        forbidden: Option<u32>,
    },
    /// The worker wrote something that no honest worker writes.
    Lie(Disbelief),
}

/// A private copy of a reply.
#[derive(Debug)]
pub(crate) enum Payload {
    /// A short one, which costs no buffer.
    Inline([u8; INLINE_REPLY], u8),
    /// A longer one, in a buffer that the worker lends from call to call.
    Buffer(Vec<u8>),
}

/// Whoever has waited for longer is timed in any case.
const LONG_WAIT: Duration = Duration::from_millis(1);

/// Of single calls one in so many is learned from.
const LEARNED: u64 = 8;

/// A shorter payload is decoded where it lies; a longer one may become part of the result.
const SHARED_FROM: usize = 64 << 10;

impl Payload {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Inline(bytes, len) => bytes[..usize::from(len)].to_vec(),
            Self::Buffer(bytes) => bytes,
        }
    }

    /// What `decode` makes of the bytes, and the buffer, unless the result holds on to it.
    pub(crate) fn decoded<R>(self, decode: impl FnOnce(&[u8]) -> R) -> (R, Option<Vec<u8>>) {
        match self {
            Self::Inline(bytes, len) => (decode(&bytes[..usize::from(len)]), None),
            Self::Buffer(bytes) if bytes.len() < SHARED_FROM => (decode(&bytes), Some(bytes)),
            Self::Buffer(bytes) => {
                let message = bytes::Bytes::from(bytes);
                let result = share(&message, || decode(&message));
                (result, message.try_into_mut().ok().map(Vec::from))
            }
        }
    }
}

impl InFlight {
    pub(super) fn new(
        worker: Arc<Worker>,
        id: u64,
        published: Instant,
        looks: Looks,
        contents: Contents,
    ) -> Self {
        let of = CallOf {
            worker_id: worker.id,
            pid: worker.pid(),
            published,
        };
        Self {
            worker: Some(worker),
            of,
            id,
            contents,
            ends: false,
            looks,
            seen: 0,
            quick: false,
            slept: None,
            over: false,
            kept: None,
        }
    }

    /// Its worker.
    ///
    /// # Panics
    /// When the call has had its short reply.
    pub(crate) fn worker(&self) -> &Arc<Worker> {
        let worker = self.worker.as_ref();
        worker.expect("only a short reply leaves nothing to be done with the worker")
    }

    /// From now on what the guest writes is kept for the caller.
    pub(crate) fn keep_output(&mut self) {
        self.kept = Some(Box::default());
    }

    /// What was kept.
    pub(crate) fn kept_output(&mut self) -> Option<Box<Written>> {
        self.kept.take()
    }

    /// Notes how long the call took, after it had waited for `queue`, if it had; for each of those that it stood for. Of some
    /// calls it is returned, to be learned from: what is learned lies in a line that all threads read.
    pub(crate) fn time(&self, tally: &Tally, queue: Option<Duration>) -> Option<Duration> {
        let waited = queue.is_some_and(|queue| queue > LONG_WAIT);
        let quick = self.quick && !waited && !self.contents.is_chunk;
        let weight = Tally::weight(self.id, quick)?;
        let calls = u32::try_from(self.contents.calls)
            .unwrap_or(u32::MAX)
            .max(1);
        let each = self.of.published.elapsed() / calls;
        tally.timed(queue.unwrap_or_default(), each, weight * u64::from(calls));
        (self.contents.is_chunk || self.id.is_multiple_of(LEARNED)).then_some(each)
    }

    /// What the items of a chunk have left.
    pub(crate) fn chunk(&self) -> Option<Box<Chunk>> {
        let slot = self.worker().slot();
        self.contents
            .is_chunk
            .then(|| Box::new(slot.chunk(self.id)))
    }

    /// Lets no further item of a shared chunk begin, and looks at those that have; `None` when it is over. From now on it
    /// stands for the one that is under way.
    pub(crate) fn close_chunk(&mut self) -> Option<Box<Chunk>> {
        let chunk = self.worker().close_chunk(self.id)?;
        self.contents.calls = 1;
        Some(chunk)
    }

    /// Nothing of it runs any more, so it comes to its end by itself: dropped, its worker is not killed for it.
    pub(crate) fn ends_by_itself(&mut self) {
        self.ends = true;
    }

    /// What the guest has written beyond this, as long as its worker has not gone on.
    pub(crate) fn output_since(&self, read: [u64; 2]) -> Option<[Output; 2]> {
        self.worker.as_ref()?.output_since(self.id, read)
    }

    pub(crate) fn published(&self) -> Instant {
        self.of.published
    }

    /// Whether its caller has what there is to have of it.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn of(&self) -> CallOf {
        self.of
    }

    pub(crate) fn poll(
        &mut self,
        pool: &Arc<Pool>,
        function: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Taken> {
        self.look_for_a_while(&pool.functions.entry(function).lucks);
        if self.kept.is_none()
            && let Some(short) = self.worker().take_short(self.id)
        {
            self.over = true;
            if let Some(sleep) = self.slept.take() {
                sleep.end();
            }
            if let Some(worker) = self.worker.take() {
                pool.release(worker);
            }
            return Poll::Ready(Taken::Short(Payload::Inline(short.bytes, short.len)));
        }
        match self.worker().take(self.id, self.seen, cx.waker()) {
            None => {
                if self.slept.is_none() && !self.contents.is_chunk {
                    self.slept = Some(Sleep::begin());
                }
                self.leave_span();
                Poll::Pending
            }
            Some(Found::Event(event)) => {
                self.seen = event.place;
                // Whatever it wants takes longer than the calls that this is meant for.
                self.quick = false;
                Poll::Ready(Taken::Event(event))
            }
            Some(Found::Over(outcome, after)) => {
                // First: what follows runs code of the application's, which may panic.
                self.over = outcome.is_some();
                if let Some(sleep) = self.slept.take() {
                    sleep.end();
                }
                self.finish(pool, outcome.as_ref(), after);
                outcome.map_or(Poll::Pending, |outcome| Poll::Ready(Taken::Over(outcome)))
            }
        }
    }

    /// Does what is left to do, and gives what the guest wrote to its caller, or to where the embedder wants it.
    #[inline]
    fn finish(&mut self, pool: &Pool, outcome: Option<&Outcome>, after: After) {
        if let (Some(reason), Some(worker)) = (after.killed, &self.worker) {
            pool.worker_killed(worker, reason);
        }
        let free = match outcome {
            _ if !after.release => None,
            Some(Outcome::Reply(Payload::Inline(..))) => self.worker.take(),
            _ => self.worker.clone(),
        };
        let left = after.finish(pool, free);
        left.span.end();
        let Some(written) = left.written else {
            return;
        };
        let name = pool.functions.entry(written.function).name();
        let written = written.output;
        let worker = self.of.worker_id;
        if self.kept.is_none() {
            let to = pool.config.wasi.output();
            return self.report(|span| written.deliver(to, name, worker, span));
        }
        self.report(|span| written.log.deliver(name, worker, span));
        if let Some(kept) = self.kept.as_deref_mut() {
            *kept = written;
        }
    }

    /// Has the application's subscriber see what the guest wrote: in the span of whoever polls, if the call is its own.
    pub(crate) fn report(&self, deliver: impl FnOnce(Option<&Id>)) {
        if self.contents.is_shared {
            // Nor is a panic of the subscriber to meet whoever polls for all.
            let _ = catch_unwind(AssertUnwindSafe(|| deliver(None)));
        } else {
            deliver(Span::current().id().as_ref());
        }
    }

    /// What the guest writes when its caller does not look is reported where the caller was last in a span.
    fn leave_span(&self) {
        let span = self.span();
        if !span.is_none() {
            self.worker().set_span(self.id, span);
        }
    }

    fn span(&self) -> CallerSpan {
        match self.contents.is_shared {
            true => CallerSpan::default(),
            false => CallerSpan::current(),
        }
    }

    /// Lets the guest go on with what it wanted, and with its permit, if it had lent that.
    pub(crate) fn answer(&mut self, place: u32, answer: &[u8], permit: Option<Permit>) {
        self.worker().answer(self.id, place, answer, permit);
        // The guest is awake, and may want the next thing as soon.
        self.looks = match spin::may_poll_again() {
            true => Looks::Answered,
            false => Looks::None,
        };
    }

    /// Polls for the reply, only in the poll that published the call or answered its guest: for longer it would
    /// hold up the other tasks of this thread.
    #[inline]
    fn look_for_a_while(&mut self, lucks: &Lucks) {
        let looks = std::mem::replace(&mut self.looks, Looks::None);
        let found = |longest| spin::poll(longest, || self.worker().peek(self.id, self.seen));
        match looks {
            Looks::Answered if !lucks.alone.try_it() => {}
            Looks::Reply | Looks::Answered | Looks::Beside | Looks::Together => {
                let (luck, longest) = match looks {
                    Looks::Beside => (&lucks.beside, spin::BESIDE_MAX),
                    Looks::Together => (&lucks.together, spin::POLL_MAX),
                    _ => (&lucks.alone, spin::POLL_MAX),
                };
                let is_found = found(longest)
                    || looks == Looks::Reply && spin::take_long_poll() && found(spin::POLL_LONGER);
                if is_found {
                    self.quick = true;
                    luck.hit();
                } else {
                    luck.miss();
                }
            }
            // It counts: where each worker has one call, there are no others.
            Looks::First => match found(spin::STOP_MAX) {
                true => lucks.alone.hit(),
                false => lucks.alone.miss(),
            },
            Looks::Renewal => _ = found(spin::STOP_MAX),
            Looks::None => {}
        }
    }

    /// The worker of a call that is over, if it is not gone, and which call it was.
    pub(crate) fn into_worker(mut self) -> Option<(Arc<Worker>, CallOf)> {
        self.worker.take().map(|worker| (worker, self.of))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.over
            && let Some(worker) = &self.worker
        {
            // The application's subscriber may panic, and the call is stopped all the same.
            let span = catch_unwind(AssertUnwindSafe(|| self.span())).unwrap_or_default();
            let old = worker.abandon(self.id, self.ends, span);
            let _ = catch_unwind(AssertUnwindSafe(|| old.end()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bytes;

    fn decoded(len: usize) -> (Bytes, Option<Vec<u8>>) {
        let encoded =
            bincode::serde::encode_to_vec(vec![7u8; len], bincode::config::standard()).unwrap();
        let decode = |bytes: &[u8]| {
            bincode::serde::borrow_decode_from_slice(bytes, bincode::config::standard())
                .unwrap()
                .0
        };
        Payload::Buffer(encoded).decoded(decode)
    }

    #[test]
    fn a_large_result_takes_the_buffer_and_a_short_one_leaves_it() {
        let (large, buffer) = decoded(SHARED_FROM);
        assert_eq!((large.len(), buffer), (SHARED_FROM, None));
        let (short, buffer) = decoded(SHARED_FROM / 2);
        assert_eq!(short.len(), SHARED_FROM / 2);
        assert!(buffer.is_some());
        let (number, buffer) = Payload::Buffer(vec![0; SHARED_FROM]).decoded(<[u8]>::len);
        assert_eq!(
            (number, buffer.map(|b| b.len())),
            (SHARED_FROM, Some(SHARED_FROM))
        );
    }
}
