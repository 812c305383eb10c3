//! Where each word of a slot lies.
//!
//! A line that one side polls holds nothing that the other side writes meanwhile, and a short payload lies
//! in the line that announces it, so a small call moves two cache lines in all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where long payloads begin and what they are rounded to. Where pages are larger, a little less is given
/// back to the kernel.
const PAGE: usize = 4096;

/// Words of the request memory.
pub(super) mod request {
    /// u64: the newest call.
    pub(in crate::slot) const PUBLISHED: usize = 0;
    /// u64: the call to stop.
    pub(in crate::slot) const CANCEL: usize = 8;
    /// u64: the call to skip if it has not been accepted.
    pub(in crate::slot) const WITHDRAWN: usize = 16;
    /// u32: rung at everything that the host writes while the worker sleeps.
    pub(in crate::slot) const DOORBELL: usize = 24;
    /// u32: which export to run.
    pub(in crate::slot) const FUNCTION: usize = 28;
    /// u32: the length of the payload.
    pub(in crate::slot) const LEN: usize = 32;
    /// u32: how the worker may wait for the next call, see [`super::Linger`].
    pub(in crate::slot) const LINGER: usize = 36;
    /// A payload of at most [`INLINE_LEN`] bytes lies here.
    pub(in crate::slot) const INLINE: usize = 40;
    pub(in crate::slot) const INLINE_LEN: usize = 24;
    /// u64: the call whose reply the host sleeps for. In a line of its own: the worker reads it at every
    /// reply and the host seldom writes it.
    pub(in crate::slot) const ARMED: usize = 128;
    /// u32: not zero when the worker is to end instead of waiting for another call.
    pub(in crate::slot) const END: usize = 136;
    /// u32: what somebody takes of the current call while it runs, see [`super::Listens`].
    pub(in crate::slot) const LISTENS: usize = 140;
    /// u64: the chunk of which no further item may begin.
    pub(in crate::slot) const CLOSED: usize = 144;
    /// u64: the newest event that has been answered, see [`super::event_number`]. In a line of its own: the
    /// worker polls it while it waits.
    pub(in crate::slot) const ANSWERED: usize = 192;
    /// u32: the length of the answer, which lies where a long payload does: the arguments were copied before.
    pub(in crate::slot) const ANSWER_LEN: usize = 200;
    /// Longer payloads lie here.
    pub(in crate::slot) const PAYLOAD: usize = super::PAGE;
}

/// Words of the reply memory.
pub(super) mod reply {
    /// u64: the newest call that has been answered.
    pub(in crate::slot) const ID: usize = 0;
    /// u32: a [`super::ReplyKind`].
    pub(in crate::slot) const KIND: usize = 8;
    /// u32: the length of the payload.
    pub(in crate::slot) const LEN: usize = 12;
    /// u32: not zero when the guest wrote to an output stream during this call.
    pub(in crate::slot) const OUTPUT: usize = 16;
    /// A payload of at most [`INLINE_LEN`] bytes lies here.
    pub(in crate::slot) const INLINE: usize = 24;
    pub(in crate::slot) const INLINE_LEN: usize = 40;
    /// u64: the newest call that guest code may have begun. In a line of its own: the host does not poll it.
    pub(in crate::slot) const ACCEPTED: usize = 128;
    /// u64: not zero when the worker sleeps, or is about to. In a line of its own: the host reads it at every
    /// call and the worker seldom writes it.
    pub(in crate::slot) const SLEEPING: usize = 256;
    /// u64 each: how many bytes this call has written to stdout and stderr.
    pub(in crate::slot) const OUTPUT_TOTALS: [usize; 2] = [384, 392];
    /// u32: one more than the number of the system call that the worker is being ended for; zero while it made
    /// only those that it may.
    pub(in crate::slot) const FORBIDDEN: usize = 448;
    /// u64: the newest event, see [`super::event_number`].
    pub(in crate::slot) const EVENT: usize = 512;
    /// u32: an [`super::EventKind`].
    pub(in crate::slot) const EVENT_KIND: usize = 520;
    /// u32: the length of its payload.
    pub(in crate::slot) const EVENT_LEN: usize = 524;
    /// u64 each: how much of its work the guest says it has done, and of how much.
    pub(in crate::slot) const PROGRESS: [usize; 2] = [576, 584];
    /// u32: how many bytes of records are in the log.
    pub(in crate::slot) const LOG_LEN: usize = 640;
    /// u32: how many records found no room in it.
    pub(in crate::slot) const LOG_LOST: usize = 644;
    /// u32 each: how many items of the current chunk guest code may have begun, and how many are over.
    pub(in crate::slot) const ITEMS: [usize; 2] = [704, 708];
    /// u64: the call that both belong to. Between its mark and its first item stands what an earlier chunk left.
    pub(in crate::slot) const ITEMS_OF: usize = 720;
    /// u32: how many bytes of replies the items have that are over.
    pub(in crate::slot) const ITEMS_LEN: usize = 712;
    /// u64: the newest call after which the guest was asked whether its worker is to be replaced. In a line
    /// of its own: the host seldom reads it.
    pub(in crate::slot) const ASKED: usize = 768;
    /// u64: the newest call after which it said yes.
    pub(in crate::slot) const WORN_OUT: usize = 776;
    /// The rings of both streams, then the log, then the payloads that are not inline.
    pub(in crate::slot) const RINGS: usize = super::PAGE;
}

