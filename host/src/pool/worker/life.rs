//! How long a worker serves, and how it goes.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::{Record, Startup, Worker};
use crate::clock;
use crate::error::Exit;
use crate::pool::{EndReason, StartFor};
use crate::proc_file;
use crate::retire::Retire;
use crate::supervisor::Membership;

/// A worker that was asked to end and has not after this time is killed.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Between two looks at the memory of a worker that has calls.
const RSS_LOOKS: Duration = Duration::from_millis(100);

/// When a worker could not be replaced, it is tried again after this time.
const REPLACE_AGAIN: Duration = Duration::from_secs(1);

/// What a worker's life is measured by, and how far it has come; read without a lock.
#[derive(Debug)]
pub(super) struct Life {
    retire: Retire,
    idle_timeout: Duration,
    started_for: StartFor,
    /// Whether its guest is asked if it has served long enough.
    pub(super) asks: bool,
    /// Its successor is on its way.
    retiring: AtomicBool,
    /// It was told to end, or killed. Changed under the pool's lock.
    leaving: AtomicBool,
    /// Why it gets no more calls, as a number, when it has had its last.
    spent: AtomicU8,
}

const NOT_SPENT: u8 = 0;
const SPENT: [EndReason; 4] = [
    EndReason::Calls,
    EndReason::Age,
    EndReason::Rss,
    EndReason::Guest,
];

impl Life {
    pub(super) fn new(
        retire: Retire,
        idle_timeout: Duration,
        started_for: StartFor,
        asks: bool,
    ) -> Self {
        Self {
            retire,
            idle_timeout,
            started_for,
            asks,
            retiring: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            spent: AtomicU8::new(NOT_SPENT),
        }
    }

    /// Whether one of these calls is the one at which the successor is to be started.
    #[inline]
    pub(super) fn is_heir_due(&self, calls: &RangeInclusive<u64>) -> bool {
        calls.contains(&self.retire.heir_at())
    }
}

/// What may happen to a worker by time alone, whatever its calls do.
#[derive(Debug)]
pub(super) struct Term {
    /// When it was last known to have a call.
    pub(super) last_used: Instant,
    /// Its call is stopped then, because its host closes.
    pub(super) close_by: Option<Instant>,
    age_due: Option<Instant>,
    rss_due: Option<Instant>,
    /// It was asked to end, and is killed then.
    end_by: Option<Instant>,
    /// Why it was asked to end.
    dismissed: Option<EndReason>,
    killed: bool,
    /// Nobody needed it any more when it was on its way up.
    superfluous: bool,
}

impl Term {
    pub(super) fn new(now: Instant, retire: Retire) -> Self {
        Self {
            last_used: now,
            close_by: None,
            age_due: retire.age.map(|age| clock::after(now, age)),
            rss_due: None,
            end_by: None,
            dismissed: None,
            killed: false,
            superfluous: false,
        }
    }

    /// A call was published. Returns when to look at the worker, which is seldom before the call's own
    /// clocks want that.
    #[inline]
    pub(super) fn used(&mut self, now: Instant, life: &Life) -> Instant {
        self.last_used = now;
        let idle_due = clock::after(now, life.idle_timeout);
        if life.retire.rss.is_none() {
            return idle_due;
        }
        let rss_due = *self.rss_due.get_or_insert(now + RSS_LOOKS);
        rss_due.min(idle_due)
    }

    /// Why it is dead, or will be.
    pub(super) fn end_reason(&self, exit: Option<Exit>) -> EndReason {
        match self.dismissed {
            _ if self.superfluous => EndReason::Reloaded,
            _ if self.killed => EndReason::Killed,
            Some(reason) => reason,
            // It ended by itself, because its host was not heard of for too long.
            None if exit == Some(Exit::Code(0)) => EndReason::Idle,
            None => EndReason::Died,
        }
    }
}

/// Why a worker is at its end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outlived {
    Idle,
    Replace(EndReason),
}

impl Worker {
    /// How many more calls it may have.
    pub(crate) fn calls_left(&self) -> u64 {
        match self.life.retire.calls {
            None => u64::MAX,
            Some(calls) => calls.saturating_sub(self.lock().calls),
        }
    }

    pub(crate) fn started_for(&self) -> StartFor {
        self.life.started_for
    }

    /// From now on it is one of the pool's workers: its last call, as far as its idle time goes, is now.
    pub(crate) fn takes_place(&self) {
        let mut record = self.lock();
        self.idle_from(&mut record, Instant::now());
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.life.leaving.load(Ordering::SeqCst)
    }

    /// `false` when it leaves already.
    pub(crate) fn begin_leaving(&self) -> bool {
        !self.life.leaving.swap(true, Ordering::SeqCst)
    }

    /// `false` when its successor has been ordered already.
    pub(crate) fn begin_retiring(&self) -> bool {
        !self.life.retiring.swap(true, Ordering::SeqCst)
    }

    /// Its successor will not come.
    pub(crate) fn retires_not(&self) {
        self.life.retiring.store(false, Ordering::SeqCst);
    }

