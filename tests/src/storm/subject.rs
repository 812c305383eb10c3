//! A host in the storm, and what its callers and its nemesis saw of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rustix::process::Signal;
use stockade::{CallCounts, Cause, Error, Host, WorkerCounts, WorkerStats};

use super::verdict::{Findings, Invariant};
use crate::signals;

/// Which errors a caller has asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct May {
    time_out: bool,
    be_cancelled: bool,
    be_refused: bool,
    /// Its worker lies.
    anything: bool,
}

impl May {
    pub(super) const NOTHING: Self = Self {
        time_out: false,
        be_cancelled: false,
        be_refused: false,
        anything: false,
    };
    pub(super) const TIME_OUT: Self = Self {
        time_out: true,
        ..Self::NOTHING
    };
    pub(super) const BE_CANCELLED: Self = Self {
        be_cancelled: true,
        ..Self::NOTHING
    };
    pub(super) const BE_REFUSED: Self = Self {
        be_refused: true,
        ..Self::NOTHING
    };
    pub(super) const ANYTHING: Self = Self {
        time_out: true,
        anything: true,
        ..Self::NOTHING
    };
}

/// How a call ended for its caller.
#[derive(Debug)]
pub(super) enum Ended {
    Answered,
    /// With an answer that is not its own.
    Wrong,
    Failed(Error),
    Dropped,
    /// It goes on without its caller.
    Detached,
    /// Not at all; with what was known of it then.
    Never(String),
}

/// What callers saw, in numbers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) made: AtomicU64,
    pub(super) resolved: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) detached: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) timed_out: AtomicU64,
    /// Without having asked for it: by a worker that was stopped.
    pub(super) stalled: AtomicU64,
    /// What those were doing then.
    stalls: Mutex<Vec<String>>,
    /// A worker was started for them and did not get that far, or none took them up.
    pub(super) never_ran: AtomicU64,
    pub(super) lied_to: AtomicU64,
    /// How many calls each worker took with it, by its number.
    broke: Mutex<HashMap<u64, u64>>,
}

/// What a guest does to the world: how often for each call.
#[derive(Debug)]
pub(super) struct Effects(Vec<AtomicU8>);

impl Effects {
    pub(super) fn new(calls: u64) -> Self {
        Self((0..calls).map(|_| AtomicU8::new(0)).collect())
    }

    pub(super) fn happens(&self, nonce: u64) {
        let count = usize::try_from(nonce).ok().and_then(|at| self.0.get(at));
        count.map(|count| count.fetch_add(1, Ordering::SeqCst));
    }

    pub(super) fn count(&self, nonce: u64) -> u8 {
        let count = usize::try_from(nonce).ok().and_then(|at| self.0.get(at));
        count.map_or(0, |count| count.load(Ordering::SeqCst))
    }

    pub(super) fn twice(&self) -> impl Iterator<Item = usize> {
        let twice = |count: &AtomicU8| count.load(Ordering::SeqCst) > 1;
        (0..self.0.len()).filter(move |at| twice(&self.0[*at]))
    }

    pub(super) fn total(&self) -> u64 {
        let count = |count: &AtomicU8| u64::from(count.load(Ordering::SeqCst));
        self.0.iter().map(count).sum()
    }
}

/// A host in the storm.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) host: Host,
    pub(super) workers: usize,
    pub(super) seen: Seen,
    pub(super) effects: Arc<Effects>,
    pub(super) findings: Arc<Findings>,
    /// How often each worker was sent a deadly signal, by its number.
    hits: Mutex<HashMap<u64, u64>>,
    pub(super) kills: AtomicU64,
    pub(super) stops: AtomicU64,
    pub(super) last_kill: Mutex<Option<Instant>>,
}

fn count(of: &AtomicU64) {
    of.fetch_add(1, Ordering::Relaxed);
}

fn get(of: &AtomicU64) -> u64 {
    of.load(Ordering::Relaxed)
}

