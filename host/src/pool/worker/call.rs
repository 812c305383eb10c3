//! The host's notes on the call that a worker has.

use std::task::Waker;
use std::time::{Duration, Instant};

use stockade_wire::slot::Listens;
use stockade_wire::sys::cpu;

use crate::clock;
use crate::later::CallerSpan;
use crate::limiter::Permit;
use crate::spin::Running;

/// What one call may use, and what its caller wants.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terms {
    /// From its dispatch on.
    pub(crate) timeout: Option<Duration>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) cpu_time: Option<Duration>,
    /// What its caller takes while it runs.
    pub(crate) listens: Listens,
    /// For how many calls it stands.
    pub(crate) calls: usize,
}

impl Terms {
    /// When a call that is published now is stopped.
    pub(super) fn ends(&self, published: Instant) -> Option<Instant> {
        let run_until = self.timeout.map(|timeout| clock::after(published, timeout));
        run_until.into_iter().chain(self.deadline).min()
    }
}

/// A call that a worker has.
#[derive(Debug)]
pub(super) struct Call {
    /// Its function's place.
    pub(super) function: usize,
    /// Of the caller, if it sleeps.
    pub(super) waker: Option<Waker>,
    /// Whether the caller has slept, so that the call took a while.
    pub(super) slept: bool,
    pub(super) clocks: Clocks,
    /// The newest of its events that the worker has rung for.
    pub(super) rung_for: u32,
    /// How many bytes of its log have been read.
    pub(super) log_read: usize,
    /// Whether it stands for several calls.
    pub(super) is_chunk: bool,
    /// Whether somebody who needs its worker or its permit has looked after its stop.
    pub(super) attended: bool,
    /// None while it waits for a host function.
    pub(super) permit: Option<Permit>,
    /// Where its caller was when it went to sleep or away: for what the guest writes after that.
    pub(super) span: CallerSpan,
    /// Until it is over.
    pub(super) running: Option<Running>,
}

/// What is left of a call that is over, and counted as running no more. Its drop has effects: it is for when the worker
/// is provably free, and its lock released.
#[derive(Debug)]
pub(super) struct Remains {
    _waker: Option<Waker>,
    _permit: Option<Permit>,
}

impl From<Call> for Remains {
    #[inline]
    fn from(call: Call) -> Self {
        Self {
            _waker: call.waker,
            _permit: call.permit,
        }
    }
}

/// What may happen to a call by time alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// The guest is told to stop thinking about the last call if this one has not been accepted by then.
    pub(super) hurry_at: Option<Instant>,
    /// It is taken back if it has not been accepted by then.
    pub(super) accept_by: Option<Instant>,
    /// Whoever waits for it is woken then, to see what has become of the calls that travel together.
    pub(super) break_up_at: Option<Instant>,
    /// It is stopped then.
    pub(super) deadline: Option<Instant>,
    /// Its worker, which was told to stop it, is killed then.
    pub(super) grace_until: Option<Instant>,
    pub(super) cpu: Option<CpuClock>,
}

impl Clocks {
    /// Whether the call has had its time, or may have had its CPU time.
    pub(super) fn is_out_of_time(&self, now: Instant) -> bool {
        let cpu = self.cpu.map(|cpu| cpu.look_at);
        [self.deadline, cpu]
            .into_iter()
            .flatten()
            .any(|at| at <= now)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let cpu = self.cpu.map(|cpu| cpu.look_at);
        let all = [
            self.hurry_at,
            self.accept_by,
            self.break_up_at,
            self.deadline,
            self.grace_until,
            cpu,
        ];
        all.into_iter().flatten().min()
    }
}

/// The CPU time that a call may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct CpuClock {
    /// What the process will have used then.
    until: Duration,
    pub(super) look_at: Instant,
}

impl CpuClock {
    /// Starts now. `None` when the process is gone, whose death will be noticed.
    pub(super) fn start(pid: u32, limit: Duration, now: Instant) -> Option<Self> {
        let used = cpu::process_cpu_time(pid)?;
        Some(Self {
            until: used.saturating_add(limit),
            look_at: clock::after(now, limit),
        })
    }

    /// When to look again; `None` when the time is used up.
    pub(super) fn look(self, pid: u32, now: Instant) -> Option<Self> {
        let used = cpu::process_cpu_time(pid)?;
        let left = self
            .until
            .checked_sub(used)
            .filter(|left| !left.is_zero())?;
        // One thread cannot use CPU time faster than time passes.
        Some(Self {
            look_at: clock::after(now, left),
            ..self
        })
    }
}
