//! Processes come and go with their host, whatever the application around it does.
#![expect(
    unsafe_code,
    reason = "the application's own disposition of SIGCHLD, and its own user"
)]

use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};
use stockade::{Cause, Error, Host, WorkerState, WorkerType};
use stockade_tests::alone::alone_with;
use stockade_tests::census::children_of;
use stockade_tests::{BOUND, Census, Scratch, alone, census, eventually};

use crate::by_hand::ByHand;
use crate::hosts::{broken, comes_to_rest, only_pid, probe, until_running};
use crate::signals;

fn echoes(host: &Host) {
    let n: u64 = ByHand::new(host.run_sync("echo_u64", (7u64,)))
        .finish()
        .unwrap();
    assert_eq!(n, 7);
}

fn spinning(host: &Host) -> ByHand<impl Future<Output = Result<(), Error>> + use<>> {
    let mut call = ByHand::new(host.run_sync("spin", ()));
    assert!(call.poll().is_pending());
    call
}

/// With its artifact in the cache, its first process is started before the host knows that it will not be.
#[test]
fn a_host_that_is_not_built_leaves_no_process_behind_that_was_started_for_it() {
    alone(|| {
        let builder = || probe().0;
        drop(builder().build_blocking().unwrap());
        assert!(builder().inspect_blocking().unwrap().from_cache);
        let is_over = |now: Census| now.children.is_empty() && now.threads.len() == 2;
        eventually(BOUND, || is_over(census()));
        let before = census();
        for worker_type in [WorkerType::Spawn, WorkerType::ForkServer] {
            let builder = || builder().worker_type(worker_type);
            let lacking = builder().expects::<_, (), ()>("no such function");
            let refused = lacking.build_blocking().unwrap_err();
            assert!(
                matches!(refused, Error::NoSuchFunction { .. }),
                "{refused:?}"
            );
            eventually(BOUND, || census().counts() == before.counts());
            // And one that is built has all that it should.
            let host = builder().build_blocking().unwrap();
            echoes(&host);
            drop(host);
            eventually(BOUND, || census().counts() == before.counts());
        }
        assert_eq!(census().fds, before.fds);
    });
}

/// What was started as one user cannot be killed as another, and must not be waited for.
#[test]
fn a_build_ends_though_the_host_becomes_another_user_meanwhile() {
    const NOBODY: u32 = 65_534;
    /// Of a build.
    const MOMENTS: u32 = 10;
    let become_user = |user| {
        // SAFETY: plain system calls; the C library has every thread of the process follow.
        let became = unsafe { libc::setresuid(user, user, 0) == 0 };
        assert!(became, "{}", std::io::Error::last_os_error());
        // A process that changes its user hides its /proc, and a worker is to be looked at.
        // SAFETY: it takes numbers only.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
    };
    alone(|| {
        if !rustix::process::geteuid().is_root() {
            println!("only root becomes another user: not tried");
            return;
        }
        let lacking = || {
            let lacking = probe().0.expects::<_, (), ()>("no such function");
            lacking.build_blocking().map(drop)
        };
        drop(probe().0.build_blocking().unwrap());
        assert!(probe().0.inspect_blocking().unwrap().from_cache);
        let is_over = |now: Census| now.children.is_empty() && now.threads.len() == 2;
        eventually(BOUND, || is_over(census()));
        let begun = Instant::now();
        lacking().unwrap_err();
        let step = begun.elapsed() / MOMENTS;
        for moment in 0..MOMENTS {
            let building = std::thread::spawn(lacking);
            let begun = Instant::now();
            while begun.elapsed() < step * moment {
                std::hint::spin_loop();
            }
            become_user(NOBODY);
            eventually(BOUND, || building.is_finished());
            become_user(0);
            match building.join().unwrap() {
                Ok(()) => panic!("there is no such function"),
                Err(Error::NoSuchFunction { .. }) => {}
                // As another user it may not look into its processes, or not end them.
                Err(error) => assert!(
                    matches!(error, Error::Spawn { .. } | Error::Io(_)),
                    "{moment}: {error:?}"
                ),
            }
            eventually(BOUND, || is_over(census()));
        }
    });
}

