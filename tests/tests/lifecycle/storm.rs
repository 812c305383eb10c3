//! Many calls, and somebody who kills, stops, drops and cancels at random.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use stockade::{Cause, Error, Host, Limiter, WorkerState};
use stockade_tests::census::children_of;
use stockade_tests::{BOUND, alone, census, eventually, eventually_async, guest, host_of};

use crate::hosts::outcome;
use crate::signals;

/// Numbers that are the same in every run.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// What `spin_for` returns: all numbers below `turns`, added without carry.
pub(crate) fn spun(turns: u64) -> u64 {
    match turns % 4 {
        0 => 0,
        1 => turns - 1,
        2 => 1,
        _ => turns,
    }
}

#[test]
fn what_the_guest_computes_is_known() {
    for turns in 0..100 {
        assert_eq!(spun(turns), probe::faults::spin_for(turns));
    }
}

const CALLS: u64 = 3_000;
const WORKERS: usize = 3;
const KILLS: u64 = 90;
const STOPS: u64 = 10;

#[derive(Default)]
struct Tally {
    resolved: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    /// Calls for which a worker was started that did not get that far, or that no worker accepted.
    never_ran: AtomicU64,
    /// The pids of workers that took a call with them.
    broke: Mutex<Vec<u32>>,
}

#[test]
fn every_call_resolves_once_with_its_own_answer_and_a_kill_costs_at_most_one() {
    alone(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
        let before = census();
        runtime.block_on(storm());
        eventually(BOUND, || census().counts() == before.counts());
    });
}

async fn storm() {
    let limiter = Limiter::new(WORKERS + 1);
    let builder = host_of(guest::probe())
        .limiter(limiter.clone())
        .workers(WORKERS);
    let host = builder.build().await.unwrap();
    let tally = Arc::new(Tally::default());
    let over = Arc::new(AtomicBool::new(false));
    let nemesis = std::thread::spawn({
        let (host, over, tally) = (host.clone(), Arc::clone(&over), Arc::clone(&tally));
        move || nemesis(&host, &over, &tally)
    });
    let clients: Vec<_> = (0..6)
        .map(|client| tokio::spawn(submit(host.clone(), client, Arc::clone(&tally))))
        .collect();
    let mut dropped = Vec::new();
    for client in clients {
        dropped.push(client.await);
    }
    over.store(true, Ordering::Relaxed);
    let (killed, stops) = nemesis.join().unwrap();
    let dropped: u64 = dropped.into_iter().map(Result::unwrap).sum();
    assert_eq!(tally.resolved.load(Ordering::Relaxed) + dropped, CALLS);
    let broke = tally.broke.lock().unwrap().clone();
    let victims: HashSet<u32> = broke.iter().copied().collect();
    assert_eq!(victims.len(), broke.len(), "a kill took two calls");
    assert!(
        victims.is_subset(&killed),
        "a worker died that nobody killed: {victims:?} {killed:?}"
    );
    let timed_out = tally.timed_out.load(Ordering::Relaxed);
    assert!(
        timed_out <= stops,
        "{timed_out} calls ended by {stops} stops"
    );
    assert!(
        killed.len() as u64 > KILLS / 2 && !broke.is_empty(),
        "no storm: {} kills",
        killed.len()
    );
    // Full strength: as many calls at once as there are workers.
    let mut together: Vec<_> = (0..WORKERS)
        .map(|_| host.call::<_, _, ()>("sleep_ms", (3_600_000u64,)).spawn())
        .collect();
    let states = || host.stats().workers.into_iter().map(|worker| worker.state);
    eventually_async(BOUND, || {
        states()
            .filter(|state| *state == WorkerState::Running)
            .count()
            == WORKERS
    })
    .await;
    // A call that a stopped worker has not accepted counts as running for a second at most.
    for call in &together {
        call.cancel();
    }
    for call in together.drain(..) {
        assert!(outcome(call).await.unwrap_err().is_cancelled());
    }
    eventually_async(BOUND, || {
        limiter.borrowed() == 0 && states().all(|state| state == WorkerState::Idle)
    })
    .await;
    assert_eq!(
        children_of(std::process::id()).len(),
        host.stats().workers.len()
    );
}

