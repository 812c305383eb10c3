//! From nothing to the result of a first call.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use stockade::{Host, HostBuilder, WorkerType};
use tokio::runtime::Runtime;

use crate::baselines::fork::BareFork;
use crate::baselines::spawn_true;
use crate::guests::{self, HELLO, PROBE};
use crate::measure::{Block, Side, Size, busy_wait, interleave};
use crate::processes;
use crate::report::{Outcome, Row};

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let runtime = guests::current_thread()?;
    let cache = Cache(std::env::temp_dir().join(format!("stockade-bench-{}", std::process::id())));
    let cold = || guests::host(HELLO, 1).no_cache();
    let cached = || guests::host(HELLO, 1).cache_dir(&cache.0);
    let of = |guest, worker_type| {
        guests::host(guest, 1)
            .worker_type(worker_type)
            .build_blocking()
    };
    let spawned = of(HELLO, WorkerType::Spawn)?;
    let spawned_probe = of(PROBE, WorkerType::Spawn)?;
    let forked = of(HELLO, WorkerType::ForkServer)?;
    let forked_probe = of(PROBE, WorkerType::ForkServer)?;
    let mut fork = BareFork::start()?;

    let mut host_cold = Side::new(Size::new(0, 1), |block| hosts(&runtime, cold, block));
    let mut host_cached = Side::new(Size::new(1, 4), |block| hosts(&runtime, cached, block));
    let worker = |host, first: First, spare| {
        let runtime = &runtime;
        Side::new(Size::new(1, 5), move |block: &mut Block<'_>| {
            replaced_workers(runtime, host, first, spare, block)
        })
    };
    let mut worker_spawn = worker(&spawned, add, Spare::None);
    let mut worker_spawn_probe = worker(&spawned_probe, no_args, Spare::None);
    let mut worker_fork = worker(&forked, add, Spare::Killed);
    let mut worker_fork_probe = worker(&forked_probe, no_args, Spare::Killed);
    let mut worker_fork_spare = worker(&forked, add, Spare::Ready);
    let mut bare_fork = Side::new(Size::new(2, 10), |block| fork.block(block));
    let mut bin_true = Side::new(Size::new(1, 5), spawn_true::block);
    interleave(
        if quick { 12 } else { 50 },
        &mut [
            &mut host_cold,
            &mut bin_true,
            &mut host_cached,
            &mut worker_spawn,
            &mut worker_fork,
            &mut bare_fork,
            &mut worker_fork_spare,
            &mut worker_spawn_probe,
            &mut worker_fork_probe,
        ],
    )?;

    let (bin_true, bare_fork) = (bin_true.finish(), bare_fork.finish());
    let mut outcome = Outcome {
        rows: vec![
            Row::time("host_cold", &host_cold.finish()).against("spawn_true", &bin_true),
            Row::time("host_cached", &host_cached.finish()).against("spawn_true", &bin_true),
            Row::time("worker_spawn", &worker_spawn.finish()).against("spawn_true", &bin_true),
            Row::time("worker_fork", &worker_fork.finish()).against("bare_fork", &bare_fork),
            Row::time("worker_fork_spare", &worker_fork_spare.finish())
                .against("bare_fork", &bare_fork),
            Row::time("worker_spawn_probe", &worker_spawn_probe.finish())
                .against("spawn_true", &bin_true),
            Row::time("worker_fork_probe", &worker_fork_probe.finish())
                .against("bare_fork", &bare_fork),
        ],
        ..Outcome::default()
    };
    outcome.note(format!(
        "every row is of the hello guest ({} KiB), but for those that end in probe ({} KiB)",
        HELLO.len() / 1024,
        PROBE.len() / 1024
    ));
    outcome.note("host_cold, host_cached: building a host and a first call, without and with its artifact in the cache");
    outcome.note("worker_spawn: a call in a pool whose only worker has been killed, hence a new process and a first call");
    outcome.note("worker_fork, worker_fork_spare: the same with a fork server, without and with a spare worker that takes the place");
    outcome.note("workers run this very program; one of its own would be smaller. spawn_true: starting /bin/true, without an environment, and waiting for its end");
    Ok(outcome)
}

fn hosts(
    runtime: &Runtime,
    builder: impl Fn() -> HostBuilder,
    block: &mut Block<'_>,
) -> Result<()> {
    for _ in 0..block.calls() {
        let start = Instant::now();
        let host = builder().build_blocking()?;
        add(runtime, &host)?;
        block.push(start.elapsed());
        drop(host);
        // Its worker's end is no part of the next start.
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A first call.
type First = fn(&Runtime, &Host) -> Result<()>;

/// Of the hello guest.
pub(super) fn add(runtime: &Runtime, host: &Host) -> Result<()> {
    let sum: u64 = runtime.block_on(host.run_sync("add", (1u32, 2u32)))?;
    ensure!(sum == 3, "1 + 2 gave {sum}");
    Ok(())
}

/// Of the probe guest.
fn no_args(runtime: &Runtime, host: &Host) -> Result<()> {
    let answer: u32 = runtime.block_on(host.run_sync("no_args", ()))?;
    ensure!(answer == 42, "another answer: {answer}");
    Ok(())
}

/// First calls of workers whose predecessor has been killed, of a pool of one.
pub(super) fn replaced_workers(
    runtime: &Runtime,
    host: &Host,
    first: First,
    spare: Spare,
    block: &mut Block<'_>,
) -> Result<()> {
    for _ in 0..block.calls() {
        let spare_pid = match spare {
            Spare::None => None,
            Spare::Ready | Spare::Killed => Some(wait_for_spare(host)?),
        };
        kill_worker(host)?;
        if let (Spare::Killed, Some(pid)) = (spare, spare_pid) {
            kill_process(pid, Signal::KILL)?;
            wait_until("the spare is gone", || host.stats().spare == 0)?;
            busy_wait(Duration::from_millis(1));
        }
        let start = Instant::now();
        first(runtime, host)?;
        block.push(start.elapsed());
    }
    Ok(())
}

/// Whether a worker that is replaced has a spare.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spare {
    /// The pool has none at all.
    None,
    Ready,
    Killed,
}

/// Waits until a spare is ready behind the pool's only worker: its process id.
pub(super) fn wait_for_spare(host: &Host) -> Result<Pid> {
    let mut found = None;
    wait_until("there is a spare", || {
        let stats = host.stats();
        let worker = stats.workers.first().map(|worker| worker.pid);
        found = worker.and_then(sibling);
        stats.spare == 1 && found.is_some()
    })?;
    found.and_then(Pid::from_raw).context("it has an id")
}

/// Another worker of the same parent, which may have children that are none.
fn sibling(pid: u32) -> Option<i32> {
    let parent = processes::parent_of(pid)?;
    let is_worker = |pid: u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.starts_with("stockade-w"))
    };
    let mut children = processes::children_of(parent).ok()?.into_iter();
    let other = children.find(|&other| other != pid && is_worker(other))?;
    i32::try_from(other).ok()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        ensure!(Instant::now() < until, "not within ten seconds: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// Leaves the pool without a worker.
fn kill_worker(host: &Host) -> Result<()> {
    for worker in host.stats().workers {
        let pid = i32::try_from(worker.pid).ok().and_then(Pid::from_raw);
        kill_process(pid.context("it has an id")?, Signal::KILL)?;
    }
    wait_until("the worker is gone", || host.stats().workers.is_empty())?;
    busy_wait(Duration::from_millis(1));
    Ok(())
}

/// A directory that is gone afterwards.
struct Cache(PathBuf);

impl Drop for Cache {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
