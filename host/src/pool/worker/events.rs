//! What a guest wants of its host in the middle of a call.

use stockade_wire::slot::machine::Step;
use stockade_wire::slot::{Disbelief, EventKind, Output, SeenEvent};

use super::{LastWord, PAGES_WORTH_RELEASING, Record, Worker};
use crate::limiter::Permit;
use crate::output::Logged;

/// One thing that a guest wants. Its worker waits until it is answered.
#[derive(Debug)]
pub(crate) struct Event {
    /// Which of its call's events it is, from 1 on.
    pub(crate) place: u32,
    pub(crate) wanted: Wanted,
}

/// What is wanted.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// That an item, so encoded, be taken.
    Item(Vec<u8>),
    /// That a host function be run; see [`stockade_wire::message::split_host_call`].
    HostCall(Vec<u8>),
    /// That these records be shown.
    Log(Logged),
    /// That what it has written be taken: there is no room for more.
    Output,
}

impl Worker {
    /// The event of the current call after the first `seen`, if there is one. The payload is a private copy.
    pub(super) fn take_event(
        &self,
        record: &mut Record,
        seen: u32,
    ) -> Result<Option<Event>, Disbelief> {
        let id = record.machine.id();
        let head = match self.slot.look_for_event(id, seen) {
            SeenEvent::Nothing => return Ok(None),
            SeenEvent::Lie(lie) => return Err(lie),
            SeenEvent::Event(head) => head,
        };
        record.bytes.from_guest += head.len() as u64;
        record.pages_touched |= head.len() > PAGES_WORTH_RELEASING;
        let wanted = match head.kind {
            EventKind::Item => Wanted::Item(self.slot.read_event(head)),
            EventKind::HostCall => Wanted::HostCall(self.slot.read_event(head)),
            EventKind::Log => {
                let read = record.call.as_ref().map_or(0, |call| call.log_read);
                let log = self.slot.log(read);
                if let Some(call) = &mut record.call {
                    call.log_read = log.read;
                }
                // What is lost is said once, at the end.
                Wanted::Log(Logged {
                    records: log.records,
                    lost: 0,
                })
            }
            EventKind::Output => Wanted::Output,
        };
        let place = head.place;
        Ok(Some(Event { place, wanted }))
    }

    /// Answers an event of call `id`, whose guest goes on with `permit`, if it had lent one. Too late is no
    /// error: then there is nobody left to be answered.
    pub(crate) fn answer(&self, id: u64, place: u32, answer: &[u8], permit: Option<Permit>) {
        let mut record = self.lock();
        // What lies in the request memory may be the next call's already.
        if !record.machine.is_running(id) {
            drop(record);
            // Gives the permit back, which wakes whoever waits for it.
            drop(permit);
            return;
        }
        record.bytes.to_guest += answer.len() as u64;
        record.pages_touched |= answer.len() > PAGES_WORTH_RELEASING;
        record.empty_rings = 0;
        if let (Some(call), Some(permit)) = (&mut record.call, permit) {
            call.permit = Some(permit);
        }
        self.slot.answer(id, place, answer);
    }

    /// The permit of call `id`, for as long as its guest waits.
    pub(crate) fn lend_permit(&self, id: u64) -> Option<Permit> {
        let mut record = self.lock();
        if !record.machine.is_running(id) {
            return None;
        }
        record.call.as_mut()?.permit.take()
    }

    /// What call `id` has written to each stream behind the first `read` bytes, as far as it is kept. `None` when
    /// the call has not begun, or the slot is another call's already.
    pub(crate) fn output_since(&self, id: u64, read: [u64; 2]) -> Option<[Output; 2]> {
        let record = self.lock();
        if record.machine.id() != id || !self.slot.accepted(id) {
            return None;
        }
        let [stdout, stderr] = read;
        Some([
            self.slot.output_since(0, stdout),
            self.slot.output_since(1, stderr),
        ])
    }

    /// How far the guest of call `id` says that it has come; `None` when the call is over.
    pub(crate) fn progress(&self, id: u64) -> Option<[u64; 2]> {
        let record = self.lock();
        record.machine.is_running(id).then(|| self.slot.progress())
    }

    /// Whether there is an event that the worker has not rung for before. Each is worth one ring.
    pub(super) fn rings_for_event(&self, record: &mut Record) -> bool {
        let id = record.machine.id();
        let Some(call) = &mut record.call else {
            return false;
        };
        if !self.slot.may_have_event(id, call.rung_for) {
            return false;
        }
        // Its caller judges the event; here it only counts.
        call.rung_for = call.rung_for.saturating_add(1);
        true
    }

    /// The worker wrote something that no honest worker writes.
    pub(super) fn caught(&self, record: &mut Record, lie: Disbelief) -> (Step, LastWord) {
        (record.machine.lied(), LastWord::Lie(lie))
    }
}