    /// It gets no more calls.
    pub(crate) fn spend(&self, reason: EndReason) {
        let place = SPENT.iter().position(|spent| *spent == reason);
        let number = place.map_or(NOT_SPENT, |place| place as u8 + 1);
        self.life.spent.store(number, Ordering::Relaxed);
    }

    /// Why it gets no more calls.
    #[inline]
    pub(crate) fn spent(&self) -> Option<EndReason> {
        let number = self.life.spent.load(Ordering::Relaxed);
        SPENT.get(usize::from(number).wrapping_sub(1)).copied()
    }

    #[inline]
    pub(super) fn spend_if_all_calls_are_used(&self, calls: u64) {
        if self.life.retire.calls.is_some_and(|most| calls >= most) {
            self.spend(EndReason::Calls);
        }
    }

    /// `false` when it could not be sent the signal.
    pub(super) fn kill(&self, record: &mut Record) -> bool {
        record.term.killed = true;
        self.process.kill()
    }

    /// Asks a worker to end that has no call; it will get none.
    pub(crate) fn dismiss(&self, supervisor: &Membership, reason: EndReason) {
        let mut record = self.lock();
        if record.machine.dismiss() {
            self.ask_to_end(&mut record, supervisor, reason);
        }
    }

    fn ask_to_end(&self, record: &mut Record, supervisor: &Membership, reason: EndReason) {
        let by = Instant::now() + END_WITHIN;
        record.term.dismissed = Some(reason);
        record.term.end_by = Some(by);
        self.slot.end();
        supervisor.look_at(by);
    }

    /// Its pool closes: it ends if it has no call, else when that is over, which is stopped at `until`.
    pub(crate) fn close(
        self: &Arc<Self>,
        supervisor: &Membership,
        until: Instant,
        reason: EndReason,
    ) {
        let mut record = self.lock();
        if record.startup != Startup::Ready {
            record.term.superfluous = reason == EndReason::Reloaded;
            drop(record);
            self.condemn();
        } else if record.machine.dismiss() {
            self.ask_to_end(&mut record, supervisor, reason);
        } else {
            record.term.close_by = Some(until);
            drop(record);
            supervisor.look_at(until);
        }
    }

    /// It has no call any more. Its end is looked for in time.
    pub(super) fn idle_from(&self, record: &mut Record, now: Instant) {
        record.term.last_used = now;
        if let Some(pool) = self.pool.upgrade() {
            let idle_due = clock::after(now, self.life.idle_timeout);
            let due = record
                .term
                .age_due
                .map_or(idle_due, |age| age.min(idle_due));
            pool.supervisor.look_at(due);
        }
    }

    /// What time alone has brought about.
    pub(super) fn look_at_term(&self, record: &mut Record, now: Instant) -> Option<Outlived> {
        if record.term.end_by.take_if(|by| *by <= now).is_some() {
            self.kill(record);
        }
        if record.call.is_none() {
            record.term.close_by = None;
        }
        if !record.machine.is_idle() && !record.machine.is_running(record.machine.id()) {
            return None;
        }
        let term = &mut record.term;
        let retire = &self.life.retire;
        if let Some(due) = &mut term.age_due
            && *due <= now
        {
            *due = now + REPLACE_AGAIN;
            return Some(Outlived::Replace(EndReason::Age));
        }
        if term.rss_due.take_if(|due| *due <= now).is_some()
            && let Some(most) = retire.rss
            && self.resident_bytes().is_some_and(|bytes| bytes > most)
        {
            return Some(Outlived::Replace(EndReason::Rss));
        }
        if record.machine.is_idle() && clock::after(term.last_used, self.life.idle_timeout) <= now {
            // If it stays, its time begins anew.
            term.last_used = now;
            return Some(Outlived::Idle);
        }
        None
    }

    /// When to look again.
    pub(super) fn term_due(&self, record: &Record) -> Option<Instant> {
        let term = &record.term;
        let ending = [term.end_by, term.close_by];
        let idle = record.machine.is_idle();
        let serves = idle || record.machine.is_running(record.machine.id());
        let serving = serves.then_some([term.age_due, term.rss_due]);
        let idle = idle.then(|| clock::after(term.last_used, self.life.idle_timeout));
        let dues = ending.into_iter().chain(serving.into_iter().flatten());
        dues.flatten().chain(idle).min()
    }

    pub(super) fn outlived(self: &Arc<Self>, over: Outlived) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        match over {
            Outlived::Idle => pool.idle_for_too_long(self),
            Outlived::Replace(reason) => pool.replace(self, reason),
        }
    }

    /// As the kernel says. Of another process, if this one has just died and its number been given away: a
    /// figure for people.
    pub(super) fn peak_resident_bytes(&self) -> Option<u64> {
        let status = proc_file::read(format!("/proc/{}/status", self.pid())).ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
    }

    /// Asked by the thread that reaps: the number is still this process's.
    fn resident_bytes(&self) -> Option<u64> {
        let statm = proc_file::read(format!("/proc/{}/statm", self.pid())).ok()?;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }
}