/// For how long a worker may poll for the next call before it sleeps, and what it must know for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linger {
    us: u16,
    /// One more than the CPU; zero when nobody knows.
    cpu: u16,
}

impl Linger {
    /// Not at all.
    pub const NONE: Self = Self { us: 0, cpu: 0 };

    /// For so long, and for a host that polls for the reply on this CPU.
    #[must_use]
    #[inline]
    pub fn beside(time: Duration, cpu: Option<usize>) -> Self {
        let cpu = cpu.and_then(|cpu| u16::try_from(cpu + 1).ok());
        Self {
            us: u16::try_from(time.as_micros()).unwrap_or(u16::MAX),
            cpu: cpu.unwrap_or(0),
        }
    }

    /// For how long.
    #[must_use]
    pub fn time(self) -> Duration {
        Duration::from_micros(self.us.into())
    }

    /// The CPU that the host polled on, if that is known.
    #[must_use]
    pub fn cpu(self) -> Option<usize> {
        usize::from(self.cpu).checked_sub(1)
    }

    #[inline]
    pub(super) fn to_word(self) -> u32 {
        u32::from(self.cpu) << 16 | u32::from(self.us)
    }

    #[inline]
    pub(super) fn from_word(word: u32) -> Self {
        Self {
            us: word as u16,
            cpu: (word >> 16) as u16,
        }
    }
}

/// A request of at most this many bytes travels in the line that announces it.
pub const INLINE_REQUEST: usize = request::INLINE_LEN;

/// A reply of at most this many bytes travels in the line that announces it.
pub const INLINE_REPLY: usize = reply::INLINE_LEN;

/// The sizes of a slot. Both sides compute every offset from their own copy of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    payload_bytes_max: u32,
    ring_bytes: u32,
}

impl Geometry {
    /// A slot for payloads of at most `payload_bytes_max` bytes each way, which keeps the last
    /// `output_bytes` bytes of each output stream.
    ///
    /// `None` when a length would not fit in 31 bits: guests are 32-bit programs.
    #[must_use]
    pub fn new(payload_bytes_max: usize, output_bytes: usize) -> Option<Self> {
        const MAX: usize = 1 << 31;
        if payload_bytes_max > MAX || output_bytes > MAX {
            return None;
        }
        let ring_bytes = output_bytes.next_multiple_of(PAGE);
        Some(Self {
            payload_bytes_max: payload_bytes_max.try_into().ok()?,
            ring_bytes: ring_bytes.try_into().ok()?,
        })
    }

    /// The longest payload, each way.
    #[must_use]
    pub fn payload_bytes_max(self) -> usize {
        self.payload_bytes_max as usize
    }

    /// The length of each output stream's ring.
    #[must_use]
    pub fn ring_bytes(self) -> usize {
        self.ring_bytes as usize
    }

    /// The length of the request memory.
    #[must_use]
    pub fn request_bytes(self) -> usize {
        request::PAYLOAD + self.payload_bytes_max().next_multiple_of(PAGE)
    }

    /// The length of the reply memory.
    #[must_use]
    pub fn reply_bytes(self) -> usize {
        self.reply_payload() + self.chunk_bytes_max().next_multiple_of(PAGE)
    }

    /// The longest reply to a chunk: the last of its items may have the longest reply of all.
    fn chunk_bytes_max(self) -> usize {
        CHUNK_ROOM + ITEM_HEADER + self.payload_bytes_max().max(FAILURE_BYTES_MAX)
    }

