//! The host's side of a slot. Whatever it reads may have been written by an attacker.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};

use super::layout::{Geometry, INLINE_REPLY, Linger, ReplyKind, reply, request};
use super::request_writer::{RequestWriter, Written};
use crate::sys::doorbell::Doorbell;
use crate::sys::mapping::Mapping;
use crate::sys::memfd::SizedMemfd;

const DOORBELL: Doorbell = Doorbell::at(request::DOORBELL);

/// The host's side of a slot.
#[derive(Debug)]
pub struct HostSlot {
    pub(super) request: Mapping,
    pub(super) reply: Mapping,
    pub(super) geometry: Geometry,
}

/// What the reply memory says about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Not answered yet.
    Nothing,
    /// Answered; the payload is still in the slot.
    Reply(Head),
    /// Something that no honest worker writes.
    Lie(Disbelief),
}

/// A checked reply header. Its payload can be copied out once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the reply is.
    pub kind: ReplyKind,
    /// Whether the guest wrote to an output stream during the call.
    pub output: bool,
    len: usize,
}

impl Head {
    /// The length of the payload in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no caller asks")]
    pub fn len(&self) -> usize {
        self.len
    }
}

/// Why a worker is no longer believed.
#[derive(Debug, Clone, PartialEq, Eq, Copy)]
#[non_exhaustive]
pub enum Disbelief {
    /// It answered a call that it was not given.
    ReplyId {
        /// The call that it claims to answer.
        found: u64,
        /// The call that it has.
        expected: u64,
    },
    /// Its reply is of no known kind.
    ReplyKind(u32),
    /// Its reply is longer than any may be.
    ReplyLength {
        /// The claimed length in bytes.
        found: usize,
        /// The greatest length in bytes.
        max: usize,
    },
    /// It says that it stopped or skipped a call that nobody had stopped.
    NotStopped,
    /// It rang again and again without a reply.
    EmptyRing,
    /// Its description of a failure does not decode.
    Failure,
    /// It spoke on its socket while it served.
    Chatter,
    /// It wanted something of its host before it had marked its call as accepted.
    EarlyEvent,
    /// It wanted something new of its host before it had the answer to the last, or something unknown.
    Event {
        /// The number that it gave.
        found: u64,
        /// What it claims to be.
        kind: u32,
    },
    /// What the items of a chunk replied does not make sense.
    Chunk,
    /// What it wants of its host is longer than anything may be.
    EventLength {
        /// The claimed length in bytes.
        found: usize,
        /// The greatest length in bytes.
        max: usize,
    },
}

impl fmt::Display for Disbelief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReplyId { found, expected } => {
                write!(f, "it answered call {found} while it had call {expected}")
            }
            Self::ReplyKind(kind) => write!(f, "its reply is of unknown kind {kind}"),
            Self::ReplyLength { found, max } => {
                write!(
                    f,
                    "its reply claims {found} bytes, more than the {max} that fit"
                )
            }
            Self::NotStopped => {
                f.write_str("it claims to have been stopped, but nobody stopped it")
            }
            Self::EmptyRing => f.write_str("it rang again and again without a reply"),
            Self::Chatter => f.write_str("it spoke on its socket while it served"),
            Self::Failure => f.write_str("its description of a failure does not decode"),
            Self::Chunk => {
                f.write_str("what it replied to several calls at once does not make sense")
            }
            Self::EarlyEvent => {
                f.write_str("it wanted something of its host before it had accepted its call")
            }
            Self::Event { found, kind } => {
                write!(
                    f,
                    "it wanted something of kind {kind} out of turn (event {found:#x})"
                )
            }
            Self::EventLength { found, max } => {
                write!(
                    f,
                    "what it wants of its host claims {found} bytes, more than the {max} that fit"
                )
            }
        }
    }
}

impl HostSlot {
    /// A new slot, and the descriptors to hand to its worker: the request memory, which that worker can
    /// only read, and the reply memory.
    ///
    /// # Errors
    /// When the kernel has no descriptor or address space left.
    pub fn new(geometry: Geometry) -> io::Result<(Self, [OwnedFd; 2])> {
        let request = SizedMemfd::new("stockade-request", geometry.request_bytes())?;
        let reply = SizedMemfd::new("stockade-reply", geometry.reply_bytes())?;
        let slot = Self {
            request: Mapping::read_write(&request, request.len())?,
            reply: Mapping::read_write(&reply, reply.len())?,
            geometry,
        };
        let fds = [request.reopen_read_only()?, reply.into_fd()];
        Ok((slot, fds))
    }

