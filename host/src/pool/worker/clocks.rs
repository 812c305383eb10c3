//! What happens to a worker by time alone. The supervisor looks at every worker's clocks when one of them
//! may have run out.

use std::sync::{Arc, TryLockError};
use std::task::Waker;
use std::time::{Duration, Instant};

use stockade_wire::slot::machine::{Step, StopReason};

use super::{LastWord, Record, Worker};
use crate::wake::wake;

/// A worker whose lock is taken is looked at again after this time: somebody is copying a payload.
const BUSY: Duration = Duration::from_millis(1);

impl Worker {
    /// Looks at this worker's clocks, and says when to look again. Never waits for its lock: the supervisor
    /// serves all workers.
    pub(crate) fn on_time(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut record = match self.record.try_lock() {
            Ok(record) => record,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Some(now + BUSY),
        };
        if let Some(until) = record.startup.until() {
            if until > now {
                return Some(until);
            }
            self.started_too_slowly(record);
            return None;
        }
        self.release_some_pages(&mut record, now);
        let overdue = self.who_is_overdue(&mut record, now);
        let taken = self.look_at_call(&mut record, now);
        let over = self.look_at_term(&mut record, now);
        let asked = self.look_at_asking(&mut record, now);
        let call = record.call.as_ref().and_then(|call| call.clocks.next_due());
        let pages = record.release_pages.map(|(at, _)| at);
        let term = self.term_due(&record);
        let asking = record.asking.next_due();
        match taken {
            Some((step, last)) => self.act(record, step, last),
            None => drop(record),
        }
        if let Some(waker) = overdue {
            wake(waker);
        }
        if let Some(over) = over {
            self.outlived(over);
        }
        if let Some(asked) = asked {
            self.was_asked(asked);
        }
        let call = call.into_iter().chain(asking);
        call.chain(pages).chain(term).min()
    }

    /// A part at a time, with other work of the supervisor's in between: giving back a large payload takes
    /// tens of milliseconds.
    fn release_some_pages(&self, record: &mut Record, now: Instant) {
        let Some((at, progress)) = record.release_pages.filter(|(at, _)| *at <= now) else {
            return;
        };
        record.release_pages = None;
        if record.machine.is_idle() {
            match self.slot.release_pages(progress) {
                Some(progress) => record.release_pages = Some((at, progress)),
                None => record.pages_touched = false,
            }
        }
    }

    /// Whoever waits for calls that travel together and have taken long. No further one begins, whether anybody looks or not:
    /// the time of those that run is not to be spent on them.
    fn who_is_overdue(&self, record: &mut Record, now: Instant) -> Option<Waker> {
        let id = record.machine.id();
        let call = record.call.as_mut()?;
        call.clocks.break_up_at.take_if(|at| *at <= now)?;
        self.slot.close_chunk(id);
        call.waker.clone()
    }

    /// The first of the call's clocks that has run out, and what that means.
    fn look_at_call(&self, record: &mut Record, now: Instant) -> Option<(Step, LastWord)> {
        let id = record.machine.id();
        let last = self.last_word(record);
        let reply = last.as_ref().and_then(LastWord::reply);
        let Record {
            machine,
            call: Some(call),
            term,
            ..
        } = record
        else {
            return None;
        };
        let clocks = &mut call.clocks;
        let passed = |at: &mut Option<Instant>| at.take_if(|at| *at <= now).is_some();
        if let Some(last) = last {
            // Of a pool that closes, a caller who does not look at the reply holds up nobody.
            if machine.is_stopping() || passed(&mut term.close_by) {
                clocks.grace_until = None;
                let step = match reply {
                    Some(reply) => machine.replied(reply),
                    None => machine.lied(),
                };
                return Some((step, last));
            }
            // Answered in time: whoever waits for it has been rung for.
            (clocks.deadline, clocks.cpu) = (None, None);
            (clocks.hurry_at, clocks.accept_by) = (None, None);
            return None;
        }
        let step = if passed(&mut clocks.grace_until) {
            machine.grace_over(id, None)
        } else if passed(&mut term.close_by) {
            machine.stop(StopReason::Cancelled, None)
        } else if clocks.is_out_of_time(now) && self.process.is_forked() && self.process.is_dead() {
            // Its death is being told, and is what ended the call.
            (clocks.deadline, clocks.cpu) = (None, None);
            return None;
        } else if passed(&mut clocks.deadline) {
            machine.stop(StopReason::TimedOut, None)
        } else if let Some(cpu) = clocks.cpu.take_if(|cpu| cpu.look_at <= now) {
            clocks.cpu = cpu.look(self.pid(), now);
            if clocks.cpu.is_some() {
                return None;
            }
            machine.stop(StopReason::CpuTime, None)
        } else if passed(&mut clocks.hurry_at) && !self.slot.accepted(id) {
            self.process.interrupt();
            return None;
        } else if passed(&mut clocks.accept_by) && !self.slot.accepted(id) {
            let taken_back = self.slot.withdraw(id);
            machine.withdrawn(!taken_back)
        } else {
            return None;
        };
        Some((step, LastWord::Nothing))
    }
}
