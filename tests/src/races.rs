//! A call that is cancelled about when it ends: as its own answer or as cancelled, and nothing else happens.

use std::fmt;
use std::time::{Duration, Instant};

use stockade::{Error, Interrupt, Limiter, Retire, WorkerType};

use crate::storm::spun;
use crate::wait::RESOLVES;
use crate::{Random, guest, host_of};

/// Calls under way at the same time.
const AT_ONCE: usize = 2;

/// An interrupt grace that a loaded machine does not exceed.
const PATIENT: Duration = Duration::from_secs(10);

/// What came of races.
#[derive(Debug, Default)]
pub struct Races {
    /// Calls that were answered before they were cancelled.
    pub answered: u64,
    /// Calls that were cancelled before they were answered.
    pub cancelled: u64,
    /// What must not happen.
    pub broken: Vec<String>,
}

impl fmt::Display for Races {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.broken.is_empty() {
            "held"
        } else {
            "BROKEN"
        };
        write!(
            f,
            "{held:<7}a call is answered or cancelled, and its worker serves on: {} answered, {} cancelled",
            self.answered, self.cancelled
        )?;
        for case in &self.broken {
            write!(f, "\n       {case}")?;
        }
        Ok(())
    }
}

/// Runs so many races of a cancellation against the end of its call.
///
/// # Panics
/// When the host cannot be built.
#[must_use]
pub fn run(races: u64, seed: u64, interrupt: Interrupt, worker_type: Option<WorkerType>) -> Races {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut builder = host_of(guest::probe())
            .workers(AT_ONCE)
            .limiter(Limiter::new(AT_ONCE))
            .retire(Retire::never())
            .interrupt(interrupt)
            .interrupt_grace(PATIENT);
        if let Some(worker_type) = worker_type {
            builder = builder.worker_type(worker_type);
        }
        let host = builder.build().await.expect("the guest is sound");
        host.warm(AT_ONCE).await.expect("nobody kills them");
        let tasks: Vec<_> = (0..AT_ONCE as u64)
            .map(|who| {
                let host = host.clone();
                let share = races / AT_ONCE as u64 + u64::from(who == 0) * (races % AT_ONCE as u64);
                tokio::spawn(race(host, share, Random::of(seed, who)))
            })
            .collect();
        let mut all = Races::default();
        for task in tasks {
            let one = task.await.expect("racers do not panic");
            all.answered += one.answered;
            all.cancelled += one.cancelled;
            all.broken.extend(one.broken);
        }
        let started = host.stats().worker_counts.started;
        if interrupt != Interrupt::KillOnly && started != AT_ONCE as u64 {
            let counts = host.stats().worker_counts;
            all.broken
                .push(format!("{AT_ONCE} workers were enough: {counts:?}"));
        }
        all
    })
}

async fn race(host: stockade::Host, races: u64, mut random: Random) -> Races {
    let mut seen = Races::default();
    // How long to wait before cancelling, so that either side wins about as often.
    let mut patience = 200_000u64;
    for nonce in 0..races {
        // For longer than a caller looks for its answer within one poll, in which nothing can cancel it. The
        // remainder of four tells the answers of neighbours apart.
        let turns = 4 * (10_000 + random.below(30_000)) + nonce % 4;
        let call = host.call::<_, _, u64>("spin_for", (turns,)).spawn();
        let until = Instant::now() + Duration::from_nanos(random.below(2 * patience));
        while Instant::now() < until {
            tokio::task::yield_now().await;
        }
        call.cancel();
        match tokio::time::timeout(RESOLVES, call).await {
            Ok(Ok(answer)) if answer == spun(turns) => {
                seen.answered += 1;
                patience -= patience / 16;
            }
            Ok(Err(Error::Cancelled)) => {
                seen.cancelled += 1;
                patience = (patience + patience / 16 + 16).min(100_000_000);
            }
            Ok(Ok(other)) => seen.broken.push(format!("spin_for({turns}) = {other}")),
            Ok(Err(error)) => seen.broken.push(format!("race {nonce}: {error}")),
            Err(_) => seen.broken.push(format!("race {nonce} never resolved")),
        }
        if seen.broken.len() > 10 {
            break;
        }
    }
    seen
}
