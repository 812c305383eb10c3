//! How most calls end: with a short value that is there when the caller looks, and nothing else to be done.
//!
//! What [`Worker::take`] does about any reply, without the forms that it needs for the others. A call of a microsecond
//! was some three thousand instructions on the host's side, and moving those forms about a seventh of them.

use stockade_wire::slot::machine::{Order, Reply, Resolution, Step};
use stockade_wire::slot::{INLINE_REPLY, ReplyKind, Seen};

use super::{Record, Worker};
use crate::limiter::Permit;
use crate::spin::Running;

/// A short value, and what is left of its call. The drop of that has effects: it is for when the worker is back in its
/// pool.
#[derive(Debug)]
pub(in crate::pool) struct Short {
    pub(in crate::pool) bytes: [u8; INLINE_REPLY],
    pub(in crate::pool) len: u8,
    _permit: Option<Permit>,
    _running: Option<Running>,
}

impl Record {
    /// Whether nobody but the caller waits for the call, and nothing that it did is to be cleared away.
    #[inline]
    fn is_plain(&self, id: u64) -> bool {
        let has_plain_call = self.call.as_ref().is_some_and(|call| {
            !call.is_chunk && !call.slept && call.waker.is_none() && call.span.is_none()
        });
        has_plain_call
            && self.machine.is_running(id)
            && !self.machine.is_stopping()
            && self.settled.is_empty()
            && !self.pages_touched
    }
}

impl Worker {
    /// Takes the value of call `id` for its caller, if it is a short one and there is no more to be done about it. The
    /// worker is free then.
    #[inline]
    pub(in crate::pool) fn take_short(&self, id: u64) -> Option<Short> {
        if self.life.asks {
            return None;
        }
        let mut record = self.lock();
        if !record.is_plain(id) {
            return None;
        }
        let Seen::Reply(head) = self.slot.look(id) else {
            return None;
        };
        if head.kind != ReplyKind::Value || head.output || head.len() > INLINE_REPLY {
            return None;
        }
        let step = record.machine.replied(Reply::Answer);
        debug_assert_eq!(
            step,
            Step {
                resolve: Some(Resolution::Reply),
                worker: Order::Reuse
            }
        );
        let bytes = self.slot.read_short(head);
        record.bytes.from_guest += head.len() as u64;
        record.output_totals = [0; 2];
        let call = record.call.as_mut()?;
        let (permit, running) = (call.permit.take(), call.running.take());
        record.call = None;
        self.spend_if_all_calls_are_used(record.calls);
        Some(Short {
            bytes,
            len: head.len() as u8,
            _permit: permit,
            _running: running,
        })
    }
}
