//! What a call asks of the kernel, on either side, as `strace` sees it.

use std::num::NonZero;
use std::process::Command;

use rustix::process::{Pid, getpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use stockade::{Host, State};
use stockade_tests::Scratch;

use super::{BATCHES, CALLS, batch, host, runtime, turn};

/// Set in the process that is watched.
const WATCHED: &str = "STOCKADE_TEST_WATCHED";

/// A call of the kernel that nobody else makes, between batches.
const MARK: &str = "getpriority(";

fn mark() {
    let _ = getpriority_process(None);
}

/// Puts the two sides on two CPUs. Where the kernel leaves both on one, each waits for the other to be descheduled.
pub(super) fn apart(host: &Host) {
    let all = sched_getaffinity(None).unwrap();
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| all.is_set(*cpu))
        .collect();
    let worker = i32::try_from(host.stats().workers[0].pid).ok();
    if let [ours, theirs, ..] = cpus[..] {
        for (process, cpu) in [(None, ours), (worker.and_then(Pid::from_raw), theirs)] {
            let mut set = CpuSet::new();
            set.set(cpu);
            sched_setaffinity(process, &set).unwrap();
        }
    }
}

/// Makes the calls. Without anybody who watches it shows that they are answered.
#[test]
fn batches_of_calls_are_answered() {
    let _turn = turn();
    runtime().block_on(answered());
}

async fn answered() {
    let states = match std::env::var(WATCHED).as_deref() {
        Ok("fresh") => [State::Fresh].as_slice(),
        Ok(_) => &[State::Keep],
        Err(_) => &[State::Keep, State::Fresh],
    };
    let everywhere = sched_getaffinity(None).unwrap();
    for state in states {
        let host = host(*state).await;
        apart(&host);
        for _ in 0..BATCHES {
            mark();
            batch(&host).await;
        }
        mark();
        host.close().await;
        sched_setaffinity(None, &everywhere).unwrap();
    }
}

/// The calls of the kernel that each batch made, but for those of a side that polls and gives up its CPU between looks,
/// which are counted elsewhere.
fn batches(state: &str) -> Vec<Vec<String>> {
    let scratch = Scratch::new();
    let log = scratch.join("log");
    let program = std::env::current_exe().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qq", "--seccomp-bpf", "-e", "signal=none"])
        .args(["-e", "trace=!sched_yield", "-o"])
        .arg(&log)
        .arg(program)
        .args(["--exact", "system_calls::batches_of_calls_are_answered"])
        .env(WATCHED, state)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let log = std::fs::read_to_string(log).unwrap();
    let mut batches: Vec<Vec<String>> = Vec::new();
    for line in log.lines() {
        // The process's number, and what it did.
        let (_, did) = line.split_once(' ').unwrap_or_default();
        let did = did.trim_start();
        if did.starts_with(MARK) {
            batches.push(Vec::new());
        } else if let Some(batch) = batches.last_mut() {
            batch.push(did.to_owned());
        }
    }
    // What comes after the last mark is the end.
    batches.pop();
    assert_eq!(batches.len(), BATCHES);
    batches
}

/// Whether system calls can be watched. Where they cannot, nobody does; unless `STOCKADE_TOOLCHAINS` names `strace`, as
/// the gate does.
fn can_watch() -> bool {
    let found = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        let wanted = std::env::var("STOCKADE_TOOLCHAINS").unwrap_or_default();
        let is_wanted = wanted.split(' ').any(|name| name == "strace");
        assert!(!is_wanted, "strace is missing: apt-get install strace");
        eprintln!("strace is missing, so nobody looks at system calls: apt-get install strace");
    }
    found
}

/// With one CPU, or a quota of CPU time, one side of a call always sleeps, and is to.
pub(super) fn can_be_awake() -> bool {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    let usable = sched_getaffinity(None).map_or(cpus, |set| set.count() as usize);
    let can = cpus >= 2 && cpus >= usable;
    if !can {
        eprintln!("both sides of a call cannot be awake on one CPU, or under a quota");
    }
    can
}

#[test]
fn a_warm_call_makes_no_system_call_when_both_sides_are_awake() {
    let _turn = turn();
    if can_watch() && can_be_awake() {
        // With other work on every CPU there may be no batch in which the sides find each other awake, and then they
        // stop waiting for it. What a call does every time shows in all batches, however many are made.
        const HOSTS: usize = 10;
        let mut quietest = Vec::new();
        for _ in 0..HOSTS {
            quietest = batches("keep").into_iter().min_by_key(Vec::len).unwrap();
            if quietest.len() < CALLS / 2 {
                return;
            }
        }
        panic!(
            "at best, {CALLS} calls make {}: {quietest:#?}",
            quietest.len()
        );
    }
}

/// Being watched makes it slow, so its caller sleeps, which is not looked at here.
#[test]
fn a_fresh_instance_costs_one_system_call() {
    let _turn = turn();
    if can_watch() {
        let of_memory =
            |did: &&String| MEMORY.iter().any(|name| did.starts_with(name)) || is_reset(did);
        let batches = batches("fresh");
        let least = batches
            .iter()
            .map(|batch| batch.iter().filter(of_memory).collect::<Vec<_>>())
            .min_by_key(Vec::len)
            .unwrap();
        assert!(least.iter().all(|did| is_reset(did)), "{least:#?}");
        // One of a batch's instances is made before it, and one after.
        assert!(
            (CALLS - 1..=CALLS + 1).contains(&least.len()),
            "{CALLS} calls: {least:#?}"
        );
    }
}

/// Calls of the kernel that make or change memory.
const MEMORY: [&str; 6] = [
    "mmap(",
    "munmap(",
    "mremap(",
    "mprotect(",
    "madvise(",
    "brk(",
];

/// Asks what an instance has written, or whether it can have written elsewhere than those before.
fn is_reset(did: &str) -> bool {
    did.starts_with("ioctl(") || did.starts_with("getrusage(")
}
