//! What the supervisor sees of a worker: a ring, its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stockade_wire::message::NOT_RESET;
use stockade_wire::slot::Disbelief;
use stockade_wire::slot::machine::{Resolution, Step};

use super::Worker;
use super::settle::LastWord;
use super::startup::Startup;
use crate::error::Exit;
use crate::later::later;
use crate::wake::{wake, wake_all};

/// A worker rings at most once a call, and the rings of calls that were answered without it may come late.
/// More of them than this, without a reply, are noise made on purpose.
const EMPTY_RINGS_MAX: u8 = 8;

impl Worker {
    /// Kills the process; its call, if any, is cancelled.
    pub(crate) fn condemn(self: &Arc<Self>) {
        let mut record = self.lock();
        // The pool is told of the death of a worker that had been ready: its place is free then.
        if record.startup != Startup::Ready {
            record.startup = Startup::Failed;
        }
        let step = record.machine.condemn();
        // One that was asked to end has no step left to take.
        self.kill(&mut record);
        self.act(record, step, LastWord::Nothing);
    }

    /// Kills the process, which has lied in what it said of an earlier call; what it says of its present one, if it has
    /// one, is not to be believed either.
    pub(crate) fn disbelieve(self: &Arc<Self>, lie: Disbelief) {
        let mut record = self.lock();
        let (step, last) = self.caught(&mut record, lie);
        if step == Step::NOTHING {
            // It was asked to end.
            self.kill(&mut record);
        }
        self.act(record, step, last);
    }

    /// The eventfd was rung.
    pub(crate) fn on_ring(self: &Arc<Self>) {
        let mut record = self.lock();
        let mut count = [0; 8];
        // Empty when one ring was reported twice.
        let _ = rustix::io::read(&self.eventfd, &mut count);
        self.hear_wish(&mut record);
        if self.last_word(&record).is_none() {
            if self.rings_for_event(&mut record) {
                let waker = record.call.as_mut().and_then(|call| call.waker.take());
                drop(record);
                wake_all(waker);
                return;
            }
            record.empty_rings += 1;
            if record.empty_rings > EMPTY_RINGS_MAX {
                let (step, last) = self.caught(&mut record, Disbelief::EmptyRing);
                self.act(record, step, last);
            }
        } else if record.machine.is_stopping() {
            let id = record.machine.id();
            drop(record);
            self.settle_stopped(id);
        } else if let Some(call) = &mut record.call {
            // A caller that waits copies the reply itself; nobody else needs the copy. Of several callers one is woken,
            // and all of them when they are overdue.
            let (waker, one) = match call.clocks.break_up_at {
                Some(_) => (call.waker.clone(), true),
                None => (call.waker.take(), false),
            };
            drop(record);
            match waker {
                Some(waker) if one => waker.wake_by_ref(),
                Some(waker) => wake(waker),
                None => {}
            }
        }
    }

    /// The process is dead.
    pub(crate) fn on_death(self: &Arc<Self>) {
        self.dead.store(true, Ordering::SeqCst);
        let exit = self.process.reap();
        if exit == Some(Exit::Signal(Exit::SIGSYS)) {
            // Somebody should look: an innocent guest never does this.
            let (worker, pid, syscall) = (self.id, self.pid(), self.slot.forbidden());
            later(0, move || {
                tracing::warn!(
                    target: "stockade",
                    worker,
                    pid,
                    syscall,
                    "a worker was killed for a forbidden system call; the number is its own word"
                );
            });
        }
        if exit == Some(Exit::Code(NOT_RESET)) {
            let (worker, pid) = (self.id, self.pid());
            later(0, move || {
                tracing::error!(
                    target: "stockade",
                    worker,
                    pid,
                    "a worker has ended because an instance held what an earlier one wrote: memory is not reset on this machine"
                );
            });
        }
        // What it said last says more than how it ended, and the kernel reports the two in any order.
        if self.lock().startup.is_pending() {
            self.on_message();
        }
        let mut record = self.lock();
        if record.startup.is_pending() {
            return self.died_early(record, exit);
        }
        let reason = record.term.end_reason(exit);
        let last = self.last_word(&record);
        let accepted = self.slot.accepted(record.machine.id());
        // Output that is neither gone nor left from an earlier call: guest code has run, whatever the mark
        // says, and the call must not run again.
        let now = self.slot.output_totals();
        let wrote = (0..2).any(|i| now[i] != 0 && now[i] != record.output_totals[i])
            || self.slot.may_have_event(record.machine.id(), 0);
        let reply = last.as_ref().and_then(LastWord::reply);
        let step = record.machine.died(reply, accepted || wrote);
        let last = match last {
            Some(word) if step.resolve == Some(Resolution::Reply) => word,
            _ => LastWord::Death(exit),
        };
        self.act(record, step, last);
        if let Some(pool) = self.pool.upgrade() {
            pool.worker_died(self, reason, exit);
        }
    }
}