impl Subject {
    pub(super) fn new(
        name: &'static str,
        host: Host,
        workers: usize,
        effects: &Arc<Effects>,
        findings: &Arc<Findings>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            host,
            workers,
            seen: Seen::default(),
            effects: Arc::clone(effects),
            findings: Arc::clone(findings),
            hits: Mutex::default(),
            kills: AtomicU64::new(0),
            stops: AtomicU64::new(0),
            last_kill: Mutex::default(),
        })
    }

    pub(super) fn made(&self, calls: u64) {
        self.seen.made.fetch_add(calls, Ordering::Relaxed);
    }

    /// Notes how a call ended, and says whether it was answered.
    pub(super) fn ended(&self, nonce: u64, ended: Ended, may: May) -> bool {
        let seen = &self.seen;
        count(&seen.resolved);
        let wrong = |how: String| {
            let how = format!("call {nonce} of the host {:?} {how}", self.name);
            self.findings.broken(Invariant::Resolves, how);
        };
        match ended {
            Ended::Answered => {
                count(&seen.answered);
                return true;
            }
            Ended::Wrong => wrong("has an answer that is not its own".to_owned()),
            Ended::Never(what) => wrong(format!("never resolved: {what}")),
            Ended::Dropped => count(&seen.dropped),
            Ended::Detached => count(&seen.detached),
            Ended::Failed(Error::Cancelled) if may.be_cancelled => count(&seen.cancelled),
            Ended::Failed(Error::Saturated { .. }) if may.be_refused => count(&seen.refused),
            Ended::Failed(Error::Timeout { .. }) if may.time_out => count(&seen.timed_out),
            Ended::Failed(error @ Error::Timeout { .. }) => {
                count(&seen.stalled);
                let mut stalls = seen.stalls.lock().unwrap_or_else(PoisonError::into_inner);
                stalls.push(format!("call {nonce}: {error}"));
            }
            Ended::Failed(Error::Spawn { .. } | Error::Init { .. }) => count(&seen.never_ran),
            Ended::Failed(Error::BrokenWorker(broken)) => match broken.cause() {
                Cause::Unresponsive => count(&seen.never_ran),
                _ if may.anything => count(&seen.lied_to),
                // A fault signal sent to a guest in the middle of a load is taken for that load's.
                Cause::Died | Cause::PolicyViolation { .. } | Cause::Trap(_) => {
                    let mut broke = self.broke();
                    *broke.entry(broken.worker_id()).or_default() += 1;
                }
                _ => wrong(format!("failed: {broken}")),
            },
            Ended::Failed(_) if may.anything => count(&seen.lied_to),
            Ended::Failed(error) => wrong(format!("failed: {error}")),
        }
        false
    }

    fn broke(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.seen
            .broke
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn effect_seen(&self, nonce: u64, answered: bool) {
        let times = self.effects.count(nonce);
        self.findings.expect(
            times == 1 || (times == 0 && !answered),
            Invariant::Effects,
            || format!("{times} times by call {nonce}, answered: {answered}"),
        );
    }

    pub(super) fn expect_all_results(&self, nonce: u64, found: u64, expected: u64) {
        self.findings
            .expect(found == expected, Invariant::Resolves, || {
                format!("the map of call {nonce} has {found} results for {expected} inputs")
            });
    }

    /// Sends a worker a signal of which it dies, sooner or later.
    pub(super) fn hit(&self, worker: &WorkerStats, signal: Signal) {
        *self.hits().entry(worker.id).or_default() += 1;
        count(&self.kills);
        *self
            .last_kill
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        signals::send(worker.pid, signal);
    }

    fn hits(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self, worker: &WorkerStats) {
        count(&self.stops);
        signals::send(worker.pid, Signal::STOP);
    }

    /// How many calls died with a worker.
    pub(super) fn lost(&self) -> u64 {
        self.broke().values().sum()
    }

    /// Compares who died with who was killed.
    pub(super) fn judge_kills(&self) {
        let (broke, hits) = (self.broke(), self.hits());
        for (worker, calls) in broke.iter() {
            let hit = hits.get(worker).copied().unwrap_or(0);
            self.findings.expect(*calls <= hit, Invariant::Kills, || {
                let name = self.name;
                format!("worker {worker} of {name:?} took {calls} calls and was hit {hit} times")
            });
        }
        let cost =
            broke.values().sum::<u64>() + get(&self.seen.never_ran) + get(&self.seen.stalled);
        let deeds = get(&self.kills) + get(&self.stops);
        self.findings.expect(cost <= deeds, Invariant::Kills, || {
            format!(
                "{deeds} kills and stops of {:?} cost {cost} calls",
                self.name
            )
        });
        let stalled = get(&self.seen.stalled);
        let stops = get(&self.stops);
        self.findings
            .expect(stalled <= stops, Invariant::Kills, || {
                let stalls = &self.seen.stalls;
                format!(
                    "{stops} stops of {:?} stalled {stalled} calls: {stalls:?}",
                    self.name
                )
            });
    }

    /// Compares what the host counted with what its callers saw; nothing runs or waits any more.
    pub(super) fn judge_calls(&self, calls: &CallCounts) {
        let seen = &self.seen;
        let expect = |holds: bool, what: String| {
            let told = || format!("{:?}: {what}: {calls:?}, {seen:?}", self.name);
            self.findings.expect(holds, Invariant::Counters, told);
        };
        let rest = [
            calls.finished,
            calls.failed.total(),
            calls.timed_out,
            calls.rejected,
            calls.cancelled,
        ];
        let sum: u64 = rest.iter().sum();
        expect(calls.submitted == sum, format!("{sum} ended"));
        expect(calls.running == 0 && calls.queued == 0, "at rest".into());
        let made = get(&seen.made);
        let let_go = get(&seen.cancelled) + get(&seen.dropped);
        let results = get(&seen.answered) + self.failed();
        // A call that its caller let go of before the first poll was none for the host.
        expect(
            calls.submitted <= made && calls.submitted + let_go + self.unfinished() >= made,
            format!("{made} were made, and {let_go} let go of"),
        );
        // The surplus of every kind is what became of calls that were detached.
        let detached = get(&seen.detached);
        let unseen = detached + self.unfinished();
        let host = calls.finished + calls.failed.total() + calls.timed_out;
        let callers = results + get(&seen.timed_out) + get(&seen.stalled);
        expect(
            callers <= host && host <= callers + unseen,
            format!("{callers} resolved, and {detached} were detached"),
        );
        let refused = get(&seen.refused);
        expect(calls.rejected == refused, format!("{refused} were refused"));
        let answered = get(&seen.answered);
        expect(
            answered <= calls.finished && calls.finished <= answered + unseen,
            format!("{answered} were answered"),
        );
    }

    fn failed(&self) -> u64 {
        self.lost() + get(&self.seen.never_ran) + get(&self.seen.lied_to)
    }

    /// Inputs of maps that were dropped before they had results.
    fn unfinished(&self) -> u64 {
        get(&self.seen.made).saturating_sub(get(&self.seen.resolved))
    }

    /// Compares the workers that began with those that ended; there are none any more.
    pub(super) fn judge_workers(&self, counts: &WorkerCounts) {
        let ended = counts.retired_idle
            + counts.retired_calls
            + counts.retired_age
            + counts.retired_rss
            + counts.closed
            + counts.killed
            + counts.died
            + counts.not_ready;
        self.findings
            .expect(counts.started == ended, Invariant::Counters, || {
                format!("{:?}: {ended} workers ended: {counts:?}", self.name)
            });
        let kills = get(&self.kills);
        let died = counts.died + counts.not_ready;
        self.findings
            .expect(self.workers == 0 || died <= kills, Invariant::Kills, || {
                format!("{:?}: {kills} workers were killed, {died} died", self.name)
            });
    }
}
