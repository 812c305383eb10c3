//! From what the slot says, through the machine, to what is done about it.
//!
//! What the machine orders is done under the worker's lock; what must not be, such as waking a caller, is
//! collected in an [`After`] for when the lock is released.

use std::sync::{Arc, MutexGuard};
use std::task::Waker;
use std::time::Instant;

use stockade_wire::message::{self, Failure};
use stockade_wire::slot::machine::{Order, Reply, Resolution, Step};
use stockade_wire::slot::{Chunk, Disbelief, Head, INLINE_REPLY, ReplyKind, Seen};

use super::call::Remains;
use super::startup::Startup;
use super::{PAGES_WORTH_RELEASING, Pool, Record, Worker};
use crate::clock;
use crate::error::Exit;
use crate::later::CallerSpan;
use crate::limiter::Permit;
use crate::output::{self, Late};
use crate::pool::EndReason;
use crate::pool::in_flight::{Outcome, Payload};
use crate::spin::Running;
use crate::wake::wake;

/// What was seen of the worker when a step was taken.
#[derive(Debug)]
pub(super) enum LastWord {
    Nothing,
    Reply(Head),
    Failure(Head, Box<Failure>),
    Lie(Disbelief),
    Death(Option<Exit>),
}

/// What is left to do when the lock is released.
#[derive(Debug, Default)]
#[must_use]
pub(in crate::pool) struct After {
    wake: Option<Waker>,
    over: Option<Remains>,
    /// Whether the worker is free.
    pub(in crate::pool) release: bool,
    /// Why the worker, which served, was killed, if it was.
    pub(in crate::pool) killed: Option<EndReason>,
    /// What a call has that was stopped by that: nothing of it runs any more.
    stopped: Option<(Option<Permit>, Option<Running>)>,
    output: Option<Box<Written>>,
    /// Where the caller of a call that is over slept.
    span: CallerSpan,
}

/// What is for the right thread to deliver, or to drop.
#[derive(Debug)]
#[must_use]
pub(in crate::pool) struct Left {
    pub(in crate::pool) written: Option<Box<Written>>,
    pub(in crate::pool) span: CallerSpan,
}

/// What the guest has written during a call of the function of this place.
#[derive(Debug)]
pub(in crate::pool) struct Written {
    pub(in crate::pool) function: usize,
    pub(in crate::pool) output: output::Written,
}

impl After {
    /// Does it, with the worker, if it is free.
    #[inline]
    pub(in crate::pool) fn finish(self, pool: &Pool, free: Option<Arc<Worker>>) -> Left {
        if let Some(worker) = free {
            pool.release(worker);
        }
        // With its permit: whoever gets that finds the worker.
        drop((self.over, self.stopped));
        if let Some(waker) = self.wake {
            wake(waker);
        }
        Left {
            written: self.output,
            span: self.span,
        }
    }
}

impl Worker {
    /// The reply in the slot, if there is one, and what it means.
    pub(super) fn look(&self, record: &mut Record) -> Option<(Step, LastWord)> {
        let last = self.last_word(record)?;
        let step = match &last {
            LastWord::Reply(head) | LastWord::Failure(head, _) => {
                record.machine.replied(reply_of(*head))
            }
            _ => record.machine.lied(),
        };
        Some((step, last))
    }

    /// What the slot says about the current call, checked, without acting on it.
    pub(super) fn last_word(&self, record: &Record) -> Option<LastWord> {
        let id = record.machine.id();
        if !record.machine.is_running(id) {
            return None;
        }
        match self.slot.look(id) {
            Seen::Nothing => None,
            Seen::Lie(lie) => Some(LastWord::Lie(lie)),
            Seen::Reply(head)
                if head.kind == ReplyKind::Failure && self.fits(record, head.kind) =>
            {
                // Here and not where it is read: a worker that lies must not get another call.
                let mut bytes = Vec::new();
                self.slot.read(head, &mut bytes);
                Some(match message::decode(&bytes) {
                    Ok(failure) => LastWord::Failure(head, Box::new(failure)),
                    Err(_) => LastWord::Lie(Disbelief::Failure),
                })
            }
            Seen::Reply(head) if !self.fits(record, head.kind) => {
                Some(LastWord::Lie(Disbelief::ReplyKind(head.kind as u32)))
            }
            Seen::Reply(head) => Some(LastWord::Reply(head)),
        }
    }

