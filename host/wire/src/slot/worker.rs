//! The worker's side of a slot. The worker trusts the host.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use super::layout::{Geometry, IS_CHUNK, IS_SHARED, Linger, ReplyKind, reply, request};
use crate::sys::doorbell::Doorbell;
use crate::sys::mapping::Mapping;
use crate::sys::placement;

pub(super) const DOORBELL: Doorbell = Doorbell::at(request::DOORBELL);

/// How many looks a worker takes before it asks the clock whether to go on polling, at first and at last.
const LOOKS_FIRST: u32 = 64;
const LOOKS_MAX: u32 = 512;

/// The worker's side of a slot.
#[derive(Debug)]
pub struct WorkerSlot {
    pub(super) request: Mapping,
    pub(super) reply: Mapping,
    pub(super) geometry: Geometry,
    pub(super) eventfd: OwnedFd,
    /// How many calls since the worker slept have found the host on its CPU. One thread uses it.
    turns: AtomicU32,
    /// Whether the current call has written output, records or progress. One thread uses it.
    pub(super) has_told: AtomicBool,
    /// How many events the current call has had. One thread uses it.
    pub(super) events: AtomicU32,
    /// How much of each output stream of the current call the host has surely had. One thread uses it.
    pub(super) taken: [AtomicU64; 2],
}

/// A call to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its number; each call of a worker has the next one.
    pub id: u64,
    /// Which export to run.
    pub function: u32,
    /// Whether the payload is several requests for it.
    pub is_chunk: bool,
    /// Whether those are several callers'. What one of them leaves beside its reply must not be taken for another's: one
    /// that fails or writes something is the last of its chunk.
    pub is_shared: bool,
    /// The length of the arguments in bytes.
    pub len: u32,
    /// How to wait for the next call.
    pub linger: Linger,
}

/// What a worker does while it has no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// For how long to poll before sleeping.
    pub linger: Linger,
    /// For how long to sleep without a sign of the host before ending; `None` is for ever.
    pub timeout: Option<Duration>,
}

