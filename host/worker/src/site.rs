//! The slot as a guest's world, and where the arguments and the reply of a call lie in it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, compiler_fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use stockade_wire::message::host_call_header;
use stockade_wire::slot::{ChunkReply, EventKind, ReplyKind, Request, WorkerSlot};

use crate::guest::{Arguments, Reply, Stopped, World};

/// What a sleep that belongs to no call is told to look out for: no call ever has this number.
pub(crate) const NO_CALL: u64 = u64::MAX;

/// A guest that logs while it works is heard of this often; what it logs shortly before its end comes with that.
const LOG_EVERY: Duration = Duration::from_millis(100);

/// The slot as a guest's world. It lives as long as the process.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) slot: WorkerSlot,
    /// The call that guest code runs for.
    call: AtomicU64,
    /// When the host was last made to look at the log, or its first record was made.
    log_shown: Mutex<Instant>,
    /// The call after which the guest is being asked whether its worker is to be replaced.
    asked_after: AtomicU64,
    /// Whether a stop signal has come that has stopped nothing.
    missed: AtomicBool,
}

/// There is one thread: what is shared costs nothing, and locks are never waited for.
impl Site {
    /// Without a call yet.
    pub(crate) fn new(slot: WorkerSlot) -> &'static Self {
        Box::leak(Box::new(Self {
            slot,
            call: AtomicU64::new(NO_CALL),
            log_shown: Mutex::new(Instant::now()),
            asked_after: AtomicU64::new(NO_CALL),
            missed: AtomicBool::new(false),
        }))
    }

    #[inline]
    pub(crate) fn call(&self) -> u64 {
        self.call.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_call(&self, id: u64) {
        self.call.store(id, Ordering::Relaxed);
        // The handler of the stop signal, which is on this very thread, must find it before the cancel word is looked at.
        compiler_fence(Ordering::SeqCst);
    }

    /// The call after which the guest is being asked, if it is.
    pub(crate) fn asked_after(&self) -> Option<u64> {
        let call = self.asked_after.load(Ordering::Relaxed);
        (call != NO_CALL).then_some(call)
    }

    pub(crate) fn set_asked_after(&self, id: u64) {
        self.asked_after.store(id, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Says that a stop signal has come and has stopped nothing. May be called by its handler.
    pub(crate) fn set_missed(&self) {
        self.missed.store(true, Ordering::Relaxed);
    }

    /// Whether one has.
    #[inline]
    pub(crate) fn missed(&self) -> bool {
        self.missed.load(Ordering::Relaxed)
    }

    /// Forgets it.
    pub(crate) fn forget_missed(&self) {
        self.missed.store(false, Ordering::Relaxed);
    }

    fn log_shown(&self) -> MutexGuard<'_, Instant> {
        self.log_shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl World for &'static Site {
    fn stop_requested(&self) -> bool {
        match self.asked_after() {
            Some(last) => self.slot.is_wanted(last),
            None => self.slot.stop_requested(self.call()),
        }
    }

    fn was_missed(&self) -> bool {
        self.missed() && self.stop_requested()
    }

    fn sleep(&self, duration: Duration) -> bool {
        match self.asked_after() {
            Some(last) => self.slot.sleep_unless_wanted(last, duration),
            None => self.slot.sleep(self.call(), duration),
        }
    }

    fn write_output(&self, stream: usize, bytes: &[u8]) -> Result<(), Stopped> {
        let call = self.call();
        // What start code prints belongs to no call, and would be a lie to the host.
        if call == NO_CALL || self.slot.write_output(call, stream, bytes) {
            Ok(())
        } else {
            Err(Stopped)
        }
    }

    fn log(&self, level: u8, text: &[u8]) -> Result<(), Stopped> {
        let call = self.call();
        if call == NO_CALL {
            return Ok(());
        }
        let first = !self.slot.has_log();
        self.slot.write_log(level, text);
        if first {
            *self.log_shown() = Instant::now();
        } else if self.log_shown().elapsed() >= LOG_EVERY {
            self.slot.raise(call, EventKind::Log, &[]).ok_or(Stopped)?;
            *self.log_shown() = Instant::now();
        }
        Ok(())
    }

    fn progress(&self, progress: [u64; 2]) {
        if self.call() != NO_CALL {
            self.slot.set_progress(progress);
        }
    }

    fn takes_items(&self) -> bool {
        self.call() != NO_CALL && self.slot.listens().items
    }

    fn emit(&self, item: &[u8]) -> Result<(), Stopped> {
        let taken = self.slot.raise(self.call(), EventKind::Item, &[item]);
        taken.map(drop).ok_or(Stopped)
    }

    fn call_host(&self, name: &[u8], request: &[u8]) -> Result<Option<usize>, Stopped> {
        let call = self.call();
        if call == NO_CALL {
            return Ok(None);
        }
        // What fits in a payload fits in 31 bits.
        let header = host_call_header(name.len() as u32);
        let answer = self
            .slot
            .raise(call, EventKind::HostCall, &[&header, name, request]);
        answer.map(Some).ok_or(Stopped)
    }

    fn read_answer(&self, to: &mut [u8]) {
        self.slot.read_answer(to);
    }

    fn payload_bytes_max(&self) -> usize {
        self.slot.payload_bytes_max()
    }
}

pub(crate) struct ItemArguments(
    pub(crate) &'static Site,
    pub(crate) Request,
    pub(crate) Range<usize>,
);

impl Arguments for ItemArguments {
    fn byte_len(&self) -> u32 {
        self.2.len() as u32
    }

    fn copy_to(&self, to: &mut [u8]) {
        let Self(site, request, range) = self;
        site.slot.read_args_at(request.len, range.start, to);
    }
}

pub(crate) struct ItemReply<'a>(pub(crate) &'static Site, pub(crate) &'a ChunkReply<'static>);

impl Reply for ItemReply<'_> {
    fn bytes_max(&self) -> usize {
        self.0.slot.payload_bytes_max()
    }

    fn put(&mut self, pieces: &[&[u8]]) {
        self.1.put(ReplyKind::Value, pieces);
    }
}

pub(crate) struct SlotArguments(pub(crate) &'static Site, pub(crate) Request);

impl Arguments for SlotArguments {
    fn byte_len(&self) -> u32 {
        self.1.len
    }

    fn copy_to(&self, to: &mut [u8]) {
        self.0.slot.read_args(to);
    }
}

pub(crate) struct SlotReply(pub(crate) &'static Site, pub(crate) Request);

impl Reply for SlotReply {
    fn bytes_max(&self) -> usize {
        self.0.slot.payload_bytes_max()
    }

    fn put(&mut self, pieces: &[&[u8]]) {
        let slot = &self.0.slot;
        slot.reply_in_pieces(self.1.id, ReplyKind::Value, pieces);
    }
}