/// Kills and stops workers while calls go on, and says which and how many.
fn nemesis(host: &Host, over: &AtomicBool, tally: &Tally) -> (HashSet<u32>, u64) {
    let mut random = Random::new(0xbad);
    let mut killed = HashSet::new();
    let mut stops = 0;
    for deed in 0..KILLS + STOPS {
        // Spread over all calls, whatever their pace.
        let due = CALLS * deed / (KILLS + STOPS + 1);
        while tally.resolved.load(Ordering::Relaxed) < due && !over.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let until = std::time::Instant::now() + Duration::from_micros(random.below(500));
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        let workers = host.stats().workers;
        let Some(victim) = workers.get(random.below(workers.len().max(1) as u64) as usize) else {
            continue;
        };
        if deed % 10 == 9 {
            stops += 1;
            signals::send(victim.pid, Signal::STOP);
        } else {
            killed.insert(victim.pid);
            signals::send(victim.pid, Signal::KILL);
        }
    }
    (killed, stops)
}

/// Makes every sixth call, one after the other, and says how many it dropped.
async fn submit(host: Host, client: u64, tally: Arc<Tally>) -> u64 {
    let mut random = Random::new(client);
    let mut dropped = 0;
    for nonce in (client..CALLS).step_by(6) {
        let turns = random.below(600_000);
        let timeout = Duration::from_secs(3);
        let result = match random.below(8) {
            0 => {
                // Dropped at a random moment.
                let call = host
                    .call::<_, _, u64>("spin_for", (turns,))
                    .timeout(timeout);
                let patience = Duration::from_micros(random.below(1000));
                match tokio::time::timeout(patience, call.into_future()).await {
                    Ok(result) => result.map(|sum| assert_eq!(sum, spun(turns))),
                    Err(_) => {
                        dropped += 1;
                        continue;
                    }
                }
            }
            1 => {
                let call = host
                    .call::<_, _, u64>("spin_for", (turns,))
                    .timeout(timeout)
                    .spawn();
                tokio::time::sleep(Duration::from_micros(random.below(1000))).await;
                call.cancel();
                outcome(call).await.map(|sum| assert_eq!(sum, spun(turns)))
            }
            2..5 => {
                let call = host
                    .call::<_, _, u64>("spin_for", (turns,))
                    .timeout(timeout);
                outcome(call).await.map(|sum| assert_eq!(sum, spun(turns)))
            }
            5 => {
                let text = format!("{nonce} ").repeat(random.below(3_000) as usize);
                let call = host
                    .call::<_, _, String>("echo_string", (text.clone(),))
                    .timeout(timeout);
                outcome(call).await.map(|echoed| assert_eq!(echoed, text))
            }
            _ => {
                let call = host
                    .call::<_, _, u64>("echo_u64", (nonce,))
                    .timeout(timeout);
                outcome(call).await.map(|echoed| assert_eq!(echoed, nonce))
            }
        };
        tally.resolved.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(()) => {}
            Err(Error::Cancelled) => {
                tally.cancelled.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::Timeout { .. }) => {
                tally.timed_out.fetch_add(1, Ordering::Relaxed);
            }
            // Killed on its way up: that start was made for one call.
            Err(Error::Spawn { .. } | Error::Init { .. }) => {
                tally.never_ran.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::BrokenWorker(broken)) if *broken.cause() == Cause::Unresponsive => {
                tally.never_ran.fetch_add(1, Ordering::Relaxed);
            }
            Err(Error::BrokenWorker(broken)) => {
                assert_eq!(*broken.cause(), Cause::Died, "{broken}");
                tally.broke.lock().unwrap().push(broken.pid());
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    dropped
}
