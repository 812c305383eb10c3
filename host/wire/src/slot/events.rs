//! What a guest wants of its host in the middle of a call, on both sides: the host believes none of it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::host::{Disbelief, HostSlot};
use super::layout::{EventKind, event_number, reply, request};
use super::worker::WorkerSlot;

/// What the reply memory says about events of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenEvent {
    /// Nothing is wanted.
    Nothing,
    /// Something is; its payload is still in the slot.
    Event(EventHead),
    /// Something that no honest worker writes.
    Lie(Disbelief),
}

/// A checked header of an event. Its payload can be copied out once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHead {
    /// What is wanted.
    pub kind: EventKind,
    /// Which of its call's events it is, from 1 on.
    pub place: u32,
    len: usize,
}

impl EventHead {
    /// The length of the payload in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no caller asks")]
    pub fn len(&self) -> usize {
        self.len
    }
}

/// What somebody takes of a call while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listens {
    /// What its guest emits.
    pub items: bool,
    /// What its guest writes to its output streams. Without this only the end of that is kept.
    pub output: bool,
}

impl Listens {
    fn to_word(self) -> u32 {
        u32::from(self.items) | u32::from(self.output) << 1
    }

    fn from_word(word: u32) -> Self {
        Self {
            items: word & 1 != 0,
            output: word & 2 != 0,
        }
    }
}

impl HostSlot {
    /// Whether there may be an event after the first `answered` of call `id`. One load, to be followed by
    /// [`Self::look_for_event`].
    #[must_use]
    #[inline]
    pub fn may_have_event(&self, id: u64, answered: u32) -> bool {
        let found = self.reply.load_u64(reply::EVENT);
        found >> 32 == event_number(id, 0) >> 32 && found != event_number(id, answered)
    }

    /// Looks once for an event after the first `answered` of call `id`.
    #[must_use]
    pub fn look_for_event(&self, id: u64, answered: u32) -> SeenEvent {
        let found = self.reply.load_u64(reply::EVENT);
        // Left over from an earlier call, which a stop ended while it waited.
        if found >> 32 != event_number(id, 0) >> 32 || found == event_number(id, answered) {
            return SeenEvent::Nothing;
        }
        let kind = self.reply.load_u32(reply::EVENT_KIND);
        let len = self.reply.load_u32(reply::EVENT_LEN) as usize;
        let expected = answered.checked_add(1);
        let (Some(kind), Some(place)) = (
            EventKind::from_word(kind),
            expected.filter(|place| found == event_number(id, *place)),
        ) else {
            return SeenEvent::Lie(Disbelief::Event { found, kind });
        };
        if !self.accepted(id) {
            return SeenEvent::Lie(Disbelief::EarlyEvent);
        }
        let max = self.geometry.payload_bytes_max();
        if len > max {
            return SeenEvent::Lie(Disbelief::EventLength { found: len, max });
        }
        SeenEvent::Event(EventHead { kind, place, len })
    }

    /// Copies an event's payload into private memory.
    #[must_use]
    pub fn read_event(&self, head: EventHead) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reply
            .append_to(self.geometry.event_payload(), head.len, &mut bytes);
        bytes
    }

    /// Answers event `place` of call `id`, which the worker still has. What is longer than a payload may be is cut.
    pub fn answer(&self, id: u64, place: u32, answer: &[u8]) {
        let answer = &answer[..answer.len().min(self.geometry.payload_bytes_max())];
        self.request.copy_in(request::PAYLOAD, answer);
        self.request
            .store_u32(request::ANSWER_LEN, answer.len() as u32);
        self.request
            .store_u64(request::ANSWERED, event_number(id, place));
        self.ring();
    }

    /// Says what somebody takes of the call that is published next.
    pub fn listen(&self, listens: Listens) {
        self.request.store_u32(request::LISTENS, listens.to_word());
    }

    /// How much of its work the current call's guest says it has done, and of how much.
    #[must_use]
    pub fn progress(&self) -> [u64; 2] {
        reply::PROGRESS.map(|word| self.reply.load_u64(word))
    }
}

impl WorkerSlot {
    /// For how long the worker polls for an answer before it sleeps: about what a wake-up costs.
    const POLL: Duration = Duration::from_micros(50);

    /// Wants something of the host, for call `id`, and waits until that is done. The length of the answer in
    /// bytes; `None` when the call is to be stopped.
    ///
    /// # Panics
    /// When the payload is longer than [`Self::payload_bytes_max`].
    #[must_use]
    pub fn raise(&self, id: u64, kind: EventKind, payload: &[&[u8]]) -> Option<usize> {
        let place = self.events.load(Ordering::Relaxed).checked_add(1)?;
        self.events.store(place, Ordering::Relaxed);
        let mut len = 0;
        for part in payload {
            let end = len + part.len();
            assert!(end <= self.payload_bytes_max());
            self.reply
                .copy_in(self.geometry.event_payload() + len, part);
            len = end;
        }
        let number = event_number(id, place);
        self.reply.store_u32(reply::EVENT_KIND, kind as u32);
        self.reply.store_u32(reply::EVENT_LEN, len as u32);
        self.say(reply::EVENT, number, id);
        let answered = || self.request.load_u64(request::ANSWERED) == number;
        if !self.poll_for(answered) && self.sleep_until(id, None, answered) {
            return None;
        }
        Some(self.request.load_u32(request::ANSWER_LEN) as usize)
    }

    fn poll_for(&self, over: impl Fn() -> bool) -> bool {
        let until = Instant::now() + Self::POLL;
        loop {
            for _ in 0..64 {
                if over() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= until {
                return false;
            }
            // The host may be waiting for this very CPU.
            std::thread::yield_now();
        }
    }

    /// Copies the answer to the last event.
    ///
    /// # Panics
    /// When `to` is longer than a payload may be.
    pub fn read_answer(&self, to: &mut [u8]) {
        self.request.copy_out(request::PAYLOAD, to);
    }

    /// What somebody takes of the current call.
    #[must_use]
    pub fn listens(&self) -> Listens {
        Listens::from_word(self.request.load_u32(request::LISTENS))
    }

    /// Says how much of its work the guest has done.
    pub fn set_progress(&self, progress: [u64; 2]) {
        self.has_told.store(true, Ordering::Relaxed);
        for (word, value) in reply::PROGRESS.into_iter().zip(progress) {
            self.reply.store_u64(word, value);
        }
    }
}
