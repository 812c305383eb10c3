//! Workers whose guest is asked, after each call, whether it wants another one in its place.
//!
//! The guest's code runs when its caller is gone already, so nobody waits for it but the next call. What
//! the worker says is a wish: granted at a pace that a host can bear, and believed in nothing else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Record, Worker};
use crate::pool::{EndReason, Pool};

/// A call that waits for this long makes the guest stop thinking.
const HURRY: Duration = Duration::from_millis(250);

/// A guest that has not answered by then, although no call waits, will not.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Between two workers of a pool that are replaced because their guest said so.
pub(in crate::pool) const PACE: Duration = Duration::from_millis(100);

/// What is to be looked at, and when.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// The guest's wish is to be granted then.
    grant_at: Option<Instant>,
    /// It must have answered by then.
    answer_by: Option<Instant>,
}

impl Asking {
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.grant_at.into_iter().chain(self.answer_by).min()
    }
}

/// What time has brought about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// It wants to be replaced.
    Replace,
    /// It does not come to an end.
    Stuck,
}

impl Worker {
    /// When a call that was published at `published` and is not accepted makes the guest hurry.
    pub(super) fn hurry_at(&self, published: Instant) -> Option<Instant> {
        self.life.asks.then(|| published + HURRY)
    }

    /// Its call is over, so the guest is being asked.
    pub(super) fn asks(&self, record: &mut Record, pool: &Pool) {
        if self.life.asks {
            let by = Instant::now() + ANSWER_WITHIN;
            record.asking.answer_by = Some(by);
            pool.supervisor.look_at(by);
        }
    }

    /// It has rung, maybe to say what the guest wants.
    pub(super) fn hear_wish(&self, record: &mut Record) {
        if self.life.asks
            && record.asking.grant_at.is_none()
            && self.slot.is_worn_out(record.machine.id())
        {
            let now = Instant::now();
            record.asking.grant_at = Some(now);
            if let Some(pool) = self.pool.upgrade() {
                pool.supervisor.look_at(now);
            }
        }
    }

    pub(super) fn look_at_asking(&self, record: &mut Record, now: Instant) -> Option<Asked> {
        let asking = &mut record.asking;
        if let Some(at) = &mut asking.grant_at
            && *at <= now
        {
            // Again, if it cannot be granted now.
            *at = now + PACE;
            return Some(Asked::Replace);
        }
        let machine = &record.machine;
        let late = asking.answer_by.take_if(|by| *by <= now).is_some();
        let stuck = late && machine.is_idle() && !self.slot.was_asked(machine.id());
        stuck.then_some(Asked::Stuck)
    }

    pub(super) fn was_asked(self: &Arc<Self>, asked: Asked) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        match asked {
            Asked::Replace => pool.replace(self, EndReason::Guest),
            Asked::Stuck => pool.condemn_idle(self),
        }
    }
}