    /// Whether the current call can have such a reply.
    #[inline]
    fn fits(&self, record: &Record, kind: ReplyKind) -> bool {
        let is_chunk = record.call.as_ref().is_some_and(|call| call.is_chunk);
        match kind {
            ReplyKind::Value | ReplyKind::Failure => !is_chunk,
            ReplyKind::Chunk => is_chunk,
            ReplyKind::Skipped | ReplyKind::Interrupted => true,
        }
    }

    /// Does what the machine orders, and says what the caller is to be told.
    pub(super) fn carry_out(
        &self,
        record: &mut Record,
        step: Step,
        last: LastWord,
    ) -> (Option<Outcome>, After) {
        let mut after = After::default();
        let died = step.resolve == Some(Resolution::Died);
        if let Some(call) = &record.call
            && (last.has_output() || died)
        {
            record.output_totals = self.slot.output_totals();
            let log = self.slot.log(call.log_read);
            let output = output::Written {
                streams: [self.slot.output(0), self.slot.output(1)],
                log: output::Logged {
                    records: log.records,
                    lost: log.lost,
                },
            };
            let function = call.function;
            after.output = Some(Box::new(Written { function, output }));
        }
        if (died || step.worker == Order::Reuse)
            && let Some(call) = &mut record.call
        {
            after.span = std::mem::take(&mut call.span);
        }
        record.renews = last.reply() == Some(Reply::Interrupted);
        let outcome = step.resolve.map(|resolution| {
            if let Some(call) = &mut record.call {
                after.wake = call.waker.take();
            }
            let stderr = after.output.as_ref().map(|written| written.output.stderr());
            self.outcome(record, resolution, last, stderr.unwrap_or_default())
        });
        match step.worker {
            Order::Leave => {}
            Order::Interrupt => self.interrupt(record),
            Order::Kill => {
                if self.kill(record) {
                    after.killed =
                        (record.startup == Startup::Ready).then(|| record.term.end_reason(None));
                    let call = record.call.as_mut();
                    after.stopped = call.map(|call| (call.permit.take(), call.running.take()));
                }
            }
            Order::Reuse => {
                if after.output.is_none() {
                    record.output_totals = [0; 2];
                }
                let slept = record.call.as_ref().is_some_and(|call| call.slept);
                after.over = record.call.take().map(Remains::from);
                // A short call ended about when it began.
                if slept {
                    self.idle_from(record, Instant::now());
                }
                if self.life.asks
                    && let Some(pool) = self.pool.upgrade()
                {
                    self.asks(record, &pool);
                }
                self.spend_if_all_calls_are_used(record.calls);
                after.release = true;
                self.release_pages_later(record);
            }
        }
        if record.machine.is_dead() {
            after.over = record.call.take().map(Remains::from);
        }
        (outcome, after)
    }

    fn outcome(
        &self,
        record: &mut Record,
        resolution: Resolution,
        last: LastWord,
        stderr: String,
    ) -> Outcome {
        match (resolution, last) {
            (Resolution::Reply, LastWord::Failure(_, failure)) => {
                Outcome::Failed { failure, stderr }
            }
            (Resolution::Reply, LastWord::Reply(head)) => {
                record.bytes.from_guest += head.len() as u64;
                record.pages_touched |= head.len() > PAGES_WORTH_RELEASING;
                let payload = self.payload(record, head);
                match head.kind {
                    ReplyKind::Chunk => Outcome::Replies { payload, stderr },
                    _ => Outcome::Reply(payload),
                }
            }
            (Resolution::Retry, last) => Outcome::Retry { exit: last.exit() },
            (Resolution::Stopped(reason), _) => {
                let is_chunk = record.call.as_ref().is_some_and(|call| call.is_chunk);
                let left = is_chunk.then(|| self.what_is_begun(record.machine.id()));
                Outcome::Stopped(reason, left)
            }
            (Resolution::Died, last) => Outcome::Died {
                exit: last.exit(),
                stderr: stderr + &self.process.stderr_tail(),
                forbidden: self.slot.forbidden(),
            },
            (Resolution::Lie, LastWord::Lie(lie)) => Outcome::Lie(lie),
            // A reply that says it was stopped, when nobody had stopped it.
            (Resolution::Lie | Resolution::Reply, _) => Outcome::Lie(Disbelief::NotStopped),
        }
    }

