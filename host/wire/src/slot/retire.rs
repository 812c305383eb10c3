//! How a guest's wish that its worker be replaced crosses the slot, after the reply to a call.
//!
//! The host reads these words off every call's path, and all that a worker gains by lying in them is its
//! own replacement.

use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use super::layout::{reply, request};
use super::{HostSlot, WorkerSlot};

impl WorkerSlot {
    /// Says what the guest answered after call `id`. The host is rung only for a yes.
    pub fn asked(&self, id: u64, worn_out: bool) {
        if worn_out {
            self.reply.store_u64(reply::WORN_OUT, id);
        }
        self.reply.store_u64(reply::ASKED, id);
        if worn_out {
            fence(Ordering::SeqCst);
            // Fails only when the counter is full, and then the host has been rung 2^64 times.
            let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
        }
    }

    /// Whether the host wants something of a worker whose last call was `last`: another call, or its end.
    #[must_use]
    pub fn is_wanted(&self, last: u64) -> bool {
        self.request.load_u64(request::PUBLISHED) != last
            || self.request.load_u32(request::END) != 0
    }

    /// Sleeps for `duration`, or until [`Self::is_wanted`], which is what it returns.
    #[must_use]
    pub fn sleep_unless_wanted(&self, last: u64, duration: Duration) -> bool {
        // A number that no call has: what stops a call says nothing here.
        let until = Instant::now().checked_add(duration);
        let _ = self.sleep_until(u64::MAX, until, || self.is_wanted(last));
        self.is_wanted(last)
    }
}

impl HostSlot {
    /// Whether the worker says that the guest was asked after call `id`: it has no code of the guest's to
    /// run any more.
    #[must_use]
    pub fn was_asked(&self, id: u64) -> bool {
        self.reply.load_u64(reply::ASKED) == id
    }

    /// Whether the guest has said, after some call up to `newest`, that its worker is to be replaced.
    #[must_use]
    pub fn is_worn_out(&self, newest: u64) -> bool {
        (1..=newest).contains(&self.reply.load_u64(reply::WORN_OUT))
    }
}