    pub(super) fn ring(self, stream: usize) -> usize {
        reply::RINGS + stream * self.ring_bytes()
    }

    /// Where the log begins, which is as long as a ring.
    pub(super) fn log(self) -> usize {
        self.ring(2)
    }

    pub(super) fn reply_payload(self) -> usize {
        self.ring(3)
    }

    /// Where the payload of an event lies: behind what the items of a chunk that are over have replied.
    pub(super) fn event_payload(self) -> usize {
        self.reply_payload() + CHUNK_ROOM + ITEM_HEADER
    }

    pub(super) fn request_offset(len: usize) -> usize {
        if len <= request::INLINE_LEN {
            request::INLINE
        } else {
            request::PAYLOAD
        }
    }

    #[inline]
    pub(super) fn reply_offset(self, kind: ReplyKind, len: usize) -> usize {
        // A chunk's was written as its items ended, when its length was not known.
        if len <= reply::INLINE_LEN && kind != ReplyKind::Chunk {
            reply::INLINE
        } else {
            self.reply_payload()
        }
    }

    /// The longest payload of a reply of this kind.
    #[inline]
    pub(super) fn reply_bytes_max(self, kind: ReplyKind) -> usize {
        match kind {
            ReplyKind::Value => self.payload_bytes_max(),
            ReplyKind::Failure => FAILURE_BYTES_MAX,
            ReplyKind::Chunk => self.chunk_bytes_max(),
            ReplyKind::Skipped | ReplyKind::Interrupted => 0,
        }
    }
}

/// The longest description of a failure, however small the payloads are.
pub(crate) const FAILURE_BYTES_MAX: usize = 64 << 10;

/// A worker begins no further item of a chunk when the replies of the others take more than this.
pub(super) const CHUNK_ROOM: usize = 1 << 20;

/// Before the reply of an item: its kind and its length, a u32 each.
pub(super) const ITEM_HEADER: usize = 8;

/// In the word that names the export: the payload is a chunk, several requests for it.
pub(super) const IS_CHUNK: u32 = 1 << 31;

/// In the same word, of a chunk: its items are several callers'.
pub(super) const IS_SHARED: u32 = 1 << 30;

/// What a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ReplyKind {
    /// The guest's reply, status byte and all, or a numeric export's result.
    Value = 1,
    /// The guest failed; the payload is a [`crate::message::Failure`].
    Failure = 2,
    /// No guest code was run, because the call had been withdrawn or cancelled before.
    Skipped = 3,
    /// The guest was stopped on the host's request.
    Interrupted = 4,
    /// What the items of a chunk replied, as many as were run.
    Chunk = 5,
}

impl ReplyKind {
    pub(super) fn from_word(word: u32) -> Option<Self> {
        match word {
            1 => Some(Self::Value),
            2 => Some(Self::Failure),
            3 => Some(Self::Skipped),
            4 => Some(Self::Interrupted),
            5 => Some(Self::Chunk),
            _ => None,
        }
    }
}

/// An event's number: the lower half of its call's number, then its place among the events of that call, from 1
/// on. So one that a stopped call left behind is not taken for one of the next call.
pub(super) fn event_number(call: u64, place: u32) -> u64 {
    call << 32 | u64::from(place)
}

/// What a guest wants of its host in the middle of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// The host is to take an item that the guest emits: an encoded value.
    Item = 1,
    /// The host is to run one of its functions: see [`crate::message::split_host_call`].
    HostCall = 2,
    /// The host is to look at the log now rather than at the call's end.
    Log = 3,
    /// The host is to take what the guest has written to its output streams.
    Output = 4,
}

impl EventKind {
    pub(super) fn from_word(word: u32) -> Option<Self> {
        match word {
            1 => Some(Self::Item),
            2 => Some(Self::HostCall),
            3 => Some(Self::Log),
            4 => Some(Self::Output),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_to_wait_fits_in_a_word() {
        let longest = Duration::from_micros(u16::MAX.into());
        for (time, arrives) in [(Duration::ZERO, Duration::ZERO), (Duration::MAX, longest)] {
            for (cpu, known) in [
                (None, None),
                (Some(0), Some(0)),
                (Some(65_534), Some(65_534)),
                (Some(65_535), None),
            ] {
                let linger = Linger::from_word(Linger::beside(time, cpu).to_word());
                assert_eq!((linger.time(), linger.cpu()), (arrives, known));
            }
        }
        assert_eq!(Linger::from_word(0), Linger::NONE);
    }
}
