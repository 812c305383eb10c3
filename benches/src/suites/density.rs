//! A pool of workers of the hello guest that have served and are idle now: their memory, and whether they
//! sleep.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stockade::{Host, WorkerState, WorkerType};
use tokio::runtime::Runtime;

use crate::guests::{self, HELLO};
use crate::processes;
use crate::report::{Outcome, Row};

const WORKERS: usize = 8;

/// After the last call: idle memory is given back after a second.
const SETTLE: Duration = Duration::from_millis(2500);

const WATCH: Duration = Duration::from_secs(10);
const WATCH_QUICK: Duration = Duration::from_secs(3);

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let runtime = guests::current_thread()?;
    let watch = if quick { WATCH_QUICK } else { WATCH };
    let forked = Pool::look(&runtime, WorkerType::ForkServer, watch)?;
    let spawned = Pool::look(&runtime, WorkerType::Spawn, watch)?;

    let pss: fn(&Memory) -> u64 = |memory| memory.pss;
    let served = forked.workers.iter().map(pss).sum::<u64>();
    let all = served + forked.others.iter().map(pss).sum::<u64>();
    let rows = vec![
        Row::figure("pss_per_idle_worker", per_worker(all), "MiB"),
        Row::figure("idle_wakeups_per_s", forked.woken.iter().sum(), "1/s"),
        mib("pss_per_idle_forked_worker", &forked.workers, pss),
        mib("pss_per_idle_spawned_worker", &spawned.workers, pss),
        mib(
            "private_per_idle_spawned_worker",
            &spawned.workers,
            |memory| memory.private,
        ),
        mib("rss_per_idle_spawned_worker", &spawned.workers, |memory| {
            memory.rss
        }),
        Row::figure("host_growth_per_worker", per_worker(forked.grown), "MiB"),
        Row::figure(
            "idle_wakeups_per_s_spawned",
            spawned.woken.iter().sum(),
            "1/s",
        ),
    ];
    let mut outcome = Outcome {
        rows,
        ..Outcome::default()
    };
    outcome.note(format!(
        "a pool of {WORKERS} idle workers that have served, with a fork server but in the rows of spawned ones; from /proc/PID/smaps_rollup"
    ));
    outcome.note("pss_per_idle_worker: of all workers, of their server and of what else it has forked, shared out over the workers; forked, spawned: of the workers alone, the mean, and the largest as p99");
    outcome.note("private: Private_Clean and Private_Dirty; what workers share with each other and with this program is in pss in parts");
    outcome
        .note("host_growth: by how much this process's anonymous memory, and its part of the slots, grew with the pool, for each worker");
    outcome.note(format!(
        "wake-ups: context switches of all threads of the pool, of its server and of this process in {} s, but for the one that measures",
        watch.as_secs()
    ));
    Ok(outcome)
}

/// What an idle pool takes.
struct Pool {
    workers: Vec<Memory>,
    /// Its server, and what that has forked besides.
    others: Vec<Memory>,
    /// Of this process, for all workers, in KiB.
    grown: u64,
    /// How often a second its processes and this one are woken.
    woken: [f64; 2],
}

impl Pool {
    fn look(runtime: &Runtime, worker_type: WorkerType, watch: Duration) -> Result<Self> {
        let ours = std::process::id();
        let alone = Memory::of(ours)?;
        let host = guests::host(HELLO, WORKERS).worker_type(worker_type);
        let host = host.build_blocking()?;
        let pids = fill(runtime, &host)?;
        std::thread::sleep(SETTLE);

        let others = match worker_type {
            WorkerType::Spawn => Vec::new(),
            _ => {
                ensure!(host.stats().spare == 1, "the pool has no spare");
                processes::family_of(pids[0])?
            }
        };
        let others: Vec<u32> = others
            .into_iter()
            .filter(|pid| !pids.contains(pid))
            .collect();
        let of = |pids: &[u32]| {
            pids.iter()
                .map(|&pid| Memory::of(pid))
                .collect::<Result<_>>()
        };
        let (workers, others_memory) = (of(&pids)?, of(&others)?);
        let grown = Memory::of(ours)?.unshared.saturating_sub(alone.unshared);

        let all: Vec<u32> = pids.iter().chain(&others).copied().collect();
        let before = switches(&all, ours)?;
        std::thread::sleep(watch);
        let after = switches(&all, ours)?;
        let woken = |whose: &dyn Fn(u32) -> bool| {
            let count = |threads: &Switches| -> u64 {
                let theirs = threads.iter().filter(|((owner, _), _)| whose(*owner));
                theirs.map(|(_, switches)| switches).sum()
            };
            count(&after).saturating_sub(count(&before)) as f64 / watch.as_secs_f64()
        };
        Ok(Self {
            workers,
            others: others_memory,
            grown,
            woken: [woken(&|pid| pid != ours), woken(&|pid| pid == ours)],
        })
    }
}

