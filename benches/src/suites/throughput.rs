//! How many calls a second, alone, all at once, over many inputs, and while every CPU is taken.
//!
//! A sample is the mean time of a call over a batch of them; the report turns it into a rate.

mod callers;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stockade::{Host, Limiter, State};
use stockade_wire::sys::cpu::process_cpu_time;

use crate::baselines::in_process::InProcess;
use crate::cpus::{Pinned, TwoCpus};
use crate::guests::{self, HELLO, PROBE};
use crate::measure::{Block, Samples, Side, Size, interleave};
use crate::report::{Outcome, Row};

const ROUNDS: usize = 60;
const ROUNDS_QUICK: usize = 10;

/// Samples of a turn.
const SIZE: Size = Size::new(1, 4);

/// Calls of a sample: so many for each of those that are under way at once.
const BATCH: u64 = 32 * IN_FLIGHT as u64;

/// The same where callers are to meet: with fewer calls for each, one is done with all of them before the next begins.
const CROWD: u64 = 512 * IN_FLIGHT as u64;

/// Under way at once where many are.
const IN_FLIGHT: usize = 64;

/// Of a call that computes for a while.
const LONG: Duration = Duration::from_millis(10);

/// Of an item of the map.
const ITEM: Duration = Duration::from_micros(1);

/// So many inputs are many: the first rounds of a map, in which it learns how long its items take, are a small part.
const MANY: u64 = 32_768;

/// Calls of a sample that compute for a while.
const LONG_CALLS: u64 = 4;

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let rounds = if quick { ROUNDS_QUICK } else { ROUNDS };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcome = Outcome::default();
    small(rounds, cores, &mut outcome)?;
    callers::measure(quick, cores, &mut outcome)?;
    items(rounds, cores, &mut outcome)?;
    scaling(rounds / 4 + 2, &mut outcome)?;
    busy(cores, quick, &mut outcome)?;
    outcome.note("calls: add of the hello guest, State::Keep, State::Fresh in the rows that say so; ratio: the part of in_process's rate that is reached, times the CPUs for calls_cores and map_items");
    outcome.note(format!("calls_1: one task, one worker; calls_cores: {IN_FLIGHT} calls under way in a multi-thread runtime, a worker for each of {cores} CPUs"));
    outcome.note("callers_N: N tasks of a multi-thread runtime, each with one call after the other, and a worker for each CPU; ratio: to in_process's rate, times the callers or the CPUs, whichever are fewer");
    outcome.note(format!("map_items: host.map over {MANY} items of about 1 us of computing, taken in order; few: over {BATCH}, in a good part of which it learns how long an item takes"));
    outcome.note("scaling_2: two calls of 10 ms at once on two workers, next to two pinned threads that compute as long natively; ratio: native time to ours");
    outcome.note("busy_cores: one small call after the other while CPU-bound calls hold a worker on every CPU; busy_cores_host_cpu: the CPU time of this process for each of them");
    Ok(outcome)
}

fn host(guest: &[u8], workers: usize, state: State) -> Result<Host> {
    let host = guests::host(guest, workers).state(state).build_blocking()?;
    stockade::blocking::Host::from(host.clone()).warm(workers)?;
    Ok(host)
}

/// The rate of calls that take `samples` each, to `times` as many of `baseline`.
fn rate(name: impl Into<String>, samples: &Samples, baseline: &Samples, times: f64) -> Row {
    let rate = |ns: f64| 1e9 / ns;
    let base = rate(baseline.median()) * times;
    Row::figure(name, rate(samples.median()), "per s").against_figure("in_process", base)
}

