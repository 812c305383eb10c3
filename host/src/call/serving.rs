//! What a guest wants of its host in the middle of a call.

use std::task::{Context, Poll};

use stockade_wire::message::split_host_call;

use super::args::Args;
use super::hosting::Hosting;
use super::running::{Advance, Running, Step};
use crate::pool::{Event, Wanted};
use crate::{Error, codec};

impl<A: Args, R> Running<A, R> {
    /// Does what the guest wants, or begins to.
    pub(super) fn serve(
        &mut self,
        Event { place, wanted }: Event,
    ) -> Result<Option<Advance>, Error> {
        let Step::InFlight(in_flight) = &mut self.step else {
            unreachable!("only a call in flight has events")
        };
        let pool = self.hold.pool();
        let request = match wanted {
            Wanted::Item(item) => {
                in_flight.answer(place, &[], None);
                return Ok(Some(Advance::Item(item)));
            }
            Wanted::Log(log) => {
                let name = pool.functions.entry(self.function).name();
                let worker = in_flight.worker().id;
                in_flight.report(|span| log.deliver(name, worker, span));
                in_flight.answer(place, &[], None);
                return Ok(None);
            }
            Wanted::Output => {
                if let Some(following) = self.chosen.following() {
                    following.take(in_flight);
                }
                in_flight.answer(place, &[], None);
                return Ok(None);
            }
            Wanted::HostCall(request) => request,
        };
        let functions = &pool.config.host_functions;
        let Some((name, request)) = split_host_call(&request) else {
            let refusal = codec::refusal(codec::NO_FUNCTION, "its name is not UTF-8");
            in_flight.answer(place, &refusal, None);
            return Ok(None);
        };
        let answering = match functions.answering(name, request) {
            Ok(answering) => answering,
            Err(refusal) => {
                in_flight.answer(place, &refusal, None);
                return Ok(None);
            }
        };
        let runtime = pool.config.runtime.as_ref();
        let runtime = runtime.expect("no host with functions is built without a runtime");
        let limiter = self.chosen.limiter().unwrap_or(&pool.config.limiter);
        // Given back now, so that what the function calls can have it.
        drop(in_flight.worker().lend_permit(in_flight.id()));
        self.hosting = Some(Box::new(Hosting::start(
            name.to_owned(),
            place,
            answering,
            runtime,
            limiter.clone(),
            pool.lend(),
        )));
        Ok(None)
    }

    /// Waits for the host function that the guest waits for, if it does.
    pub(super) fn host(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Advance>, Error>> {
        let Some(hosting) = &mut self.hosting else {
            return Poll::Pending;
        };
        let Poll::Ready(answer) = hosting.poll(cx) else {
            return Poll::Pending;
        };
        self.hosting = None;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // Its guest waits, and is stopped when the call is dropped.
                if let Step::InFlight(in_flight) = std::mem::replace(&mut self.step, Step::Over) {
                    self.keep_what_is_left(&in_flight, in_flight.chunk());
                }
                return Poll::Ready(Err(error));
            }
        };
        let limit = self.hold.pool().config.limits.payload_bytes;
        if answer.bytes.len() > limit {
            let reason = format!(
                "the result of {} bytes is longer than the limit of {limit}",
                answer.bytes.len()
            );
            answer.bytes = codec::refusal(codec::NOT_ENCODABLE, &reason);
        }
        if let Step::InFlight(in_flight) = &mut self.step {
            in_flight.answer(answer.place, &answer.bytes, Some(answer.permit));
        }
        Poll::Ready(Ok(None))
    }
}