#[test]
fn the_last_host_leaves_no_process_thread_descriptor_or_mapping_behind() {
    alone(|| {
        let before = census();
        for round in 0..5 {
            let (builder, _) = probe();
            let host = builder.workers(2).build_blocking().unwrap();
            echoes(&host);
            let second = host.clone();
            drop(host);
            echoes(&second);
            assert!(census().threads.contains(&"stockade".to_owned()));
            if round % 2 == 0 {
                let mut running = spinning(&second);
                let mut starting = spinning(&second);
                let mut waiting = spinning(&second);
                drop(second);
                let _ = (running.poll(), starting.poll(), waiting.poll());
            } else {
                drop(second);
            }
            eventually(BOUND, || census().counts() == before.counts());
        }
        assert_eq!(census().fds, before.fds);
    });
}

#[test]
fn hosts_come_and_go_beside_each_other() {
    alone(|| {
        let before = census();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for _ in 0..5 {
                        let (builder, _) = probe();
                        let host = builder.workers(1).build_blocking().unwrap();
                        echoes(&host);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        eventually(BOUND, || census().counts() == before.counts());
    });
}

#[test]
fn a_host_dropped_by_a_runtime_that_shuts_down_leaves_nothing_behind() {
    alone(|| {
        let before = census();
        for threads in [0, 2] {
            let mut builder = match threads {
                0 => tokio::runtime::Builder::new_current_thread(),
                _ => tokio::runtime::Builder::new_multi_thread(),
            };
            let runtime = builder.worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let (builder, _) = probe();
                let host = builder.workers(2).build().await.unwrap();
                let running = host.call::<_, _, ()>("spin", ()).spawn();
                let detached = host
                    .call::<_, _, ()>("spin", ())
                    .on_drop(stockade::OnDrop::Detach)
                    .spawn();
                while host
                    .stats()
                    .workers
                    .iter()
                    .all(|worker| worker.state != WorkerState::Running)
                {
                    tokio::task::yield_now().await;
                }
                tokio::spawn(async move {
                    let _held = (host, running, detached);
                    std::future::pending::<()>().await;
                });
                tokio::task::yield_now().await;
            });
            drop(runtime);
            eventually(BOUND, || census().counts() == before.counts());
        }
    });
}

#[test]
fn a_call_outlives_the_handle_it_was_made_with() {
    alone(|| {
        let before = census();
        let (builder, _) = probe();
        let host = builder.workers(1).build_blocking().unwrap();
        let unpolled = host.run_sync::<_, _, u64>("echo_u64", (7u64,));
        let spawned = host.call::<_, _, u64>("spin_for", (1_000_000u64,)).spawn();
        drop(host);
        assert_eq!(ByHand::new(unpolled).finish().unwrap(), 7);
        ByHand::new(spawned).finish().unwrap();
        eventually(BOUND, || census().counts() == before.counts());
    });
}

/// Tells a process from a later one of the same id.
fn identity(pid: u32) -> Option<(u32, String)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit_once(") ")?.1;
    let mut words = after.split_whitespace();
    if matches!(words.next()?, "Z" | "X") {
        return None;
    }
    Some((pid, words.nth(18)?.to_owned()))
}

