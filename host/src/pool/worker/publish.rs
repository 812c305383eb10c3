//! Giving a call to a worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use stockade_wire::slot::Written;

use super::call::{Call, Clocks, CpuClock, Terms};
use super::{PAGES_WORTH_RELEASING, Record, Worker};
use crate::later::CallerSpan;
use crate::limiter::Permit;
use crate::pool::in_flight::{Contents, InFlight, Looks};
use crate::pool::{EndReason, Lease, Pool};
use crate::spin::{self, Running};

/// Calls that travel together are looked after when they take longer than this: some times as long as they may be expected
/// to.
pub(crate) const OVERDUE: Duration = Duration::from_millis(1);

/// Memory that a payload touched is given back after this time without a call.
const KEEP_PAGES: Duration = Duration::from_secs(1);

impl Worker {
    /// Gives a written request to the worker. The permit comes back, with the worker, when that is not possible,
    /// because it has died or is about to.
    pub(crate) fn publish(
        pool: &Pool,
        lease: Lease,
        permit: Permit,
        function: usize,
        written: Written,
        terms: Terms,
    ) -> Result<InFlight, (Permit, Arc<Self>)> {
        // From here on it goes back by its machine's orders; if it cannot be given the call, its death is on
        // the way to the pool.
        let worker = lease.into_worker();
        let mut record = worker.lock();
        let Some(id) = record.machine.publish() else {
            drop(record);
            return Err((permit, worker));
        };
        if record.listens != terms.listens {
            record.listens = terms.listens;
            worker.slot.listen(terms.listens);
        }
        let lucks = &pool.functions.entry(function).lucks;
        let alone = spin::is_alone();
        let shared = written.is_shared();
        let luck = match alone {
            _ if shared => &lucks.together,
            true => &lucks.alone,
            false => &lucks.beside,
        };
        let is_chunk = written.is_chunk();
        let expected = (shared || !is_chunk) && luck.try_it();
        let may_poll = (alone || expected) && spin::has_cpu();
        let linger = match shared {
            true => spin::linger_for_more(),
            false => spin::linger(may_poll),
        };
        let export = pool.functions.entry(function).info.export;
        let len = written.len();
        let slept = worker.slot.publish(id, export, linger, written);
        // All that can wait until now is done while the worker works.
        let published = Instant::now();
        let clocks = Clocks {
            hurry_at: worker.hurry_at(published),
            accept_by: Some(published + record.accept_within),
            break_up_at: shared.then(|| published + OVERDUE),
            deadline: terms.ends(published),
            grace_until: None,
            cpu: (terms.cpu_time).and_then(|limit| CpuClock::start(worker.pid(), limit, published)),
        };
        let term_due = record.term.used(published, &worker.life);
        record.bytes.to_guest += len as u64;
        let calls = record.calls + 1..=record.calls + terms.calls as u64;
        record.calls = *calls.end();
        record.empty_rings = 0;
        record.release_pages = None;
        let renews = std::mem::take(&mut record.renews);
        record.pages_touched |= len > PAGES_WORTH_RELEASING;
        record.call = Some(Call {
            function,
            waker: None,
            slept: false,
            clocks,
            is_chunk,
            rung_for: 0,
            log_read: 0,
            attended: false,
            running: Some(Running::begin()),
            permit: Some(permit),
            span: CallerSpan::default(),
        });
        drop(record);
        let due = clocks.next_due().map_or(term_due, |due| due.min(term_due));
        pool.supervisor.look_at(due);
        if worker.life.is_heir_due(&calls) {
            pool.replace(&worker, EndReason::Calls);
        }
        let is_first = *calls.start() == 1 && lucks.alone.is_unbroken();
        // Of one that slept the wake-up alone takes about as long as a poll may, and beside other calls a first call or a new
        // instance: that says nothing about the function.
        let polls = may_poll && !slept && !is_chunk;
        let looks = match alone {
            _ if shared && expected && may_poll && !slept => Looks::Together,
            _ if !polls => Looks::None,
            true if renews => Looks::Renewal,
            true if is_first => Looks::First,
            true if expected => Looks::Reply,
            false if !renews && *calls.start() > 1 => Looks::Beside,
            _ => Looks::None,
        };
        Ok(InFlight::new(
            worker,
            id,
            published,
            looks,
            Contents {
                is_chunk,
                is_shared: shared,
                calls: terms.calls,
            },
        ))
    }

    /// A request is about to be written. Its memory must not be given back meanwhile: until it is published
    /// the worker is idle as far as its machine knows, and encoding may take as long as it likes.
    pub(crate) fn request_begins(&self) {
        // Only the end of a call sets it, and a leased worker has none.
        if self.pages_due.load(Ordering::Relaxed) {
            self.lock().release_pages = None;
            self.pages_due.store(false, Ordering::Relaxed);
        }
    }

    /// A request of this length was written and never published.
    pub(crate) fn request_refused(&self, len: usize) {
        let mut record = self.lock();
        record.pages_touched |= len > PAGES_WORTH_RELEASING;
        self.release_pages_later(&mut record);
    }

    pub(super) fn release_pages_later(&self, record: &mut Record) {
        if record.pages_touched {
            let at = Instant::now() + KEEP_PAGES;
            record.release_pages = Some((at, 0));
            self.pages_due.store(true, Ordering::Relaxed);
            if let Some(pool) = self.pool.upgrade() {
                pool.supervisor.look_at(at);
            }
        }
    }
}