fn per_worker(kib: u64) -> f64 {
    kib as f64 / 1024.0 / WORKERS as f64
}

/// The mean over processes.
fn mib(name: &str, memory: &[Memory], of: fn(&Memory) -> u64) -> Row {
    let mut kib: Vec<u64> = memory.iter().map(of).collect();
    kib.sort_unstable();
    let mean = kib.iter().sum::<u64>() as f64 / kib.len() as f64;
    let (middle, most) = (kib[kib.len() / 2], kib[kib.len() - 1]);
    Row::figure(name, mean / 1024.0, "MiB").spread(middle as f64 / 1024.0, most as f64 / 1024.0)
}

/// Has every worker started and called; their process ids.
fn fill(runtime: &Runtime, host: &Host) -> Result<Vec<u32>> {
    let until = Instant::now() + Duration::from_secs(20);
    // Long enough that all of them run at once, and no call finds a worker that is free already.
    const N: u32 = 27;
    while Instant::now() < until {
        runtime.block_on(async {
            let calls: Vec<_> = (0..WORKERS)
                .map(|_| tokio::spawn(host.run_sync::<_, _, u64>("fib", (N,))))
                .collect();
            for call in calls {
                ensure!(call.await?? == 196_418, "another number");
            }
            Ok(())
        })?;
        let workers = host.stats().workers;
        if workers.len() == WORKERS && workers.iter().all(|w| w.state == WorkerState::Idle) {
            return Ok(workers.iter().map(|worker| worker.pid).collect());
        }
    }
    bail!("the pool did not fill: {:?}", host.stats())
}

/// In KiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    pss: u64,
    /// What of it is no file's.
    unshared: u64,
    private: u64,
    rss: u64,
}

impl Memory {
    fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| {
            format!("cannot read {path} (workers can be looked into by root only)")
        })?;
        let kib = |key: &str| {
            let line = text
                .lines()
                .find(|line| line.split(':').next() == Some(key));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number
                .and_then(|kib| kib.parse::<u64>().ok())
                .with_context(|| format!("{path} without {key}"))
        };
        Ok(Self {
            pss: kib("Pss")?,
            unshared: kib("Pss_Anon")? + kib("Pss_Shmem")?,
            private: kib("Private_Clean")? + kib("Private_Dirty")?,
            rss: kib("Rss")?,
        })
    }
}

/// How often each thread has been switched away from: an idle one only after it was woken.
type Switches = HashMap<(u32, u32), u64>;

fn switches(theirs: &[u32], ours: u32) -> Result<Switches> {
    let this_thread = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs();
    let mut found = Switches::new();
    for &pid in theirs.iter().chain([&ours]) {
        for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
            let entry = entry?;
            let name = entry.file_name();
            let tid = name.to_string_lossy().parse::<u32>()?;
            if tid == this_thread {
                continue;
            }
            let status = fs::read_to_string(entry.path().join("status"))?;
            let lines = status
                .lines()
                .filter(|line| line.contains("voluntary_ctxt_switches"));
            let numbers = lines.filter_map(|line| line.split_whitespace().nth(1));
            let count = numbers
                .filter_map(|number| number.parse::<u64>().ok())
                .sum();
            found.insert((pid, tid), count);
        }
    }
    Ok(found)
}
