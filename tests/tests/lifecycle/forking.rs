//! Workers from a fork server: the promises of workers, kept by processes that are not the host's children.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stockade::{
    Bytes, Cause, Error, Exit, Hardening, Host, HostBuilder, Interrupt, Limiter, Module, Retire,
    State, Wall, WallState, Wasi, WorkerState, WorkerType,
};
use stockade_tests::census::{children_of, is_alive};
use stockade_tests::orphans::{self, End};
use stockade_tests::storm::{self, Plan};
use stockade_tests::{
    BOUND, INTERRUPTS, Scratch, alone, census, eventually, eventually_async, guest, host_of,
};

use crate::by_hand::ByHand;
use crate::hosts::{broken, comes_to_rest, hostile, only_pid, outcome, probe, running};
use crate::signals;

fn forks() -> (HostBuilder, Limiter) {
    let (builder, limiter) = probe();
    (builder.worker_type(WorkerType::ForkServer), limiter)
}

async fn echoes(host: &Host) {
    let n: u64 = outcome(host.run_sync("echo_u64", (7u64,))).await.unwrap();
    assert_eq!(n, 7);
}

async fn has_spare(host: &Host) {
    eventually_async(BOUND, || host.stats().spare == 1).await;
}

/// What the kernel shows of a process on a line of this name.
fn status(pid: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

fn parent(pid: u32) -> u32 {
    status(pid, "PPid:").unwrap().parse().unwrap()
}

/// The fork server of a host that has a worker of it.
fn server(host: &Host) -> u32 {
    let server = parent(host.stats().workers[0].pid);
    assert_eq!(status(server, "Name:").unwrap(), "stockade-forks");
    assert_eq!(parent(server), std::process::id());
    server
}

/// The first process of the server's pid namespace, and what the server has forked besides.
#[track_caller]
fn forked_by(server: u32) -> (u32, Vec<u32>) {
    let is_first = |pid: &u32| status(*pid, "Name:").is_some_and(|name| name == "stockade-pid1");
    let (first, workers): (Vec<u32>, Vec<u32>) =
        children_of(server).into_iter().partition(is_first);
    assert_eq!(first.len(), 1, "{first:?}");
    (first[0], workers)
}

/// Sends a signal to a process that is alive, as it was a moment before.
fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn stopped(pid: u32) -> bool {
    signals::state(pid) == Some('T')
}

/// Every worker that was started is there or has ended, and so is every call.
#[track_caller]
fn adds_up(host: &Host) {
    let stats = host.stats();
    let ends = stats.worker_counts;
    let ended = ends.retired_idle
        + ends.retired_calls
        + ends.retired_age
        + ends.retired_rss
        + ends.retired_guest
        + ends.retired_reload
        + ends.closed
        + ends.killed
        + ends.died
        + ends.not_ready;
    assert_eq!(
        ends.started,
        ended + stats.workers.len() as u64,
        "{stats:?}"
    );
    let calls = stats.calls;
    let over = calls.finished
        + calls.failed.total()
        + calls.cancelled
        + calls.timed_out
        + calls.rejected
        + calls.running
        + calls.queued;
    assert_eq!(calls.submitted, over, "{calls:?}");
}

#[tokio::test]
async fn workers_are_children_of_one_process_that_loaded_the_module_once() {
    let (builder, limiter) = forks();
    let host = builder.workers(3).build().await.unwrap();
    outcome(host.warm(3)).await.unwrap();
    let server = server(&host);
    let workers: HashSet<u32> = host.stats().workers.iter().map(|w| w.pid).collect();
    assert_eq!(workers.len(), 3);
    has_spare(&host).await;
    let (_, children) = forked_by(server);
    assert_eq!(children.len(), 4, "three workers and a spare");
    assert!(workers.iter().all(|worker| children.contains(worker)));
    for n in 0..100u64 {
        assert_eq!(
            outcome(host.run_sync::<_, _, u64>("echo_u64", (n,)))
                .await
                .unwrap(),
            n
        );
    }
    comes_to_rest(&host, &limiter);
    adds_up(&host);
}

#[tokio::test]
async fn a_killed_worker_fails_only_its_own_call_and_the_spare_takes_its_place() {
    let (builder, limiter) = forks();
    let host = builder.workers(2).build().await.unwrap();
    for _ in 0..10 {
        outcome(host.warm(2)).await.unwrap();
        has_spare(&host).await;
        let known: HashSet<u32> = host.stats().workers.iter().map(|w| w.pid).collect();
        let server = server(&host);
        let (_, spare) = forked_by(server);
        let spare: Vec<_> = spare
            .into_iter()
            .filter(|pid| !known.contains(pid))
            .collect();
        assert_eq!(spare.len(), 1, "{spare:?}");
        let spins = host.call::<_, _, ()>("spin", ()).spawn();
        running(&host, 1).await;
        let mut workers = host.stats().workers.into_iter();
        let spinning = workers
            .find(|w| w.state == WorkerState::Running)
            .unwrap()
            .pid;
        let sleeps = host.call::<_, _, ()>("sleep_ms", (200u64,)).spawn();
        running(&host, 2).await;
        signals::until_spinning(spinning);
        signals::send(spinning, Signal::KILL);
        let broken = broken(outcome(spins).await);
        assert_eq!((broken.cause(), broken.pid()), (&Cause::Died, spinning));
        assert_eq!(broken.exit(), Some(Exit::Signal(9)));
        outcome(sleeps).await.unwrap();
        outcome(host.warm(2)).await.unwrap();
        assert!(host.stats().workers.iter().any(|w| w.pid == spare[0]));
        echoes(&host).await;
    }
    comes_to_rest(&host, &limiter);
    adds_up(&host);
}

#[tokio::test]
async fn the_end_of_a_worker_is_told_as_it_was() {
    let (builder, _) = forks();
    let host = builder.workers(1).build().await.unwrap();
    for _ in 0..20 {
        let pid = only_pid(&host);
        let spins = host.call::<_, _, ()>("spin", ()).spawn();
        running(&host, 1).await;
        signals::send(pid, Signal::ABORT);
        let broken = broken(outcome(spins).await);
        assert!(broken.process_died(), "{broken:?}");
        assert_eq!(broken.exit(), Some(Exit::Signal(6)));
        echoes(&host).await;
    }
}

/// Nobody tells how it ended before its call's time is up.
#[tokio::test]
async fn a_worker_that_dies_while_its_server_is_stopped_has_died_and_not_timed_out() {
    const TIMEOUT: Duration = Duration::from_millis(700);
    let (builder, limiter) = forks();
    let host = builder.workers(1).build().await.unwrap();
    has_spare(&host).await;
    let (pid, server) = (only_pid(&host), server(&host));
    signal(server, Signal::STOP);
    eventually_async(BOUND, || stopped(server)).await;
    loop {
        let begun = Instant::now();
        let call = host.call::<_, _, ()>("spin", ()).timeout(TIMEOUT).spawn();
        running(&host, 1).await;
        if begun.elapsed() < TIMEOUT / 2 {
            signal(pid, Signal::KILL);
        }
        match outcome(call).await {
            // A machine with much else to do: the worker was not killed in time, and serves on.
            Err(Error::Timeout { .. }) if is_alive(pid) => {}
            result => {
                let broken = broken(result);
                assert_eq!((broken.cause(), broken.pid()), (&Cause::Died, pid));
                break;
            }
        }
    }
    signal(server, Signal::CONT);
    echoes(&host).await;
    comes_to_rest(&host, &limiter);
    adds_up(&host);
}

#[tokio::test]
async fn a_killed_server_fails_no_call_that_runs_and_is_replaced() {
    let (builder, limiter) = forks();
    let host = builder.workers(2).build().await.unwrap();
    outcome(host.warm(2)).await.unwrap();
    has_spare(&host).await;
    let old = server(&host);
    let sleeps = host.call::<_, _, ()>("sleep_ms", (300u64,)).spawn();
    let spins = host.call::<_, _, ()>("spin", ()).spawn();
    running(&host, 2).await;
    signal(old, Signal::KILL);
    eventually_async(BOUND, || !is_alive(old)).await;
    outcome(sleeps).await.unwrap();
    spins.cancel();
    assert!(matches!(outcome(spins).await, Err(Error::Cancelled)));
    echoes(&host).await;
    // The spare is an orphan, too, and still of use; what comes after it needs another server.
    for round in 0..4 {
        let victim = host.stats().workers[0].pid;
        signal(victim, Signal::KILL);
        eventually_async(BOUND, || {
            host.stats().workers.iter().all(|w| w.pid != victim)
        })
        .await;
        outcome(host.warm(2)).await.unwrap();
        echoes(&host).await;
        if round == 3 {
            has_spare(&host).await;
        }
    }
    let new = server(&host);
    assert_ne!(new, old);
    comes_to_rest(&host, &limiter);
    adds_up(&host);
    let workers: Vec<u32> = host.stats().workers.iter().map(|w| w.pid).collect();
    drop(host);
    eventually_async(BOUND, || {
        !workers.iter().chain([&new]).any(|pid| is_alive(*pid))
    })
    .await;
}

/// The kernel kills a whole pid namespace with its first process.
#[tokio::test]
async fn the_end_of_a_whole_namespace_is_survived() {
    let (builder, limiter) = forks();
    let host = builder.workers(2).build().await.unwrap();
    for server_first in [false, true, false, true] {
        outcome(host.warm(2)).await.unwrap();
        has_spare(&host).await;
        let old = server(&host);
        let (first, mut all) = forked_by(old);
        all.extend([first, old]);
        let spins = host.call::<_, _, ()>("spin", ()).spawn();
        let sleeps = host.call::<_, _, ()>("sleep_ms", (60_000u64,)).spawn();
        running(&host, 2).await;
        if server_first {
            signal(old, Signal::KILL);
            eventually_async(BOUND, || !is_alive(old)).await;
        }
        signal(first, Signal::KILL);
        for call in [spins, sleeps] {
            let broken = broken(outcome(call).await);
            assert_eq!(*broken.cause(), Cause::Died);
            assert!(all.contains(&broken.pid()), "{broken:?}");
            // The kernel tells that to a parent.
            let expected = (!server_first).then_some(Exit::Signal(9));
            assert_eq!(broken.exit(), expected);
        }
        echoes(&host).await;
        eventually_async(BOUND, || !all.iter().any(|pid| is_alive(*pid))).await;
        outcome(host.warm(2)).await.unwrap();
        assert_ne!(server(&host), old);
    }
    comes_to_rest(&host, &limiter);
    adds_up(&host);
    let server = server(&host);
    let (first, mut all) = forked_by(server);
    all.extend([first, server]);
    drop(host);
    eventually_async(BOUND, || !all.iter().any(|pid| is_alive(*pid))).await;
}

#[tokio::test]
async fn a_namespace_without_a_server_ends_with_its_last_worker() {
    let (builder, limiter) = forks();
    let host = builder.workers(1).build().await.unwrap();
    has_spare(&host).await;
    let (worker, old) = (only_pid(&host), server(&host));
    let (first, all) = forked_by(old);
    signal(old, Signal::KILL);
    eventually_async(BOUND, || !is_alive(old)).await;
    signal(worker, Signal::KILL);
    // The spare.
    echoes(&host).await;
    let last = only_pid(&host);
    assert!(all.contains(&last) && last != worker && is_alive(first));
    // Its parent is gone, and somebody else has reaped it.
    let exists = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
    eventually_async(BOUND, || !exists(worker)).await;
    signal(last, Signal::KILL);
    eventually_async(BOUND, || !is_alive(first)).await;
    echoes(&host).await;
    comes_to_rest(&host, &limiter);
    adds_up(&host);
}

#[tokio::test]
async fn a_worker_that_dies_with_its_server_is_told_without_an_exit_status() {
    let (builder, limiter) = forks();
    let host = builder.workers(1).build().await.unwrap();
    for _ in 0..5 {
        echoes(&host).await;
        let pid = only_pid(&host);
        let parent = parent(pid);
        let spins = host.call::<_, _, ()>("spin", ()).spawn();
        running(&host, 1).await;
        // At once: which of the two is seen first is the machine's affair.
        if status(parent, "Name:").is_some_and(|name| name == "stockade-forks") {
            signal(parent, Signal::KILL);
        }
        signal(pid, Signal::KILL);
        let begun = Instant::now();
        let broken = broken(outcome(spins).await);
        assert!(begun.elapsed() < BOUND);
        assert_eq!(*broken.cause(), Cause::Died);
        assert!(matches!(broken.exit(), None | Some(Exit::Signal(9))));
    }
    echoes(&host).await;
    comes_to_rest(&host, &limiter);
    adds_up(&host);
}

#[tokio::test]
async fn a_stopped_server_is_bounded_and_a_stopped_spare_costs_no_call() {
    let (builder, limiter) = forks();
    let host = builder
        .workers(1)
        .spawn_timeout(Duration::from_secs(1))
        .build()
        .await
        .unwrap();
    has_spare(&host).await;
    let (worker, old) = (only_pid(&host), server(&host));
    let spare = forked_by(old).1.into_iter().find(|pid| *pid != worker);
    let spare = spare.unwrap();
    signal(spare, Signal::STOP);
    eventually_async(BOUND, || stopped(spare)).await;
    signal(worker, Signal::KILL);
    eventually_async(BOUND, || !is_alive(worker)).await;
    // The spare does not take the call up, which runs elsewhere.
    echoes(&host).await;
    has_spare(&host).await;
    signal(old, Signal::STOP);
    eventually_async(BOUND, || stopped(old)).await;
    // A call may meet it, and is told in time; the spare that is refilled may, too, and then no call does.
    let begun = Instant::now();
    for _ in 0..3 {
        if let Some(worker) = host.stats().workers.first().map(|worker| worker.pid) {
            signals::send(worker, Signal::KILL);
            let is_told = || host.stats().workers.iter().all(|w| w.pid != worker);
            eventually_async(BOUND, is_told).await;
        }
        match outcome(host.run_sync::<_, _, u64>("echo_u64", (7u64,))).await {
            Ok(n) => assert_eq!(n, 7),
            Err(Error::Spawn { reason }) => {
                let says = "did not answer within 1s (`spawn_timeout`)";
                assert!(reason.contains(says), "{reason}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(begun.elapsed() < 6 * BOUND);
    eventually_async(BOUND, || !is_alive(old)).await;
    echoes(&host).await;
    comes_to_rest(&host, &limiter);
    adds_up(&host);
}

#[tokio::test]
async fn a_server_that_lies_or_dies_is_an_error_and_no_wait() {
    let cases = [
        ("never", "did not answer within 2s (`spawn_timeout`)"),
        (
            "take-and-stall",
            "did not answer within 2s (`spawn_timeout`)",
        ),
        (
            "exit",
            "it ended (exit code 7); it said: I would rather not, 3 times",
        ),
        (
            "exit-asked",
            "it ended (exit code 7); it said: I would rather not, 3 times",
        ),
        ("refuse", "not today\\u{1b}[31m; not ever"),
        (
            "not",
            "no worker could be forked: not today\\u{1b}[31m; not ever",
        ),
        (
            "garbage",
            "is not believed: it is not a stockade worker program",
        ),
        (
            "long",
            "is not believed: it sent a message that is too long",
        ),
        ("ready-twice", "is not believed: it spoke out of turn"),
        ("forked-first", "is not believed: it spoke out of turn"),
        ("another", "is not believed: it spoke out of turn"),
        ("nothing", "is not believed: it handed over no process"),
        ("file", "is not believed: it handed over what is no process"),
        (
            "itself",
            "is not believed: it handed over a process that is none of its children",
        ),
        (
            "host",
            "is not believed: it handed over a process that is none of its children",
        ),
        (
            "end-of-none",
            "is not believed: it told the end of a worker that it had not forked",
        ),
    ];
    for (lie, says) in cases {
        let error = hostile(&format!("forks:{lie}"))
            .worker_type(WorkerType::ForkServer)
            .spawn_timeout(Duration::from_secs(2))
            .build()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Spawn { .. }), "{lie}: {error:?}");
        assert!(error.to_string().contains(says), "{lie}: {error}");
    }
}

#[test]
fn close_and_drop_leave_no_process_thread_or_descriptor() {
    alone(|| {
        let before = census();
        for round in 0..6 {
            let (builder, _) = forks();
            let host = builder.workers(2).build_blocking().unwrap();
            let echo = |n: u64| {
                ByHand::new(host.run_sync::<_, _, u64>("echo_u64", (n,)))
                    .finish()
                    .unwrap()
            };
            assert_eq!(echo(round), round);
            let server = server(&host);
            if round % 3 > 0 {
                eventually(BOUND, || host.stats().spare == 1);
            }
            let forked = children_of(server);
            let mut spinning = ByHand::new(host.run_sync::<_, _, ()>("spin", ()));
            let _ = spinning.poll();
            // It would keep the host.
            drop(spinning);
            if round % 2 == 0 {
                let had_spare = host.stats().spare;
                let report = ByHand::new(host.close()).finish();
                assert!(report.spare >= had_spare, "{report:?}");
                assert_eq!(
                    report.clean + report.killed,
                    report.exits.len(),
                    "{report:?}"
                );
                assert!(
                    report.exits.iter().all(|exit| exit.exit.is_some()),
                    "{report:?}"
                );
                // The server went last, and waited for all that it had forked.
                assert!(!is_alive(server));
                assert!(
                    !forked
                        .iter()
                        .any(|pid| Path::new(&format!("/proc/{pid}")).exists())
                );
                adds_up(&host);
            }
            drop(host);
            eventually(BOUND, || census().counts() == before.counts());
            eventually(BOUND, || !forked.iter().any(|pid| is_alive(*pid)));
        }
        assert_eq!(census().fds, before.fds);
    });
}

#[test]
fn close_is_bounded_though_the_server_is_stopped() {
    alone(|| {
        let before = census();
        let (builder, _) = forks();
        let host = builder.workers(2).build_blocking().unwrap();
        eventually(BOUND, || host.stats().spare == 1);
        let server = server(&host);
        let forked = children_of(server);
        signal(server, Signal::STOP);
        eventually(BOUND, || stopped(server));
        let report = ByHand::new(host.close()).finish();
        assert_eq!(report.exits.len(), 1, "{report:?}");
        assert_eq!(report.exits[0].exit, None, "nobody could tell it");
        assert!(report.elapsed < 2 * BOUND);
        drop(host);
        eventually(BOUND, || census().counts() == before.counts());
        eventually(BOUND, || !forked.iter().any(|pid| is_alive(*pid)));
    });
}

const VICTIM: &str = "STOCKADE_TEST_FORKING_VICTIM";

#[track_caller]
fn nothing_is_left(test: &str, ends: &[End]) {
    if let Some(end) = std::env::var_os(VICTIM) {
        let end = end.to_str().and_then(End::of_name);
        return orphans::victim(end.expect("an end's name"), Some(WorkerType::ForkServer));
    }
    let seen = orphans::run(ends, 1, |end| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(VICTIM, end.name());
        command
    });
    println!("{seen}");
    assert!(seen.broken.is_empty(), "{seen}");
    assert!(seen.processes > 0, "there was something to leave: {seen}");
}

#[test]
fn a_host_process_that_is_killed_leaves_neither_server_nor_spare_nor_worker() {
    nothing_is_left(
        "forking::a_host_process_that_is_killed_leaves_neither_server_nor_spare_nor_worker",
        &[End::Killed; 16],
    );
}

#[test]
fn a_host_process_that_ends_in_disorder_leaves_nothing_that_was_forked() {
    nothing_is_left(
        "forking::a_host_process_that_ends_in_disorder_leaves_nothing_that_was_forked",
        &End::ALL[1..],
    );
}

/// The server dies, then its host: whatever its workers hang by, it is not the server.
#[test]
fn workers_that_outlive_their_server_do_not_outlive_their_host() {
    const TEST: &str = "forking::workers_that_outlive_their_server_do_not_outlive_their_host";
    if std::env::var_os(VICTIM).is_some() {
        let (builder, _) = forks();
        let host = builder.workers(1).build_blocking().unwrap();
        let server = server(&host);
        let mut spins = ByHand::new(host.run_sync::<_, _, ()>("spin", ()));
        let _ = spins.poll();
        signals::until_spinning(only_pid(&host));
        signal(server, Signal::KILL);
        eventually(BOUND, || !is_alive(server));
        println!("\nworker {}", only_pid(&host));
        // Until it is killed; not for ever, should its parent fail.
        std::thread::park_timeout(Duration::from_secs(60));
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let worker = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("worker ").map(str::to_owned));
    let worker: u32 = worker.unwrap().parse().unwrap();
    assert!(is_alive(worker));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(BOUND, || !is_alive(worker));
}

#[tokio::test]
async fn one_call_leaves_nothing_to_the_next() {
    let (builder, _) = forks();
    let host = builder.workers(1).build().await.unwrap();
    for bytes in [1u64, 4096, 1 << 20, 4 << 20] {
        outcome(host.run_sync::<_, _, u64>("dirty", (bytes,)))
            .await
            .unwrap();
        assert!(
            !outcome(host.run_sync::<_, _, bool>("read_dirty", ()))
                .await
                .unwrap()
        );
    }
    // In the worker that came from the spare, too.
    has_spare(&host).await;
    let old = only_pid(&host);
    signals::send(old, Signal::KILL);
    eventually_async(BOUND, || host.stats().workers.iter().all(|w| w.pid != old)).await;
    for bytes in [1u64, 4 << 20] {
        outcome(host.run_sync::<_, _, u64>("dirty", (bytes,)))
            .await
            .unwrap();
        assert!(
            !outcome(host.run_sync::<_, _, bool>("read_dirty", ()))
                .await
                .unwrap()
        );
    }
    let count = || outcome(host.run_sync::<_, _, u64>("count", ()));
    assert_eq!((count().await.unwrap(), count().await.unwrap()), (1, 1));
}

#[tokio::test]
async fn state_that_is_kept_is_one_workers_own() {
    let (builder, _) = forks();
    let host = builder.workers(1).state(State::Keep).build().await.unwrap();
    let count = || outcome(host.run_sync::<_, _, u64>("count", ()));
    for n in 1..=5 {
        assert_eq!(count().await.unwrap(), n);
    }
    has_spare(&host).await;
    let old = only_pid(&host);
    signals::send(old, Signal::KILL);
    eventually_async(BOUND, || host.stats().workers.iter().all(|w| w.pid != old)).await;
    assert_eq!(count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_call_is_stopped_by_an_epoch_by_a_signal_and_by_a_kill() {
    for interrupt in INTERRUPTS {
        let (builder, limiter) = forks();
        let host = builder
            .workers(1)
            .interrupt(interrupt)
            .build()
            .await
            .unwrap();
        for _ in 0..10 {
            echoes(&host).await;
            let pid = only_pid(&host);
            let call = host.call::<_, _, ()>("spin", ());
            let error = outcome(call.timeout(Duration::from_millis(20)))
                .await
                .unwrap_err();
            assert!(error.is_timeout(), "{error}");
            echoes(&host).await;
            assert_eq!(only_pid(&host) == pid, interrupt != Interrupt::KillOnly);
        }
        comes_to_rest(&host, &limiter);
        adds_up(&host);
    }
}

#[tokio::test]
async fn maps_streams_output_and_host_functions_are_as_with_spawned_workers() {
    let (builder, limiter) = forks();
    let host = builder
        .workers(2)
        .function("double", |n: u64| async move { 2 * n })
        .build()
        .await
        .unwrap();
    let mut results = host.map::<_, _, u64, _>("echo_u64", (0..5_000u64).map(|n| (n,)));
    for n in 0..5_000 {
        assert_eq!(results.next().await.unwrap().unwrap(), n);
    }
    let mut numbers = host.stream::<_, _, u32>("emit_numbers", (100u32,));
    let mut seen = 0;
    while let Some(number) = numbers.next().await {
        number.unwrap();
        seen += 1;
    }
    assert_eq!(seen, 100);
    let sum: u64 = outcome(host.run_sync("sum_of_doubles", (vec![1u64, 2, 3],)))
        .await
        .unwrap();
    assert_eq!(sum, 12);
    let large = Bytes::from(vec![7u8; 1 << 20]);
    let back: Bytes = outcome(host.run_sync("echo", (large.clone(),)))
        .await
        .unwrap();
    assert_eq!(back, large);
    let panic = outcome(host.run_sync::<_, _, ()>("panic_with", ("no luck",))).await;
    assert!(matches!(broken(panic).cause(), Cause::Panic { message, .. } if message == "no luck"));
    comes_to_rest(&host, &limiter);
    adds_up(&host);
}

#[tokio::test]
async fn what_was_prepared_once_is_there_and_a_guest_that_has_enough_is_replaced() {
    let host = host_of(guest::prepared())
        .worker_type(WorkerType::ForkServer)
        .workers(1)
        .state(State::Keep)
        .retire(Retire::never().after_calls(50))
        .build()
        .await
        .unwrap();
    assert_eq!(
        outcome(host.run_sync(prepared::init_runs, ()))
            .await
            .unwrap(),
        1
    );
    let mut pids = HashSet::new();
    for _ in 0..200 {
        outcome(host.run_sync(prepared::count, ())).await.unwrap();
        pids.extend(host.stats().workers.iter().map(|w| w.pid));
    }
    assert!(pids.len() >= 4, "{pids:?}");
    adds_up(&host);
    let host = host_of(guest::prepared())
        .worker_type(WorkerType::ForkServer)
        .workers(1)
        .state(State::Keep)
        .retire(Retire::never())
        .build()
        .await
        .unwrap();
    const YES: u32 = 1;
    for replaced in 1..4 {
        let old = only_pid(&host);
        outcome(host.run_sync(prepared::feel, (YES,)))
            .await
            .unwrap();
        eventually_async(BOUND, || {
            let workers = host.stats().workers;
            workers.len() == 1 && workers[0].pid != old
        })
        .await;
        let ends = host.stats().worker_counts;
        assert_eq!(ends.retired_guest + ends.killed, replaced);
    }
    adds_up(&host);
}

#[tokio::test]
async fn another_module_has_a_server_of_its_own_and_the_old_one_goes() {
    let version = |n: u32| {
        Module::from_wat(&format!(
            r#"(module (func (export "version") (result i32) (i32.const {n})))"#
        ))
    };
    let host = host_of(version(1))
        .worker_type(WorkerType::ForkServer)
        .workers(2)
        .build()
        .await
        .unwrap();
    for n in 2..6 {
        has_spare(&host).await;
        let old = server(&host);
        let forked = children_of(old);
        outcome(host.reload(version(n))).await.unwrap();
        assert_eq!(
            outcome(host.run_sync::<_, _, i32>("version", ()))
                .await
                .unwrap(),
            n as i32
        );
        eventually_async(BOUND, || {
            !forked.iter().chain([&old]).any(|pid| is_alive(*pid))
        })
        .await;
        adds_up(&host);
    }
}

#[tokio::test]
async fn workers_that_have_no_call_for_long_end_with_the_spare_and_come_again() {
    let (builder, _) = forks();
    let host = builder
        .workers(2)
        .idle_timeout(Duration::from_millis(100))
        .build()
        .await
        .unwrap();
    for _ in 0..3 {
        echoes(&host).await;
        eventually_async(BOUND, || {
            let stats = host.stats();
            stats.workers.is_empty() && stats.spare == 0
        })
        .await;
        adds_up(&host);
    }
}

/// The kernel's limit of processes for the user of one.
fn processes_max(pid: u32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max processes"));
    line.unwrap().split_whitespace().nth(2).unwrap().to_owned()
}

/// What that means for one that forks without end is in the matrix of walls.
#[tokio::test]
async fn a_server_with_a_user_of_its_own_can_have_few_more_processes_than_its_host_needs() {
    for workers in [1, 4] {
        let (builder, _) = forks();
        let host = builder.workers(workers).build().await.unwrap();
        let limit = match stockade_tests::alone::is_root() {
            // Each worker twice, as one may not be quite gone when the next one comes; a spare; and some.
            true => (2 * (workers + 1) + 16).to_string(),
            // They are counted together with all others of the user.
            false => processes_max(std::process::id()),
        };
        assert_eq!(processes_max(server(&host)), limit);
        assert_eq!(processes_max(host.stats().workers[0].pid), "0");
    }
}

#[test]
fn a_server_without_a_user_of_its_own_leaves_that_users_limit_alone() {
    alone::alone_as_nobody(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            // The cache that tests share is another user's.
            let (builder, _) = forks();
            let host = builder.no_cache().build().await.unwrap();
            let own = processes_max(std::process::id());
            assert_eq!(processes_max(server(&host)), own);
        });
    });
}

#[tokio::test]
async fn the_walls_of_a_forked_worker_are_read_from_the_kernel() {
    const SEEN: [Wall; 6] = [
        Wall::NoNewPrivileges,
        Wall::SystemCallFilter,
        Wall::NoCapabilities,
        Wall::ResourceLimits,
        Wall::NotDumpable,
        Wall::OneThread,
    ];
    for hardening in [Hardening::Default, Hardening::Strict] {
        let (builder, _) = forks();
        let host = builder.hardening(hardening).build().await.unwrap();
        let walls = host.walls();
        for wall in SEEN {
            assert_eq!(walls.state(wall), Some(&WallState::Verified), "{wall}");
        }
        for wall in [Wall::Environment, Wall::Landlock] {
            assert_eq!(walls.state(wall), Some(&WallState::Tried), "{wall}");
        }
        // The probe is spawned: it shows nothing of how a forked worker does these.
        for wall in [Wall::DeathString, Wall::ResetProof] {
            assert_eq!(walls.state(wall), Some(&WallState::Claimed), "{wall}");
        }
        let descriptors = match stockade_tests::alone::is_root() {
            true => WallState::Verified,
            false => WallState::Claimed,
        };
        assert_eq!(walls.state(Wall::Descriptors), Some(&descriptors));
        let server = server(&host);
        assert_eq!(status(server, "Seccomp:").unwrap(), "2");
        assert_eq!(status(server, "NoNewPrivs:").unwrap(), "1");
        assert_eq!(status(server, "CapPrm:").unwrap(), "0000000000000000");
        assert_eq!(status(server, "Threads:").unwrap(), "1");
        if stockade_tests::alone::is_root() {
            let uid = status(server, "Uid:").unwrap();
            assert!(!uid.split_whitespace().any(|uid| uid == "0"), "{uid}");
            assert_eq!(walls.state(Wall::OwnUser), Some(&WallState::Verified));
        }
        let worker = only_pid(&host);
        let filters = |pid| {
            status(pid, "Seccomp_filters:")
                .unwrap()
                .parse::<u32>()
                .unwrap()
        };
        assert!(filters(worker) > filters(server));
    }
}

#[tokio::test]
async fn without_hardening_workers_are_forked_all_the_same() {
    let (builder, limiter) = forks();
    let host = builder
        .hardening(Hardening::Insecure)
        .workers(2)
        .build()
        .await
        .unwrap();
    echoes(&host).await;
    let old = only_pid(&host);
    signals::send(old, Signal::KILL);
    eventually_async(BOUND, || !is_alive(old)).await;
    echoes(&host).await;
    comes_to_rest(&host, &limiter);
}

#[tokio::test]
async fn granted_directories_are_refused_with_what_to_do() {
    let scratch = Scratch::new();
    let wasi = Wasi::new().read_dir(scratch.path(), "/data");
    let error = forks().0.wasi(wasi).build().await.unwrap_err();
    match &error {
        Error::Config { field, reason } => {
            assert_eq!(*field, "worker_type");
            assert!(reason.contains("WorkerType::Spawn"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_keeps_no_descriptor_of_its_server() {
    alone(|| {
        let (builder, _) = forks();
        let host = builder.workers(1).build_blocking().unwrap();
        eventually(BOUND, || host.stats().spare == 1);
        let server = server(&host);
        let fds = |pid: u32| -> Vec<String> {
            let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
            let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
            links.map(|to| to.to_string_lossy().into_owned()).collect()
        };
        let sockets = |pid| -> HashSet<String> {
            fds(pid)
                .into_iter()
                .filter(|to| to.starts_with("socket:"))
                .collect()
        };
        let pipes = |pid| -> HashSet<String> {
            fds(pid)
                .into_iter()
                .filter(|to| to.starts_with("pipe:"))
                .collect()
        };
        let (first, forked) = forked_by(server);
        assert_eq!(forked.len(), 2);
        // Its string, and what tells that it lives; the diagnostics are the server's.
        assert_eq!((sockets(first).len(), fds(first).len()), (1, 3));
        for &pid in &forked {
            assert!(
                fds(pid).iter().all(|to| !to.contains("signalfd")),
                "{:?}",
                fds(pid)
            );
            // Its socket to the host, and its string.
            assert_eq!(sockets(pid).len(), 2);
            let own = format!("/proc/{pid}/pagemap");
            assert!(fds(pid).contains(&own), "{:?}", fds(pid));
        }
        // What one has, none of the others has.
        let all = [forked[0], forked[1], server];
        for of in [&sockets as &dyn Fn(u32) -> HashSet<String>, &pipes] {
            let together: HashSet<String> = all.iter().flat_map(|pid| of(*pid)).collect();
            let apart: usize = all.iter().map(|pid| of(*pid).len()).sum();
            assert_eq!(together.len(), apart);
        }
    });
}

#[test]
fn every_call_resolves_once_though_forked_workers_are_killed() {
    alone(|| {
        let verdicts = storm::run(&Plan {
            calls: 8_000,
            kills: 200,
            seed: 2,
            worker_type: Some(WorkerType::ForkServer),
            hostile: Path::new(env!("CARGO_BIN_EXE_hostile")),
        });
        for verdict in &verdicts {
            println!("{verdict}");
        }
        assert!(verdicts.iter().all(|verdict| verdict.broken.is_empty()));
    });
}
