//! Who kills and stops workers at random moments, while calls go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use stockade::{WorkerState, WorkerStats};

use super::subject::Subject;
use crate::{Random, signals};

/// A stopped worker holds up to a place for as long as a call may take, and is then killed; more of them would
/// be a lull and no storm.
const STOPS_IN_100: u64 = 2;

/// Starts that fail in a row make a pool pause and turn calls away, as they should: so only one in so many
/// deeds meets a worker on its way up, and only where another one serves.
const START_EVERY: u64 = 10;

/// Deeds, spread over the calls of a storm whatever their pace.
#[derive(Debug)]
pub(super) struct Nemesis {
    pub(super) random: Random,
    pub(super) deeds: u64,
    pub(super) calls: u64,
    pub(super) victims: Vec<Arc<Subject>>,
    /// When a worker on its way up was met last, in so many deeds.
    pub(super) starts: u64,
}

impl Nemesis {
    pub(super) fn rage(mut self, over: &AtomicBool) {
        let mut asleep: Vec<(Instant, u32)> = Vec::new();
        let mut deed = 0;
        while deed < self.deeds {
            let due = self.calls * deed / (self.deeds + 1);
            while self.resolved() < due && !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_micros(50));
            }
            let until = Instant::now() + Duration::from_micros(self.random.below(500));
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            let now = Instant::now();
            asleep.retain(|(at, pid)| {
                let sleeps = *at > now;
                if !sleeps {
                    signals::send(*pid, Signal::CONT);
                }
                sleeps
            });
            let at = self.random.below(self.victims.len() as u64) as usize;
            let subject = Arc::clone(&self.victims[at]);
            let Some(worker) = self.choose(&subject, deed) else {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // Nobody is there, or ready; soon somebody is.
                std::thread::sleep(Duration::from_micros(200));
                continue;
            };
            deed += 1;
            match self.random.below(100) {
                // Not near the end: what is stopped is noticed only after a while.
                0..STOPS_IN_100
                    if worker.state != WorkerState::Starting && deed < self.deeds * 9 / 10 =>
                {
                    subject.stop(&worker);
                    if self.random.below(2) == 0 {
                        // About when its host loses patience.
                        let wakes = now + Duration::from_millis(self.random.below(1_500));
                        asleep.push((wakes, worker.pid));
                    }
                }
                0..10 => subject.hit(&worker, Signal::SEGV),
                10..20 => subject.hit(&worker, Signal::SYS),
                _ => subject.hit(&worker, Signal::KILL),
            }
        }
        for (_, pid) in asleep {
            signals::send(pid, Signal::CONT);
        }
    }

    fn resolved(&self) -> u64 {
        let of = |subject: &Arc<Subject>| subject.seen.resolved.load(Ordering::Relaxed);
        self.victims.iter().map(of).sum()
    }

    fn choose(&mut self, subject: &Subject, deed: u64) -> Option<WorkerStats> {
        let mut workers = subject.host.stats().workers;
        let starts = |worker: &WorkerStats| worker.state == WorkerState::Starting;
        let may_start =
            deed / START_EVERY > self.starts && workers.iter().any(|worker| !starts(worker));
        if !may_start {
            workers.retain(|worker| !starts(worker));
        }
        let count = workers.len() as u64;
        let worker = (count > 0).then(|| workers.swap_remove(self.random.below(count) as usize))?;
        if starts(&worker) {
            self.starts = deed / START_EVERY;
        }
        Some(worker)
    }
}