fn small(rounds: usize, cores: usize, outcome: &mut Outcome) -> Result<()> {
    let single = guests::current_thread()?;
    let multi = guests::multi_thread()?;
    let [keep_1, fresh_1] = [State::Keep, State::Fresh].map(|state| host(HELLO, 1, state));
    let [keep, fresh] = [State::Keep, State::Fresh].map(|state| host(HELLO, cores, state));
    let (keep_1, fresh_1, keep, fresh) = (keep_1?, fresh_1?, keep?, fresh?);
    let mut guest = InProcess::new(HELLO)?;
    let mut in_process = Side::new(SIZE, |block| {
        batches(block, BATCH, || in_this_process(&mut guest, BATCH))
    });
    let one = |host: &Host| {
        let (runtime, host) = (&single, host.clone());
        move |block: &mut Block<'_>| batches(block, BATCH, || runtime.block_on(one_by_one(&host)))
    };
    let many = |host: &Host, calls| {
        let (runtime, host) = (&multi, host.clone());
        move |block: &mut Block<'_>| {
            batches(block, calls, || {
                runtime.block_on(all_at_once(&host, IN_FLIGHT, calls))
            })
        }
    };
    let mut calls_1 = Side::new(SIZE, one(&keep_1));
    let mut calls_1_fresh = Side::new(SIZE, one(&fresh_1));
    let mut calls_cores = Side::new(SIZE, many(&keep, CROWD));
    let mut calls_cores_fresh = Side::new(SIZE, many(&fresh, BATCH));
    interleave(
        rounds,
        &mut [
            &mut in_process,
            &mut calls_1,
            &mut calls_cores,
            &mut calls_1_fresh,
            &mut calls_cores_fresh,
        ],
    )?;
    let base = in_process.finish();
    let times = cores as f64;
    outcome.rows.extend([
        rate("calls_1", &calls_1.finish(), &base, 1.0),
        rate("calls_cores", &calls_cores.finish(), &base, times),
        rate("calls_1_fresh", &calls_1_fresh.finish(), &base, 1.0),
        rate(
            "calls_cores_fresh",
            &calls_cores_fresh.finish(),
            &base,
            times,
        ),
    ]);
    Ok(())
}

/// Each sample is the mean of the `calls` of a batch.
fn batches(block: &mut Block<'_>, calls: u64, mut batch: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..block.calls() {
        let start = Instant::now();
        batch()?;
        block.push_mean(start.elapsed(), calls);
    }
    Ok(())
}

fn in_this_process(guest: &mut InProcess, calls: u64) -> Result<()> {
    let add = guest.export("add")?;
    for _ in 0..calls {
        let sum: u64 = guest.call(add, &(1u32, 2u32))?;
        ensure!(sum == 3);
    }
    Ok(())
}

async fn one_by_one(host: &Host) -> Result<()> {
    for _ in 0..BATCH {
        let sum: u64 = host.run_sync("add", (1u32, 2u32)).await?;
        ensure!(sum == 3);
    }
    Ok(())
}