    /// Starts a request: write the encoded arguments into it.
    #[must_use]
    #[inline]
    pub fn writer(&self) -> RequestWriter<'_> {
        RequestWriter::new(self)
    }

    /// Hands call `id` to the worker.
    ///
    /// The caller's [`super::machine::Machine`] says when this is allowed and which id to use. Returns
    /// whether the worker slept and had to be woken.
    #[inline]
    pub fn publish(&self, id: u64, function: u32, linger: Linger, written: Written) -> bool {
        let function = function | written.mark as u32;
        if written.len <= request::INLINE_LEN {
            self.request
                .copy_words_in(request::INLINE, &written.inline.words);
        }
        self.request.store_u32(request::FUNCTION, function);
        // At most `payload_bytes_max`, which fits in 31 bits.
        self.request.store_u32(request::LEN, written.len as u32);
        self.request.store_u32(request::LINGER, linger.to_word());
        let sleeping = (&self.reply, [reply::SLEEPING]);
        let sleeps = self
            .request
            .store_then_load((request::PUBLISHED, id), sleeping)
            != [0];
        if sleeps {
            self.wake();
        }
        sleeps
    }

    /// How a worker that has just started may wait for its first call.
    pub fn linger_first(&self, linger: Linger) {
        self.request.store_u32(request::LINGER, linger.to_word());
    }

    /// Wakes the worker if it sleeps.
    ///
    /// The doorbell changes only then: it lies in the line that a worker which is awake is about to read. A worker
    /// that falls asleep says so first and looks at everything afterwards, so it has seen what was written before,
    /// or is seen to sleep here.
    #[inline]
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.reply.load_u64(reply::SLEEPING) != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        DOORBELL.ring(&self.request);
        DOORBELL.wake(&self.request);
    }

    /// Asks the worker to stop call `id`. A worker that runs wasm must be sent a signal as well, after this.
    pub fn cancel(&self, id: u64) {
        self.request.store_u64(request::CANCEL, id);
        self.ring();
    }

    /// Asks a worker that has no call, and will get none, to end.
    pub fn end(&self) {
        self.request.store_u32(request::END, 1);
        self.ring();
    }

    /// Tells a worker that waits for a call to go on waiting: its idle time begins anew.
    pub fn stay(&self) {
        self.ring();
    }

    /// Takes call `id` back; `false` when the worker has accepted it, and it is too late.
    #[must_use]
    pub fn withdraw(&self, id: u64) -> bool {
        self.request.store_u64(request::WITHDRAWN, id);
        fence(Ordering::SeqCst);
        !self.accepted(id)
    }

    /// Whether guest code may have run for call `id`.
    #[must_use]
    #[inline]
    pub fn accepted(&self, id: u64) -> bool {
        self.reply.load_u64(reply::ACCEPTED) == id
    }

    /// Looks once for the reply to call `id`.
    #[must_use]
    #[inline]
    pub fn look(&self, id: u64) -> Seen {
        let found = self.reply.load_u64(reply::ID);
        if found == id - 1 {
            return Seen::Nothing;
        }
        self.judge(id, found)
    }

    #[inline]
    fn judge(&self, id: u64, found: u64) -> Seen {
        if found != id {
            return Seen::Lie(Disbelief::ReplyId {
                found,
                expected: id,
            });
        }
        let kind = self.reply.load_u32(reply::KIND);
        let len = self.reply.load_u32(reply::LEN) as usize;
        let output = self.reply.load_u32(reply::OUTPUT) != 0;
        let Some(kind) = ReplyKind::from_word(kind) else {
            return Seen::Lie(Disbelief::ReplyKind(kind));
        };
        let max = self.geometry.reply_bytes_max(kind);
        if len > max {
            return Seen::Lie(Disbelief::ReplyLength { found: len, max });
        }
        Seen::Reply(Head { kind, output, len })
    }

    /// Copies a reply's payload into private memory, behind what `to` holds.
    pub fn read(&self, head: Head, to: &mut Vec<u8>) {
        self.reply.append_to(
            self.geometry.reply_offset(head.kind, head.len),
            head.len,
            to,
        );
    }

    /// The same for a payload of at most [`INLINE_REPLY`] bytes, in the first of those returned.
    #[must_use]
    #[inline]
    pub fn read_short(&self, head: Head) -> [u8; INLINE_REPLY] {
        let len = head.len.min(INLINE_REPLY);
        self.reply
            .copy_words_out(self.geometry.reply_offset(head.kind, len))
    }

    /// Asks the worker to ring the eventfd when it has answered call `id`. Look again after this, before
    /// sleeping.
    #[inline]
    pub fn arm(&self, id: u64) {
        self.request.store_u64(request::ARMED, id);
        fence(Ordering::SeqCst);
    }

    /// The opposite: whoever looks need not be told. A ring that the worker has begun may come all the same.
    pub fn disarm(&self) {
        // The first call has the number 1.
        self.request.store_u64(request::ARMED, 0);
    }

    /// The system call that the worker says it was ended for. Only its word, and only worth reading once the
    /// kernel has said that it was ended for one.
    #[must_use]
    pub fn forbidden(&self) -> Option<u32> {
        self.reply.load_u32(reply::FORBIDDEN).checked_sub(1)
    }

    /// Gives back a part of the memory of payloads and output, from `progress` (0 at first) on, and says
    /// where to go on; `None` when all is given back. Only while the worker has no call.
    #[must_use]
    pub fn release_pages(&self, progress: usize) -> Option<usize> {
        /// About a millisecond's worth.
        const STEP: usize = 4 << 20;
        let mut more = false;
        for (memory, begin) in [
            (&self.request, request::PAYLOAD),
            (&self.reply, reply::RINGS),
        ] {
            let from = begin + progress;
            if from < memory.len() {
                let len = STEP.min(memory.len() - from);
                // Refused only by kernels without hole punching; the memory is then kept.
                let _ = memory.release(from, len);
                more |= from + len < memory.len();
            }
        }
        more.then_some(progress + STEP)
    }
}
