//! What a caller may choose about a call, and most callers do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::following::Following;
use crate::progress::Whereabouts;
use crate::{Limiter, output};

/// Kept apart from the rest of a call, which is moved about often.
#[derive(Debug, Default)]
pub(super) struct Choices {
    pub(super) queue_timeout: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    pub(super) limiter: Option<Limiter>,
    /// What the guest wrote, where the caller wants it.
    pub(super) output: Option<Box<output::Written>>,
    /// For those who want it while the guest runs.
    pub(super) following: Option<Following>,
    /// Whether whoever polls takes what the guest emits.
    pub(super) listens: bool,
    /// For those who ask how far the guest has come.
    pub(super) whereabouts: Option<Arc<Whereabouts>>,
}

/// Those of one call; nothing while all are as most callers leave them.
#[derive(Debug, Default)]
pub(super) struct Chosen(Option<Box<Choices>>);

impl Chosen {
    pub(super) fn get(&self) -> Option<&Choices> {
        self.0.as_deref()
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut Choices> {
        self.0.as_deref_mut()
    }

    pub(super) fn change(&mut self) -> &mut Choices {
        self.0.get_or_insert_default()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.get()?.deadline
    }

    pub(super) fn limiter(&self) -> Option<&Limiter> {
        self.get()?.limiter.as_ref()
    }

    pub(super) fn listens(&self) -> bool {
        self.get().is_some_and(|choices| choices.listens)
    }

    pub(super) fn follows(&self) -> bool {
        self.get()
            .is_some_and(|choices| choices.following.is_some())
    }

    pub(super) fn following(&mut self) -> Option<&mut Following> {
        self.get_mut()?.following.as_mut()
    }

    pub(super) fn whereabouts(&self) -> Option<&Arc<Whereabouts>> {
        self.get()?.whereabouts.as_ref()
    }
}