/// As many tasks as calls are to be under way, each with its part of `calls`.
async fn all_at_once(host: &Host, tasks: usize, calls: u64) -> Result<()> {
    let part = calls / tasks as u64;
    let tasks: Vec<_> = (0..tasks)
        .map(|_| {
            let host = host.clone();
            tokio::spawn(async move {
                for _ in 0..part {
                    let sum: u64 = host.run_sync("add", (1u32, 2u32)).await?;
                    ensure!(sum == 3);
                }
                Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// How many turns of the probe guest's loop take `time`.
fn turns(guest: &mut InProcess, time: Duration) -> Result<u64> {
    let spin = guest.export("spin_for")?;
    let mut turns = 64u64;
    loop {
        let start = Instant::now();
        let _: u64 = guest.call(spin, &(turns,))?;
        let took = start.elapsed();
        if took > Duration::from_millis(20) {
            let per_turn = took.as_secs_f64() / turns as f64;
            return Ok((time.as_secs_f64() / per_turn) as u64);
        }
        turns *= 2;
    }
}

fn items(rounds: usize, cores: usize, outcome: &mut Outcome) -> Result<()> {
    let runtime = guests::current_thread()?;
    let mut guest = InProcess::new(PROBE)?;
    let item = turns(&mut guest, ITEM)?;
    let spin = guest.export("spin_for")?;
    let (keep, fresh) = (
        host(PROBE, cores, State::Keep)?,
        host(PROBE, cores, State::Fresh)?,
    );
    let mut in_process = Side::new(SIZE, |block| {
        batches(block, BATCH, || {
            for _ in 0..BATCH {
                let _: u64 = guest.call(spin, &(item,))?;
            }
            Ok(())
        })
    });
    let mapped = |host: &Host, items| {
        let (runtime, host) = (&runtime, host.clone());
        move |block: &mut Block<'_>| {
            batches(block, items, || runtime.block_on(map(&host, item, items)))
        }
    };
    let one = Size::new(0, 1);
    let mut kept = Side::new(one, mapped(&keep, MANY));
    let mut renewed = Side::new(one, mapped(&fresh, MANY));
    let mut few = Side::new(SIZE, mapped(&keep, BATCH));
    interleave(
        rounds,
        &mut [&mut in_process, &mut kept, &mut renewed, &mut few],
    )?;
    let base = in_process.finish();
    let times = cores as f64;
    outcome.rows.extend([
        rate("map_items", &kept.finish(), &base, times),
        rate("map_items_fresh", &renewed.finish(), &base, times),
        rate("map_items_few", &few.finish(), &base, times),
    ]);
    Ok(())
}

async fn map(host: &Host, item: u64, items: u64) -> Result<()> {
    let mut results = host.map::<_, _, u64, _>("spin_for", (0..items).map(|_| (item,)));
    let mut count = 0;
    while let Some(result) = results.next().await {
        result?;
        count += 1;
    }
    ensure!(count == items);
    Ok(())
}

fn scaling(rounds: usize, outcome: &mut Outcome) -> Result<()> {
    let runtime = guests::multi_thread()?;
    let cpus = TwoCpus::pick()?;
    let mut guest = InProcess::new(PROBE)?;
    let long = turns(&mut guest, LONG)?;
    let host = host(PROBE, 2, State::Keep)?;
    let size = Size::new(1, 2);
    let ready = Barrier::new(2);
    let native = |cpu| -> Result<Duration> {
        let _pinned = Pinned::to(cpu)?;
        let mut guest = InProcess::new(PROBE)?;
        let spin = guest.export("spin_for")?;
        let _: u64 = guest.call(spin, &(1u64,))?;
        ready.wait();
        let start = Instant::now();
        for _ in 0..LONG_CALLS {
            let _: u64 = guest.call(spin, &(long,))?;
        }
        Ok(start.elapsed())
    };
    let mut pinned = Side::new(size, |block| {
        for _ in 0..block.calls() {
            let took = std::thread::scope(|scope| {
                let other = scope.spawn(|| native(cpus.theirs));
                let took = native(cpus.ours)?;
                anyhow::Ok(took.max(other.join().expect("no panic")?))
            })?;
            block.push_mean(took, LONG_CALLS);
        }
        Ok(())
    });
    let mut ours = Side::new(size, |block| {
        for _ in 0..block.calls() {
            let start = Instant::now();
            runtime.block_on(async {
                let tasks = [(); 2].map(|()| {
                    let host = host.clone();
                    tokio::spawn(async move {
                        for _ in 0..LONG_CALLS {
                            let _: u64 = host.run_sync("spin_for", (long,)).await?;
                        }
                        anyhow::Ok(())
                    })
                });
                for task in tasks {
                    task.await??;
                }
                anyhow::Ok(())
            })?;
            block.push_mean(start.elapsed(), LONG_CALLS);
        }
        Ok(())
    });
    interleave(rounds, &mut [&mut pinned, &mut ours])?;
    let (pinned, ours) = (pinned.finish(), ours.finish());
    let row = Row::figure("scaling_2", 1e9 / ours.median(), "per s");
    outcome
        .rows
        .push(row.against_figure("native_loops", 1e9 / pinned.median()));
    Ok(())
}

/// Small calls while every CPU has a call that computes.
fn busy(cores: usize, quick: bool, outcome: &mut Outcome) -> Result<()> {
    let runtime = guests::multi_thread()?;
    // One worker more than CPUs, and permits for all.
    let limiter = Limiter::new(cores + 1);
    let build = |guest| {
        guests::host(guest, cores + 1)
            .limiter(limiter.clone())
            .state(State::Keep)
    };
    let (small, long) = (
        build(HELLO).build_blocking()?,
        build(PROBE).build_blocking()?,
    );
    let calls = if quick { 200 } else { 2000 };
    let (times, burnt) = runtime.block_on(async {
        let spinning: Vec<_> = (0..cores)
            .map(|_| long.call::<_, _, ()>("spin", ()).spawn())
            .collect();
        while long.stats().calls.running < cores as u64 {
            tokio::task::yield_now().await;
        }
        let before = process_cpu_time(std::process::id());
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let start = Instant::now();
            let sum: u64 = small.run_sync("add", (1u32, 2u32)).await?;
            times.push(start.elapsed());
            ensure!(sum == 3);
        }
        let after = process_cpu_time(std::process::id());
        spinning.iter().for_each(|call| call.cancel());
        for call in spinning {
            ensure!(call.await.is_err());
        }
        Ok((
            times,
            after.zip(before).map(|(after, before)| after - before),
        ))
    })?;
    let samples = Samples::of(times);
    outcome.rows.push(Row::time("busy_cores", &samples));
    if let Some(burnt) = burnt {
        let each = burnt.as_secs_f64() * 1e6 / calls as f64;
        outcome
            .rows
            .push(Row::figure("busy_cores_host_cpu", each, "us"));
    }
    Ok(())
}
