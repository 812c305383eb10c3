//! How far a call's guest says that it has come.

use std::sync::{Mutex, PoisonError, Weak};

use crate::pool::Worker;

/// What a guest has said of its work with `progress(done, total)`: its word, in units of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// Of how much; 0 when the guest does not know.
    pub total: u64,
}

/// Where a call runs, for whoever asks how far it has come.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts(Mutex<At>);

#[derive(Debug, Default)]
struct At {
    worker: Weak<Worker>,
    call: u64,
    last: Option<Progress>,
}

impl Whereabouts {
    /// The call runs here now.
    pub(crate) fn set(&self, worker: Weak<Worker>, call: u64) {
        let last = None;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = At { worker, call, last };
    }

    /// What the guest said last, as far as somebody has asked while it ran.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let mut at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = at.worker.upgrade()
            && let Some([done, total]) = worker.progress(at.call)
            && [done, total] != [0, 0]
        {
            at.last = Some(Progress { done, total });
        }
        at.last
    }
}