#[test]
fn nothing_outlives_a_host_process_that_is_killed() {
    const VARIABLE: &str = "STOCKADE_TEST_TO_BE_KILLED";
    if std::env::var_os(VARIABLE).is_some() {
        let (builder, _) = probe();
        let host = builder.workers(3).build_blocking().unwrap();
        let calls = (spinning(&host), spinning(&host));
        let mut asleep = ByHand::new(host.run_sync::<_, _, ()>("sleep_ms", (3_600_000u64,)));
        assert!(asleep.poll().is_pending());
        until_running(&host, 1);
        eventually(BOUND, || host.stats().workers.len() == 3);
        let mut calls = (calls, asleep);
        eventually(BOUND, || {
            let _ = (calls.0.0.poll(), calls.0.1.poll(), calls.1.poll());
            host.stats()
                .workers
                .iter()
                .all(|worker| worker.state == WorkerState::Running)
        });
        println!(
            "\nworkers {:?}",
            host.stats()
                .workers
                .iter()
                .map(|worker| worker.pid)
                .collect::<Vec<_>>()
        );
        // Until it is killed; not for ever, should its parent fail.
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let test = "processes::nothing_outlives_a_host_process_that_is_killed";
    for _ in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(VARIABLE, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("workers ").map(str::to_owned));
        let pids: Vec<u32> = serde_json::from_str(&found.unwrap()).unwrap();
        assert_eq!(pids.len(), 3);
        let workers: Vec<_> = pids
            .iter()
            .map(|pid| identity(*pid).expect("it runs"))
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        eventually(BOUND, || {
            workers
                .iter()
                .all(|(pid, start)| identity(*pid).is_none_or(|now| now.1 != *start))
        });
    }
}

#[test]
fn signals_of_a_terminal_or_a_service_manager_do_not_reach_workers() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build_blocking().unwrap();
    let pid = only_pid(&host);
    let raw = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    assert_eq!(
        rustix::process::getpgid(Some(raw)),
        Ok(raw),
        "it is not in the application's group"
    );
    let sleeps = |ms: u64| ByHand::new(host.run_sync::<_, _, ()>("sleep_ms", (ms,)));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::PIPE] {
        // Long enough not to be over within a poll on a loaded machine.
        let mut call = sleeps(300);
        assert!(call.poll().is_pending());
        // A worker of ours: its host would have reaped it if it were dead.
        rustix::process::kill_process(raw, signal).unwrap();
        rustix::process::kill_process_group(raw, signal).unwrap();
        call.finish().unwrap();
        echoes(&host);
    }
    assert_eq!(only_pid(&host), pid);
    comes_to_rest(&host, &limiter);
}

#[test]
fn a_worker_gets_no_environment_and_no_descriptors_of_the_application() {
    alone_with(
        |command| command.env("SECRET", "do not tell"),
        || {
            let scratch = Scratch::new();
            let path = scratch.file("secret", "do not tell");
            let file = std::fs::File::open(&path).unwrap();
            // As a library written in C would have left it.
            rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
            let high = rustix::io::fcntl_dupfd_cloexec(&file, 700).unwrap();
            rustix::io::fcntl_setfd(&high, rustix::io::FdFlags::empty()).unwrap();
            assert!(high.as_raw_fd() >= 700);
            let (builder, _) = probe();
            let host = builder.workers(2).build_blocking().unwrap();
            let calls = (spinning(&host), spinning(&host));
            eventually(BOUND, || host.stats().workers.len() == 2);
            for worker in host.stats().workers {
                let pid = worker.pid;
                eventually(BOUND, || {
                    host.stats()
                        .workers
                        .iter()
                        .all(|w| w.state != WorkerState::Starting)
                });
                let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
                let environment = String::from_utf8_lossy(&environment).into_owned();
                let variables: Vec<&str> = environment
                    .split('\0')
                    .filter(|variable| !variable.is_empty())
                    .collect();
                assert!(
                    variables
                        .iter()
                        .all(|variable| variable.starts_with("STOCKADE_ROLE=")),
                    "{variables:?}"
                );
                let fds: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
                    .unwrap()
                    .filter_map(|entry| {
                        Some(
                            std::fs::read_link(entry.ok()?.path())
                                .ok()?
                                .to_string_lossy()
                                .into_owned(),
                        )
                    })
                    .collect();
                assert!(fds.len() >= 3, "they can be seen: {fds:?}");
                let expected = [
                    "socket:",
                    "pipe:",
                    "/dev/null",
                    "anon_inode:[eventfd]",
                    "/memfd:",
                    "/proc/",
                ];
                for fd in &fds {
                    // The last is its root directory, in which there is nothing.
                    assert!(
                        expected.iter().any(|kind| fd.starts_with(kind)) || fd == "/",
                        "{fd} of {fds:?}"
                    );
                }
                assert_eq!(
                    std::fs::read_link(format!("/proc/{pid}/cwd"))
                        .unwrap()
                        .as_os_str(),
                    "/"
                );
            }
            drop(calls);
        },
    );
}