    /// What the items of the chunk that is call `id` have left. If it is shared, no further one begins.
    fn what_is_begun(&self, id: u64) -> Box<Chunk> {
        self.slot.close_chunk(id);
        Box::new(self.slot.chunk(id))
    }

    /// The same for whoever has the call, while that runs.
    pub(in crate::pool) fn close_chunk(&self, id: u64) -> Option<Box<Chunk>> {
        let mut record = self.lock();
        // What is settled is no longer what the slot says.
        if !record.machine.is_running(id) || record.machine.is_stopping() {
            return None;
        }
        if let Some(call) = &mut record.call {
            call.clocks.break_up_at = None;
        }
        Some(self.what_is_begun(id))
    }

    fn payload(&self, record: &mut Record, head: Head) -> Payload {
        if head.len() <= INLINE_REPLY {
            return Payload::Inline(self.slot.read_short(head), head.len() as u8);
        }
        let mut buffer = std::mem::take(&mut record.scratch);
        self.slot.read(head, &mut buffer);
        Payload::Buffer(buffer)
    }

    /// Asks the worker to stop its call, and remembers to kill it if it does not.
    fn interrupt(&self, record: &mut Record) {
        let id = record.machine.id();
        // Its caller will not look again, so the reply needs a ring, whether that caller slept or not.
        self.slot.arm(id);
        self.slot.cancel(id);
        self.process.interrupt();
        let now = Instant::now();
        // Answered just before it was armed: nobody will ring.
        let answered = self.last_word(record).is_some();
        let until = if answered {
            now
        } else {
            clock::after(now, self.interrupt_grace)
        };
        if let Some(call) = &mut record.call {
            call.clocks.grace_until = Some(until);
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.supervisor.look_at(until);
        }
    }

    /// Acts on a step whose caller, if any, is somebody else.
    pub(super) fn act(
        self: &Arc<Self>,
        mut record: MutexGuard<'_, Record>,
        step: Step,
        last: LastWord,
    ) {
        let id = record.machine.id();
        let (outcome, after) = self.carry_out(&mut record, step, last);
        record.settled.extend(outcome.map(|outcome| (id, outcome)));
        drop(record);
        // Without a pool there is nobody to be told and nothing to return to.
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        if let Some(reason) = after.killed {
            pool.worker_killed(self, reason);
        }
        let free = after.release.then(|| Arc::clone(self));
        let left = after.finish(&pool, free);
        if let Some(written) = left.written {
            let Written { function, output } = *written;
            let late = Late {
                function: pool.functions.entry(function).name().to_owned(),
                written: output,
                span: left.span,
                to: pool.config.wasi.output(),
                worker: self.id,
            };
            late.deliver();
        }
    }
}

fn reply_of(head: Head) -> Reply {
    match head.kind {
        ReplyKind::Value | ReplyKind::Failure | ReplyKind::Chunk => Reply::Answer,
        ReplyKind::Skipped => Reply::Skipped,
        ReplyKind::Interrupted => Reply::Interrupted,
    }
}

impl LastWord {
    pub(super) fn reply(&self) -> Option<Reply> {
        match self {
            Self::Reply(head) | Self::Failure(head, _) => Some(reply_of(*head)),
            Self::Nothing | Self::Lie(_) | Self::Death(_) => None,
        }
    }

    fn has_output(&self) -> bool {
        matches!(self, Self::Reply(head) | Self::Failure(head, _) if head.output)
    }

    fn exit(&self) -> Option<Exit> {
        match self {
            Self::Death(exit) => *exit,
            _ => None,
        }
    }
}