impl WorkerSlot {
    /// Maps the memories that the host made.
    ///
    /// # Errors
    /// When the kernel refuses a mapping.
    pub fn new(
        geometry: Geometry,
        request: OwnedFd,
        reply: OwnedFd,
        eventfd: OwnedFd,
    ) -> io::Result<Self> {
        Ok(Self {
            request: Mapping::read_only(&request, geometry.request_bytes())?,
            reply: Mapping::read_write(&reply, geometry.reply_bytes())?,
            geometry,
            eventfd,
            turns: AtomicU32::new(0),
            has_told: AtomicBool::new(false),
            events: AtomicU32::new(0),
            taken: [AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    /// How to wait for the first call.
    #[must_use]
    pub fn first_linger(&self) -> Linger {
        Linger::from_word(self.request.load_u32(request::LINGER))
    }

    /// Waits for the call after call `last`. `None` when there is none: the host wants this worker to end,
    /// or has not been heard of for too long.
    #[must_use]
    #[inline]
    pub fn next(&self, last: u64, idle: Idle) -> Option<Request> {
        if !self.poll(last, idle.linger) && !self.sleep_until_published(last, idle.timeout) {
            return None;
        }
        let function = self.request.load_u32(request::FUNCTION);
        Some(Request {
            id: self.request.load_u64(request::PUBLISHED),
            function: function & !(IS_CHUNK | IS_SHARED),
            is_chunk: function & IS_CHUNK != 0,
            is_shared: function & IS_SHARED != 0,
            len: self.request.load_u32(request::LEN),
            linger: Linger::from_word(self.request.load_u32(request::LINGER)),
        })
    }

    #[inline]
    fn poll(&self, last: u64, linger: Linger) -> bool {
        let mut until = None;
        let mut looks = LOOKS_FIRST;
        loop {
            for _ in 0..looks {
                if self.request.load_u64(request::PUBLISHED) != last {
                    return true;
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            let first = until.is_none();
            if now >= *until.get_or_insert_with(|| now + linger.time()) {
                return false;
            }
            if first {
                self.take_turns(linger);
            }
            // The host may be waiting for this very CPU. If it is not, it hardly will be soon, and a call that comes
            // meanwhile waits for the system call.
            std::thread::yield_now();
            looks = (2 * looks).min(LOOKS_MAX);
        }
    }

    /// Lets the host go on that waits for a reply on this very CPU, and has it: for a worker that has more to do before
    /// the next call.
    pub fn make_way(&self, linger: Linger) {
        if linger.cpu().is_some() && linger.cpu() == placement::current() {
            std::thread::yield_now();
        }
    }

    /// Goes elsewhere when the host has been on this CPU for a while.
    ///
    /// Where a halted virtual CPU does not look idle to the kernel, both sides may wake up on one and stay there for
    /// as long as they take turns, while another has nothing to do: a call takes ten times as long. The move costs as
    /// much as some such calls, and is often spared: the kernel does it by itself.
    fn take_turns(&self, linger: Linger) {
        /// The first move is after so many calls, the next one after twice as many: where every CPU is busy, a move
        /// helps nobody.
        const FIRST_MOVE: u32 = 16;
        if linger.cpu().is_none() || linger.cpu() != placement::current() {
            return;
        }
        let turns = self.turns.load(Ordering::Relaxed).saturating_add(1);
        self.turns.store(turns, Ordering::Relaxed);
        if turns >= FIRST_MOVE && turns.is_power_of_two() {
            // If it is forbidden, they go on taking turns.
            let _ = placement::leave_current();
        }
    }

    /// A call that is published after the last look here meets a process that ends without having accepted
    /// it, and runs elsewhere.
    fn sleep_until_published(&self, last: u64, timeout: Option<Duration>) -> bool {
        self.reply.store_u64(reply::SLEEPING, 1);
        let (mut heard, mut until) = (None, None);
        let published = loop {
            fence(Ordering::SeqCst);
            let seen = DOORBELL.seen(&self.request);
            if self.request.load_u64(request::PUBLISHED) != last {
                break true;
            }
            if self.request.load_u32(request::END) != 0 {
                break false;
            }
            if heard != Some(seen) {
                heard = Some(seen);
                until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                break false;
            }
            DOORBELL.sleep(&self.request, seen, left);
        };
        self.reply.store_u64(reply::SLEEPING, 0);
        self.turns.store(0, Ordering::Relaxed);
        published
    }

    /// Marks call `id` as accepted. `false` when the host had withdrawn or cancelled it: then no guest code
    /// may run for it.
    #[must_use]
    #[inline]
    pub fn accept(&self, id: u64) -> bool {
        if self.has_told.load(Ordering::Relaxed) {
            self.forget_what_was_told();
        }
        self.events.store(0, Ordering::Relaxed);
        let against = (&self.request, [request::WITHDRAWN, request::CANCEL]);
        let [withdrawn, cancelled] = self.reply.store_then_load((reply::ACCEPTED, id), against);
        withdrawn != id && cancelled != id
    }

    #[cold]
    fn forget_what_was_told(&self) {
        for word in reply::PROGRESS {
            self.reply.store_u64(word, 0);
        }
        self.clear_output();
        self.clear_log();
        self.has_told.store(false, Ordering::Relaxed);
    }

    /// Whether the host wants call `id` stopped.
    #[must_use]
    #[inline]
    pub fn stop_requested(&self, id: u64) -> bool {
        self.request.load_u64(request::CANCEL) == id
    }

    /// Copies the arguments of the current call.
    ///
    /// # Panics
    /// When `to` is longer than a payload may be.
    #[inline]
    pub fn read_args(&self, to: &mut [u8]) {
        self.request
            .copy_out(Geometry::request_offset(to.len()), to);
    }

    /// Sleeps for `duration`, or until the host wants call `id` stopped, which is what it returns.
    ///
    /// The signal that stops wasm may arrive just before the sleep begins; the doorbell, which the host
    /// rings for a stop too, cannot be missed.
    #[must_use]
    pub fn sleep(&self, id: u64, duration: Duration) -> bool {
        self.sleep_until(id, Instant::now().checked_add(duration), || false)
    }

    /// Sleeps until `until`, until `over` says so after a ring of the host's, or until call `id` is to be
    /// stopped, which is what it returns.
    pub(super) fn sleep_until(
        &self,
        id: u64,
        until: Option<Instant>,
        over: impl Fn() -> bool,
    ) -> bool {
        self.reply.store_u64(reply::SLEEPING, 1);
        let stopped = loop {
            fence(Ordering::SeqCst);
            let seen = DOORBELL.seen(&self.request);
            if self.stop_requested(id) {
                break true;
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) || over() {
                break false;
            }
            DOORBELL.sleep(&self.request, seen, left);
        };
        self.reply.store_u64(reply::SLEEPING, 0);
        stopped
    }

    /// Leaves word of a system call that this process may not make and is about to end for. Does what a signal
    /// handler may: one store.
    pub fn note_forbidden(&self, call: u32) {
        self.reply
            .store_u32(reply::FORBIDDEN, call.saturating_add(1));
    }

    /// The longest value a reply may carry.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.geometry.payload_bytes_max()
    }

    /// Answers call `id`.
    ///
    /// # Panics
    /// When the payload is longer than [`Self::payload_bytes_max`].
    #[inline]
    pub fn reply(&self, id: u64, kind: ReplyKind, payload: &[u8]) {
        self.reply_in_pieces(id, kind, &[payload]);
    }

    /// The same with a payload in several pieces.
    ///
    /// # Panics
    /// When they are longer than [`Self::payload_bytes_max`] together.
    #[inline]
    pub fn reply_in_pieces(&self, id: u64, kind: ReplyKind, payload: &[&[u8]]) {
        let len = payload.iter().map(|piece| piece.len()).sum();
        assert!(len <= self.geometry.reply_bytes_max(kind));
        let mut to = self.geometry.reply_offset(kind, len);
        for piece in payload {
            self.reply.copy_in(to, piece);
            to += piece.len();
        }
        self.reply_in_place(id, kind, len);
    }

    /// Whether the guest has written output or records during the current call.
    #[must_use]
    #[inline]
    pub fn has_written(&self) -> bool {
        self.has_told.load(Ordering::Relaxed) && (self.has_log() || self.has_output())
    }

    /// Answers call `id` with what lies in the slot already.
    #[inline]
    pub(super) fn reply_in_place(&self, id: u64, kind: ReplyKind, len: usize) {
        let output = self.has_written();
        self.reply.store_u32(reply::KIND, kind as u32);
        self.reply.store_u32(reply::LEN, len as u32);
        self.reply.store_u32(reply::OUTPUT, output.into());
        self.say(reply::ID, id, id);
    }

    /// Writes what the host looks for during call `id`, and wakes it if it sleeps for that.
    #[inline]
    pub(super) fn say(&self, word: usize, value: u64, id: u64) {
        let armed = (&self.request, [request::ARMED]);
        if self.reply.store_then_load((word, value), armed) == [id] {
            // Fails only when the counter is full, and then the host has been rung 2^64 times.
            let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::thread::sched_getaffinity;

    use super::*;
    use crate::slot::HostSlot;

    /// How often the kernel moves a thread by itself between two looks is next to never, but not quite.
    const TRIES: usize = 50;

    fn slot() -> WorkerSlot {
        let geometry = Geometry::new(4096, 4096).unwrap();
        let (_, [request, reply]) = HostSlot::new(geometry).unwrap();
        let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        WorkerSlot::new(geometry, request, reply, bell).unwrap()
    }

    /// How many of so many calls, published from where `host` says, have been followed by another CPU.
    fn moves(calls: u32, host: fn(Option<usize>) -> Option<usize>) -> usize {
        let slot = slot();
        let moved = (0..calls).filter(|_| {
            let own = placement::current();
            slot.take_turns(Linger::beside(Duration::ZERO, host(own)));
            placement::current() != own
        });
        moved.count()
    }

    #[test]
    fn a_worker_leaves_the_cpu_that_its_host_stays_on() {
        let few = sched_getaffinity(None).unwrap().count() < 2;
        let of_all = |calls, host| -> usize { (0..TRIES).map(|_| moves(calls, host)).sum() };
        // At the sixteenth and the thirty-second call, unless there is nowhere to go.
        assert!(few || of_all(32, |own| own) > TRIES);
        assert!(of_all(15, |own| own) < TRIES / 2);
        assert!(of_all(32, |_| None) < TRIES / 2);
        assert!(of_all(32, |own| own.map(|cpu| cpu + 1)) < TRIES / 2);
    }
}
