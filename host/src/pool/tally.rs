//! What has become of calls: counted, and timed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::stats::{CallCounts, FailureCounts};
use crate::timings::Timings;
use crate::{Cause, Error};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Finished,
    Cancelled,
    TimedOut,
    Rejected,
    Trap,
    Panic,
    OutOfMemory,
    StackOverflow,
    GuestExit,
    Died,
    CpuTime,
    PolicyViolation,
    Protocol,
    Unresponsive,
    Codec,
    HostFunction,
    NoWorker,
}

const ENDS: usize = CallEnd::NoWorker as usize + 1;

impl CallEnd {
    pub(crate) fn of_result<T>(result: &Result<T, Error>) -> Self {
        result.as_ref().map_or_else(Self::of, |_| Self::Finished)
    }

    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::BrokenWorker(broken) => match broken.cause() {
                Cause::Trap(_) => Self::Trap,
                Cause::Panic { .. } => Self::Panic,
                Cause::OutOfMemory { .. } => Self::OutOfMemory,
                Cause::StackOverflow => Self::StackOverflow,
                Cause::GuestExit(_) => Self::GuestExit,
                Cause::Died => Self::Died,
                Cause::CpuTime { .. } => Self::CpuTime,
                Cause::PolicyViolation { .. } => Self::PolicyViolation,
                Cause::Protocol(_) => Self::Protocol,
                Cause::Unresponsive => Self::Unresponsive,
            },
            Error::Cancelled => Self::Cancelled,
            Error::Timeout { .. } => Self::TimedOut,
            Error::DecodeArgs { .. }
            | Error::EncodeResult { .. }
            | Error::DecodeResult { .. }
            | Error::PayloadTooLarge { .. } => Self::Codec,
            Error::HostFunction { .. } => Self::HostFunction,
            Error::Spawn { .. } | Error::Init { .. } | Error::Io(_) => Self::NoWorker,
            Error::Saturated { .. }
            | Error::Closed
            | Error::NoSuchFunction { .. }
            | Error::Signature { .. }
            | Error::EncodeArgs { .. }
            | Error::InvalidModule { .. }
            | Error::Compile { .. }
            | Error::Unsupported { .. }
            | Error::Config { .. } => Self::Rejected,
        }
    }
}

/// Of the calls that were over within one poll, one in so many is timed, and counts for all of them: a look
/// at the clock would be a good part of such a call.
const SAMPLED: u64 = 16;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    submitted: AtomicU64,
    ended: [AtomicU64; ENDS],
    together: AtomicU64,
    /// Of workers that are gone.
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    timings: Mutex<Timings>,
}

impl Tally {
    #[inline]
    pub(crate) fn submitted(&self) {
        self.submitted.fetch_add(1, Ordering::Relaxed);
    }

    /// So many at once.
    pub(crate) fn submitted_many(&self, calls: u64) {
        self.submitted.fetch_add(calls, Ordering::Relaxed);
    }

    /// The same for calls that nobody waits for any more.
    pub(crate) fn cancelled_many(&self, calls: u64) {
        self.ended[CallEnd::Cancelled as usize].fetch_add(calls, Ordering::Relaxed);
    }

    /// So many travel together.
    pub(crate) fn travel_together(&self, calls: usize) {
        self.together.fetch_add(calls as u64, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn ended(&self, end: CallEnd) {
        self.ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether to time call `id` of a worker, and for how many calls it counts.
    #[inline]
    pub(crate) fn weight(id: u64, quick: bool) -> Option<u64> {
        match quick {
            true => id.is_multiple_of(SAMPLED).then_some(SAMPLED),
            false => Some(1),
        }
    }

    pub(crate) fn timed(&self, queue: Duration, run: Duration, weight: u64) {
        self.timings_locked().record(queue, run, weight);
    }

    pub(super) fn add_bytes(&self, bytes: Bytes) {
        self.bytes_in.fetch_add(bytes.to_guest, Ordering::Relaxed);
        self.bytes_out
            .fetch_add(bytes.from_guest, Ordering::Relaxed);
    }

    pub(crate) fn timings(&self) -> Timings {
        self.timings_locked().clone()
    }

    pub(crate) fn reset_timings(&self) {
        *self.timings_locked() = Timings::default();
    }

    fn timings_locked(&self) -> MutexGuard<'_, Timings> {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// With `queued` calls that wait now, and what the workers of now have moved.
    pub(super) fn counts(&self, queued: usize, bytes: Bytes) -> CallCounts {
        let of = |end: CallEnd| self.ended[end as usize].load(Ordering::Acquire);
        let failed = FailureCounts {
            trap: of(CallEnd::Trap),
            panic: of(CallEnd::Panic),
            out_of_memory: of(CallEnd::OutOfMemory),
            stack_overflow: of(CallEnd::StackOverflow),
            guest_exit: of(CallEnd::GuestExit),
            died: of(CallEnd::Died),
            cpu_time: of(CallEnd::CpuTime),
            policy_violation: of(CallEnd::PolicyViolation),
            protocol: of(CallEnd::Protocol),
            unresponsive: of(CallEnd::Unresponsive),
            codec: of(CallEnd::Codec),
            host_function: of(CallEnd::HostFunction),
            no_worker: of(CallEnd::NoWorker),
        };
        let mut counts = CallCounts {
            submitted: 0,
            finished: of(CallEnd::Finished),
            failed,
            cancelled: of(CallEnd::Cancelled),
            timed_out: of(CallEnd::TimedOut),
            rejected: of(CallEnd::Rejected),
            running: 0,
            queued: queued as u64,
            together: self.together.load(Ordering::Relaxed),
            bytes_in: bytes.to_guest + self.bytes_in.load(Ordering::Relaxed),
            bytes_out: bytes.from_guest + self.bytes_out.load(Ordering::Relaxed),
        };
        // After the others: what ends meanwhile is still running here, and nothing is counted twice.
        counts.submitted = self.submitted.load(Ordering::Acquire);
        let over = counts.finished
            + counts.failed.total()
            + counts.cancelled
            + counts.timed_out
            + counts.rejected;
        counts.running = counts.submitted.saturating_sub(over + counts.queued);
        counts
    }
}

/// Payload bytes that went through a worker.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bytes {
    pub(super) to_guest: u64,
    pub(super) from_guest: u64,
}

impl std::ops::Add for Bytes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            to_guest: self.to_guest + other.to_guest,
            from_guest: self.from_guest + other.from_guest,
        }
    }
}
