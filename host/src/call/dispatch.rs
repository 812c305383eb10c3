//! From a permit to a worker that has the call.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use stockade_wire::slot::{Listens, Written};

use super::args::Args;
use super::blame::broken;
use super::running::{Running, Step};
use crate::error::Broken;
use crate::limiter::Permit;
use crate::pool::{CallOf, Lease, Terms, Worker};
use crate::{Cause, Error};

/// After so many workers that were gone before they had a call, or did not accept it, it is given up.
pub(super) const DISPATCHES_MAX: u32 = 3;

impl<A, R> Running<A, R>
where
    A: Args,
{
    pub(super) fn find_worker(&mut self, permit: Permit) -> Result<(), Error> {
        match self.hold.pool().acquire() {
            Ok(lease) => self.dispatch(permit, lease),
            Err(mut place) => {
                // What it needs may be there by now.
                match place.poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(lease)) => return self.dispatch(permit, lease),
                    Poll::Ready(Err(error)) => return Err(error.into()),
                    Poll::Pending => {}
                }
                // Where calls wait for host functions, those functions may need the permit before there is a worker.
                let permit = Some(permit).filter(|_| !self.hold.pool().lends());
                self.step = Step::Worker(permit, place);
                if !self.may_wait && self.hold.pool().starts_for_everybody() {
                    // It waits all the same, if not in line.
                    let (waiting, pool) = self.waiting();
                    let _in_line = waiting.join(pool);
                    return Ok(());
                }
                self.begin_waiting()
            }
        }
    }

    /// There is a worker; the permit may have been given back before.
    pub(super) fn with_worker(
        &mut self,
        permit: Option<Permit>,
        lease: Lease,
    ) -> Result<(), Error> {
        if let Some(permit) = permit {
            return self.dispatch(permit, lease);
        }
        match self.limiter().acquire_first() {
            Ok(permit) => self.dispatch(permit, lease),
            Err(place) => {
                // Calls that hold permits may wait for this very worker: nobody waits for a permit with one.
                drop(lease);
                self.step = Step::Permit(place);
                Ok(())
            }
        }
    }

    /// Encodes the arguments straight into the worker's slot and gives it the call.
    pub(super) fn dispatch(&mut self, permit: Permit, lease: Lease) -> Result<(), Error> {
        if let Some(rider) = self
            .waiting
            .as_mut()
            .and_then(|waiting| waiting.rider.take())
        {
            let along = self.take_along(&rider, lease.worker());
            if !along.is_empty() {
                self.lead(rider, along, permit, lease);
                return Ok(());
            }
        }
        // Over unless it is published: encoding runs the application's code, which may panic.
        self.end();
        let (written, calls) = self.write(&lease)?;
        let terms = Terms {
            timeout: self.timeout,
            deadline: self.chosen.deadline(),
            cpu_time: self.hold.pool().config.limits.cpu_time,
            listens: Listens {
                items: self.chosen.listens(),
                output: self.chosen.follows(),
            },
            calls,
        };
        let pool = self.hold.pool();
        match Worker::publish(pool, lease, permit, self.function, written, terms) {
            Ok(mut in_flight) => {
                if let Some(choices) = self.chosen.get() {
                    if choices.output.is_some() {
                        in_flight.keep_output();
                    }
                    if let Some(whereabouts) = &choices.whereabouts {
                        whereabouts.set(Arc::downgrade(in_flight.worker()), in_flight.id());
                    }
                }
                self.step = Step::InFlight(in_flight);
                Ok(())
            }
            Err((permit, worker)) => {
                self.dispatches += 1;
                if self.dispatches < DISPATCHES_MAX {
                    return self.find_worker(permit);
                }
                let function = pool.functions.entry(self.function);
                let broken = broken(CallOf::now(&worker), function, Cause::Unresponsive);
                Err(Broken {
                    process_died: true,
                    ..broken
                }
                .into())
            }
        }
    }

    /// Encodes the arguments, of several calls those of as many as the worker may still serve: the others are found not to
    /// have begun. Returns how many.
    fn write(&self, lease: &Lease) -> Result<(Written, usize), Error> {
        let function = self.hold.pool().functions.entry(self.function);
        let args = self.args.as_ref().expect("kept until the call is over");
        lease.worker().request_begins();
        let mut writer = lease.worker().slot().writer();
        let (name, kind) = (function.name(), &function.info.kind);
        let calls = match args.count() {
            0 | 1 => 1,
            all => {
                usize::try_from(lease.worker().calls_left()).map_or(all, |left| left.clamp(1, all))
            }
        };
        let encoded = args.write(name, kind, self.codec, calls, &mut writer);
        let len = writer.len();
        let refused = match encoded {
            Err(error) => error,
            Ok(()) => match writer.finish() {
                Ok(written) => return Ok((written, calls)),
                Err(bytes) => Error::PayloadTooLarge {
                    bytes,
                    limit: self.hold.pool().config.limits.payload_bytes,
                },
            },
        };
        lease.worker().request_refused(len);
        Err(refused)
    }
}
