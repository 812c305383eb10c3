//! A call that is being stopped, seen by whoever needs its worker or its permit.
//!
//! Its own caller is gone, or has its error already: without anybody who looks, the worker rings, the supervisor wakes
//! up for that, and wakes whoever waits. That takes longer than the stop itself.

use std::sync::Arc;

use stockade_wire::slot::Seen;

use super::Worker;
use crate::spin;

impl Worker {
    /// The call that this worker was told to stop, if nobody has looked after it yet and this thread may. From now on
    /// it is not rung for: whoever gets it goes on to [`Self::await_stop`].
    pub(in crate::pool) fn attend_stop(self: &Arc<Self>) -> Option<(Arc<Self>, u64)> {
        // Whoever has the lock may be about to end the call; if not, there is the ring.
        let mut record = self.record.try_lock().ok()?;
        if !record.machine.is_stopping() {
            return None;
        }
        let call = record.call.as_mut()?;
        if call.attended || !spin::may_poll_for_stop(call.running.as_ref()) {
            return None;
        }
        call.attended = true;
        // Under the lock, or it might be the next call that is not rung for.
        self.slot.disarm();
        Some((Arc::clone(self), record.machine.id()))
    }

    /// Looks for the end of call `id` for a moment, and has it rung for if it does not come.
    pub(in crate::pool) fn await_stop(self: &Arc<Self>, id: u64) {
        spin::poll(spin::STOP_MAX, || self.slot.look(id) != Seen::Nothing);
        if self.settle_stopped(id) {
            return;
        }
        let record = self.lock();
        if record.machine.is_running(id) {
            self.slot.arm(id);
        }
        drop(record);
        // Answered just before it was armed: nobody will ring.
        self.settle_stopped(id);
    }

    /// Ends call `id`, which is being stopped, if its reply is there: nobody waits for that.
    pub(super) fn settle_stopped(self: &Arc<Self>, id: u64) -> bool {
        let mut record = self.lock();
        if !record.machine.is_running(id) || !record.machine.is_stopping() {
            return false;
        }
        let Some((step, last)) = self.look(&mut record) else {
            return false;
        };
        self.act(record, step, last);
        true
    }
}
