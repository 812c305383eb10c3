//! What a caller does about its call: looks after it, leaves it.

use std::sync::Arc;
use std::task::Waker;

use stockade_wire::slot::Seen;
use stockade_wire::slot::machine::StopReason;

use super::Worker;
use super::events::Event;
use super::settle::{After, LastWord};
use crate::later::CallerSpan;
use crate::pool::in_flight::Outcome;

/// A buffer for replies is kept from call to call up to this length.
const SCRATCH_KEPT: usize = 256 << 10;

/// What a caller finds who looks after its call.
#[derive(Debug)]
pub(in crate::pool) enum Found {
    /// It is over, and this is left to be done.
    Over(Option<Outcome>, After),
    /// Its guest wants something, and waits for it.
    Event(Event),
}

impl Worker {
    /// Looks for the reply to call `id`, or an event after the first `seen`, without the lock; what it finds is
    /// for [`Self::take`] to judge.
    #[inline]
    pub(in crate::pool) fn peek(&self, id: u64, seen: u32) -> bool {
        self.slot.look(id) != Seen::Nothing || self.slot.may_have_event(id, seen)
    }

    /// What has become of call `id`, for its caller, who has `seen` so many of its events; `waker` is kept when
    /// that is nothing yet.
    pub(in crate::pool) fn take(&self, id: u64, seen: u32, waker: &Waker) -> Option<Found> {
        let mut record = self.lock();
        if let Some(at) = record.settled.iter().position(|(of, _)| *of == id) {
            let outcome = record.settled.swap_remove(at).1;
            return Some(Found::Over(Some(outcome), After::default()));
        }
        debug_assert!(record.machine.is_running(id));
        let mut step = self.look(&mut record);
        let mut replaced = None;
        if step.is_none() {
            match self.take_event(&mut record, seen) {
                Ok(None) => {}
                Ok(Some(event)) => return Some(Found::Event(event)),
                Err(lie) => step = Some(self.caught(&mut record, lie)),
            }
        }
        if step.is_none() {
            if let Some(call) = &mut record.call
                && !call.waker.as_ref().is_some_and(|old| old.will_wake(waker))
            {
                replaced = call.waker.replace(waker.clone());
                call.slept = true;
            }
            self.slot.arm(id);
            step = self.look(&mut record);
            if step.is_none() && self.slot.may_have_event(id, seen) {
                match self.take_event(&mut record, seen) {
                    Ok(None) => {}
                    Ok(Some(event)) => {
                        drop(record);
                        drop(replaced);
                        return Some(Found::Event(event));
                    }
                    Err(lie) => step = Some(self.caught(&mut record, lie)),
                }
            }
        }
        let found = step.map(|(step, last)| {
            let (outcome, after) = self.carry_out(&mut record, step, last);
            Found::Over(outcome, after)
        });
        drop(record);
        drop(replaced);
        found
    }

    /// The caller of call `id` goes to sleep here.
    pub(in crate::pool) fn set_span(&self, id: u64, span: CallerSpan) {
        let old = self.lock().replace_span(id, span);
        old.end();
    }

    /// Gives a reply buffer back for the next call.
    pub(crate) fn give_back(&self, mut scratch: Vec<u8>) {
        if scratch.capacity() <= SCRATCH_KEPT {
            scratch.clear();
            self.lock().scratch = scratch;
        }
    }

    /// The caller of call `id` is gone, here: stops the call, if it still runs, or has it end if it does so by itself. Hands
    /// back the span that is to be ended.
    pub(in crate::pool) fn abandon(
        self: &Arc<Self>,
        id: u64,
        ends: bool,
        span: CallerSpan,
    ) -> CallerSpan {
        let mut record = self.lock();
        record.settled.retain(|(of, _)| *of != id);
        if !record.machine.is_running(id) {
            return span;
        }
        let old = match span.is_none() {
            true => span,
            false => record.replace_span(id, span),
        };
        // Dropped when the lock is released: it is the application's code.
        let _waker = record.call.as_mut().and_then(|call| call.waker.take());
        let last = self.last_word(&record);
        let step = match &last {
            Some(LastWord::Lie(_)) => record.machine.lied(),
            other => {
                let reply = other.as_ref().and_then(LastWord::reply);
                match ends {
                    true => record.machine.leave(reply),
                    false => record.machine.stop(StopReason::CallerGone, reply),
                }
            }
        };
        self.act(record, step, last.unwrap_or(LastWord::Nothing));
        old
    }
}
