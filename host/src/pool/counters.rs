//! What a host counts, however many pools it has had.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::Tally;
use super::ends::Ends;

/// Shared by the pools of one host.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    pub(super) tally: Arc<Tally>,
    /// Calls that wait for a permit or a worker.
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) ends: Arc<Ends>,
    /// The number of the next worker.
    pub(super) next_worker: Arc<AtomicU64>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            tally: Arc::default(),
            waiting: Arc::default(),
            ends: Arc::default(),
            next_worker: Arc::new(AtomicU64::new(1)),
        }
    }
}
