//! A pool of workers of the hello guest that have served and are idle now: their memory, and whether they
//! sleep.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stockade::{Host, WorkerState, WorkerType};
use tokio::runtime::Runtime;

use crate::guests::{self, HELLO};
use crate::report::{Outcome, Row};

const WORKERS: usize = 8;

/// After the last call: idle memory is given back after a second.
const SETTLE: Duration = Duration::from_millis(2500);

const WATCH: Duration = Duration::from_secs(10);
const WATCH_QUICK: Duration = Duration::from_secs(3);

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let runtime = guests::current_thread()?;
    let alone = Memory::of(std::process::id())?;
    let host = guests::host(HELLO, WORKERS).build_blocking()?;
    let pids = fill(&runtime, &host)?;
    std::thread::sleep(SETTLE);

    let memory: Vec<Memory> = pids
        .iter()
        .map(|&pid| Memory::of(pid))
        .collect::<Result<_>>()?;
    let with_pool = Memory::of(std::process::id())?;
    let ours = std::process::id();
    let (watch, before) = (
        if quick { WATCH_QUICK } else { WATCH },
        switches(&pids, ours)?,
    );
    std::thread::sleep(watch);
    let after = switches(&pids, ours)?;
    let woken = |pid: u32| {
        let of = |threads: &Switches| -> u64 {
            threads
                .iter()
                .filter(|((owner, _), _)| *owner == pid)
                .map(|(_, n)| n)
                .sum()
        };
        of(&after).saturating_sub(of(&before)) as f64 / watch.as_secs_f64()
    };
    let in_workers: f64 = pids.iter().map(|&pid| woken(pid)).sum();
    let in_host = woken(ours);

    drop(host);
    let forked = forked(&runtime)?;

    let mib = |name: &str, of: fn(&Memory) -> u64| {
        let mut kib: Vec<u64> = memory.iter().map(of).collect();
        kib.sort_unstable();
        let mean = kib.iter().sum::<u64>() as f64 / kib.len() as f64;
        let (middle, most) = (kib[kib.len() / 2], kib[kib.len() - 1]);
        Row::figure(name, mean / 1024.0, "MiB").spread(middle as f64 / 1024.0, most as f64 / 1024.0)
    };
    let grown = with_pool.unshared.saturating_sub(alone.unshared) as f64 / 1024.0 / WORKERS as f64;
    let rows = vec![
        mib("pss_per_idle_worker", |memory| memory.pss),
        Row::figure("idle_wakeups_per_s", in_workers + in_host, "1/s"),
        forked_row(&forked),
        mib("private_per_idle_worker", |memory| memory.private),
        mib("rss_per_idle_worker", |memory| memory.rss),
        Row::figure("host_growth_per_worker", grown, "MiB"),
        Row::figure("idle_wakeups_per_s_workers", in_workers, "1/s"),
        Row::figure("idle_wakeups_per_s_host", in_host, "1/s"),
    ];
    let mut outcome = Outcome {
        rows,
        ..Outcome::default()
    };
    outcome.note(format!(
        "the mean over a pool of {WORKERS} idle workers that have served, from /proc/PID/smaps_rollup; in these rows p99 is the largest"
    ));
    outcome.note("pss_per_idle_forked_worker: the same pool with a fork server, whose own memory and that of the spare are not in it");
    outcome.note("private: Private_Clean and Private_Dirty; what workers share with each other and with this program is in pss in parts");
    outcome
        .note("host_growth_per_worker: by how much this process's anonymous memory, and its part of the slots, grew with the pool, for each worker");
    outcome.note(format!(
        "wake-ups: context switches of all threads of the pool and of this process in {} s, but for the one that measures",
        watch.as_secs()
    ));
    Ok(outcome)
}

/// The same pool, forked.
fn forked(runtime: &Runtime) -> Result<Vec<Memory>> {
    let host = guests::host(HELLO, WORKERS).worker_type(WorkerType::ForkServer);
    let host = host.build_blocking()?;
    let pids = fill(runtime, &host)?;
    std::thread::sleep(SETTLE);
    pids.iter().map(|&pid| Memory::of(pid)).collect()
}

fn forked_row(memory: &[Memory]) -> Row {
    let mib = |kib: u64| kib as f64 / 1024.0;
    let mut pss: Vec<u64> = memory.iter().map(|memory| memory.pss).collect();
    pss.sort_unstable();
    let mean = mib(pss.iter().sum::<u64>()) / pss.len() as f64;
    let (middle, most) = (pss[pss.len() / 2], pss[pss.len() - 1]);
    Row::figure("pss_per_idle_forked_worker", mean, "MiB").spread(mib(middle), mib(most))
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

fn switches(workers: &[u32], ours: u32) -> Result<Switches> {
    let this_thread = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs();
    let mut found = Switches::new();
    for &pid in workers.iter().chain([&ours]) {
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
