//! Why workers end, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::stats::WorkerCounts;

/// Why a worker is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// It had no call for too long.
    Idle,
    /// It has served as many calls as it may.
    Calls,
    /// It is as old as it may be.
    Age,
    /// It has more memory resident than it may.
    Rss,
    /// Its guest said that it has served long enough.
    Guest,
    /// Its host has another module.
    Reloaded,
    /// Its host is closed.
    Closed,
    /// It did not do what it was told, or wrote what no honest worker writes.
    Killed,
    /// It died by itself, or somebody else killed it.
    Died,
    /// It never became ready.
    NotReady,
}

const REASONS: usize = EndReason::NotReady as usize + 1;

/// How often each happened.
#[derive(Debug, Default)]
pub(super) struct Ends {
    started: AtomicU64,
    ended: [AtomicU64; REASONS],
}

impl Ends {
    pub(super) fn count_start(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, reason: EndReason) {
        self.ended[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> WorkerCounts {
        let of = |reason: EndReason| self.ended[reason as usize].load(Ordering::Relaxed);
        WorkerCounts {
            started: self.started.load(Ordering::Relaxed),
            retired_idle: of(EndReason::Idle),
            retired_calls: of(EndReason::Calls),
            retired_age: of(EndReason::Age),
            retired_rss: of(EndReason::Rss),
            retired_guest: of(EndReason::Guest),
            retired_reload: of(EndReason::Reloaded),
            closed: of(EndReason::Closed),
            killed: of(EndReason::Killed),
            died: of(EndReason::Died),
            not_ready: of(EndReason::NotReady),
        }
    }
}