/// A host that keeps its promises though exit statuses go elsewhere.
fn serves_without_exit_statuses() {
    let before = census();
    {
        let (builder, limiter) = probe();
        let host = builder.workers(1).build_blocking().unwrap();
        for _ in 0..5 {
            echoes(&host);
            signals::send(only_pid(&host), Signal::KILL);
            echoes(&host);
            let pid = only_pid(&host);
            let mut call = spinning(&host);
            signals::until_spinning(pid);
            signals::send(pid, Signal::KILL);
            let broken = broken(call.finish());
            assert_eq!(*broken.cause(), Cause::Died);
            // Who took it may have been faster, or not.
            assert!(
                matches!(broken.exit(), None | Some(stockade::Exit::Signal(9))),
                "{broken:?}"
            );
        }
        comes_to_rest(&host, &limiter);
    }
    eventually(BOUND, || children_of(std::process::id()).is_empty());
    eventually(BOUND, || census().counts() == before.counts());
}

#[test]
fn death_is_seen_though_the_application_ignores_sigchld() {
    alone(|| {
        // SAFETY: the disposition is replaced by one that runs no code.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        serves_without_exit_statuses();
    });
}

#[test]
fn death_is_seen_though_the_application_waits_for_all_children() {
    alone(|| {
        let over = Arc::new(AtomicBool::new(false));
        let reaper = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                while !over.load(Ordering::Relaxed) {
                    if !matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_))) {
                        std::thread::yield_now();
                    }
                }
            }
        });
        serves_without_exit_statuses();
        over.store(true, Ordering::Relaxed);
        reaper.join().unwrap();
    });
}

/// How often the supervisor and the workers have been given a CPU.
fn switches(host: &Host) -> Vec<u64> {
    let of = |path: String| {
        let status = std::fs::read_to_string(path).unwrap();
        let counts = status
            .lines()
            .filter_map(|line| line.split_once("voluntary_ctxt_switches:"));
        counts
            .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
            .sum::<u64>()
    };
    let mut all: Vec<u64> = host
        .stats()
        .workers
        .iter()
        .map(|w| of(format!("/proc/{}/status", w.pid)))
        .collect();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "stockade") {
            all.push(of(task.join("status").to_string_lossy().into_owned()));
        }
    }
    all
}

#[test]
fn an_idle_pool_makes_no_wake_ups() {
    alone(|| {
        let (builder, _) = probe();
        let host = builder.workers(2).build_blocking().unwrap();
        let calls = (spinning(&host), spinning(&host));
        eventually(BOUND, || host.stats().workers.len() == 2);
        drop(calls);
        for _ in 0..100 {
            echoes(&host);
        }
        // What calls have left to do is done within two seconds; after that nothing happens at all.
        let mut quiet = 0;
        eventually(Duration::from_secs(20), || {
            let before = switches(&host);
            assert_eq!(
                before.len(),
                host.stats().workers.len() + 1,
                "the supervisor is seen"
            );
            std::thread::sleep(Duration::from_millis(500));
            quiet = if switches(&host) == before {
                quiet + 1
            } else {
                0
            };
            quiet == 3
        });
        echoes(&host);
    });
}
