//! The end of a call: from what its worker said, or did, to what its caller gets.

use stockade_wire::slot::Chunk;
use stockade_wire::slot::machine::StopReason;

use super::args::Args;
use super::blame::{broken, disbelieved, failed};
use super::dispatch::DISPATCHES_MAX;
use super::replies::{Left, Raw};
use super::running::{Advance, Running, Step};
use crate::error::{Broken, Exit, Phase};
use crate::limits::Interrupt;
use crate::pool::{InFlight, Outcome, Payload};
use crate::{Cause, Error};

impl<A: Args, R> Running<A, R> {
    /// The same as [`Self::settle`] for a reply that leaves nothing to be done.
    #[inline]
    pub(super) fn settle_short(&mut self, payload: Payload) -> Advance {
        if let Step::InFlight(in_flight) = &self.step {
            self.time(in_flight);
        }
        self.step = Step::Over;
        Advance::Reply(Raw::new(payload, None))
    }

    pub(super) fn settle(&mut self, mut outcome: Outcome) -> Result<Option<Advance>, Error> {
        // Over whatever happens: decoding runs the application's code, which may panic.
        let Step::InFlight(mut in_flight) = std::mem::replace(&mut self.step, Step::Over) else {
            unreachable!("only a call in flight has an outcome")
        };
        if let Some(choices) = self.chosen.get_mut()
            && let Some(output) = &mut choices.output
        {
            *output = in_flight.kept_output().unwrap_or_default();
            if let Some(following) = &mut choices.following {
                following.finish(&in_flight, &output.streams);
            }
        }
        if !matches!(outcome, Outcome::Retry { .. }) {
            self.time(&in_flight);
        }
        match &mut outcome {
            Outcome::Stopped(_, chunk) => self.keep_what_is_left(&in_flight, chunk.take()),
            Outcome::Died { .. } | Outcome::Lie(_) => {
                self.keep_what_is_left(&in_flight, in_flight.chunk());
            }
            _ => {}
        }
        let pool = self.hold.pool();
        let function = pool.functions.entry(self.function);
        match outcome {
            Outcome::Failed { failure, stderr } => {
                let limits = &pool.config.limits;
                Err(failed(in_flight.of(), function, limits, *failure, stderr))
            }
            Outcome::Reply(payload) => Ok(Some(Advance::Reply(Raw::new(
                payload,
                in_flight.into_worker(),
            )))),
            Outcome::Replies { payload, stderr } => {
                let left = Left::of_chunk(Chunk::default(), in_flight.of());
                self.left = Some(Box::new(Left { stderr, ..left }));
                let worker = in_flight.into_worker();
                Ok(Some(Advance::Reply(Raw::new(payload, worker))))
            }
            Outcome::Retry { exit } => {
                // One that ended in good order just before says nothing about the call.
                // Nor does one whose guest still thinks about its last call.
                let ended = match exit {
                    None => pool.recipe().asks,
                    exit => exit == Some(Exit::Code(0)),
                };
                if ended && self.ended_before < self.hold.pool().config.workers {
                    self.ended_before += 1;
                } else {
                    self.dispatches += 1;
                }
                if self.dispatches < DISPATCHES_MAX {
                    self.step = Step::Begin;
                    return Ok(None);
                }
                let broken = broken(in_flight.of(), function, Cause::Unresponsive);
                Err(Broken {
                    exit,
                    process_died: true,
                    ..broken
                }
                .into())
            }
            Outcome::Stopped(StopReason::TimedOut, _) => Err(Error::Timeout {
                phase: Phase::Running,
                elapsed: in_flight.published().elapsed(),
            }),
            Outcome::Stopped(StopReason::CpuTime, _) => {
                let limit = self.hold.pool().config.limits.cpu_time.unwrap_or_default();
                let broken = broken(in_flight.of(), function, Cause::CpuTime { limit });
                let process_died = self.hold.pool().config.interrupt == Interrupt::KillOnly;
                Err(Broken {
                    process_died,
                    ..broken
                }
                .into())
            }
            Outcome::Stopped(StopReason::CallerGone | StopReason::Cancelled, _) => {
                Err(Error::Closed)
            }
            Outcome::Died {
                exit,
                stderr,
                forbidden,
            } => {
                let cause = match exit {
                    Some(Exit::Signal(Exit::SIGSYS)) => {
                        Cause::PolicyViolation { syscall: forbidden }
                    }
                    _ => Cause::Died,
                };
                let broken = broken(in_flight.of(), function, cause);
                Err(Broken {
                    exit,
                    stderr_tail: stderr,
                    process_died: true,
                    ..broken
                }
                .into())
            }
            Outcome::Lie(lie) => Err(disbelieved(in_flight.of(), function, lie)),
        }
    }

    /// Notes how long the call took.
    #[inline]
    pub(super) fn time(&self, in_flight: &InFlight) {
        let queue = self.waiting.as_ref().map(|waiting| {
            let published = in_flight.published();
            published.saturating_duration_since(waiting.since())
        });
        let pool = self.hold.pool();
        if let Some(took) = in_flight.time(&pool.tally, queue) {
            pool.functions.entry(self.function).typical.learn(took);
        }
    }

    /// Of a chunk that was stopped or whose worker has died: which of its items are over, and which have begun.
    /// Items end one after the other, so a look at a worker that has not come to its end yet finds the first of
    /// them.
    pub(super) fn keep_what_is_left(&mut self, in_flight: &InFlight, chunk: Option<Box<Chunk>>) {
        let of = in_flight.of();
        self.left = chunk.map(|chunk| Box::new(Left::of_chunk(*chunk, of)));
    }
}
