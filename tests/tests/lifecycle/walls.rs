//! What a host sees of its workers' walls, and of workers that run into one.

use std::fs;
use std::path::Path;
use std::process::Command;

use stockade::{Cause, Error, Exit, Hardening, Host, HostBuilder, Module, Wall, WallState, Wasi};
use stockade_tests::alone::{alone_as_nobody, is_root};
use stockade_tests::{BOUND, Scratch, alone, application, eventually_async};
use stockade_tests::{guest, host_of, traces};

use crate::hosts::{broken, hostile, outcome, probe};

const SEEN: [Wall; 6] = [
    Wall::NoNewPrivileges,
    Wall::SystemCallFilter,
    Wall::NoCapabilities,
    Wall::ResourceLimits,
    Wall::NotDumpable,
    Wall::OneThread,
];

/// What a kernel does not show of another process.
const TRIED: [Wall; 4] = [
    Wall::Environment,
    Wall::DeathString,
    Wall::ResetProof,
    Wall::Landlock,
];

#[tokio::test]
async fn the_walls_that_the_kernel_shows_are_verified_and_the_others_are_tried() {
    for hardening in [Hardening::Default, Hardening::Strict] {
        let host = probe().0.hardening(hardening).build().await.unwrap();
        let walls = host.walls();
        assert_eq!(walls.hardening, hardening);
        for wall in SEEN {
            assert_eq!(walls.state(wall), Some(&WallState::Verified), "{wall}");
        }
        for wall in TRIED {
            assert_eq!(walls.state(wall), Some(&WallState::Tried), "{wall}");
        }
        assert_eq!(walls.state(Wall::Descriptors), Some(&descriptors()));
        for report in &walls.walls {
            let missing = matches!(report.state, WallState::Missing { .. });
            assert!(!(report.required && missing), "{report:?}");
        }
        let n: u64 = outcome(host.run_sync("echo_u64", (5u64,))).await.unwrap();
        assert_eq!(n, 5);
    }
}

/// The kernel shows them to root.
fn descriptors() -> WallState {
    match is_root() {
        true => WallState::Verified,
        false => WallState::Tried,
    }
}

#[test]
fn the_descriptors_of_a_worker_that_its_host_may_not_look_into_are_tried() {
    alone_as_nobody(|| {
        let host = probe().0.build_blocking().unwrap();
        let state = host.walls().state(Wall::Descriptors).cloned();
        assert_eq!(state, Some(WallState::Tried));
    });
}

#[tokio::test]
async fn a_worker_with_directories_has_no_descriptors_but_its_own_either() {
    let scratch = Scratch::new();
    let wasi = Wasi::new()
        .read_dir(scratch.path(), "/read")
        .write_dir(scratch.path(), "/write");
    let host = probe().0.wasi(wasi).build().await.unwrap();
    let state = host.walls().state(Wall::Descriptors).cloned();
    assert_eq!(state, Some(descriptors()));
}

#[tokio::test]
async fn without_hardening_no_wall_is_said_to_stand() {
    let host = host_of(guest::probe())
        .hardening(Hardening::Insecure)
        .build()
        .await
        .unwrap();
    let walls = host.walls();
    for wall in [
        Wall::NoNewPrivileges,
        Wall::SystemCallFilter,
        Wall::Landlock,
        Wall::ResetProof,
    ] {
        let state = walls.state(wall).unwrap();
        assert!(
            matches!(state, WallState::Missing { .. }),
            "{wall}: {state:?}"
        );
    }
    assert!(walls.walls.iter().all(|report| !report.required));
}

/// A program that says that it is ready, and has built nothing.
#[tokio::test]
async fn a_worker_that_claims_walls_that_the_kernel_does_not_show_is_refused_by_name() {
    let error = hostile("honest")
        .hardening(Hardening::Default)
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
    let said = error.to_string();
    assert!(
        said.contains("the wall `no new privileges` does not stand"),
        "{said}"
    );
}

#[tokio::test]
async fn a_wall_that_is_required_by_name_is_there_or_there_is_no_host() {
    let host = probe()
        .0
        .require_wall(Wall::Landlock)
        .build()
        .await
        .unwrap();
    let walls = host.walls();
    let landlock = walls.walls.iter().find(|one| one.wall == Wall::Landlock);
    assert!(landlock.unwrap().required);
    // Nothing gives a worker one.
    let error = probe()
        .0
        .require_wall(Wall::Cgroup)
        .build()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("the wall `cgroup` does not stand"),
        "{error}"
    );
    let error = host_of(guest::probe())
        .hardening(Hardening::Insecure)
        .require_wall(Wall::SystemCallFilter)
        .build()
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "require_wall",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_process_without_hardening_is_warned_once() {
    alone(|| {
        traces::keep();
        for _ in 0..2 {
            let builder = host_of(guest::hello()).workers(1);
            let host = builder.hardening(Hardening::Insecure).build_blocking();
            drop(host.unwrap());
        }
        let warnings = traces::with("`Hardening::Insecure`");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].level, tracing::Level::WARN);
    });
}

const TIMES: u32 = libc::SYS_times as u32;

fn uneasy(program: &Path) -> HostBuilder {
    let command = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    Host::builder(Module::from_wat(command))
        .worker_program(program)
        .no_cache()
        .workers(1)
}

/// Its allocator does what the filter forbids, for a block as large as what the command is given to read.
#[tokio::test]
async fn a_forbidden_system_call_costs_its_call_and_is_named_counted_and_traced() {
    traces::keep();
    let host = uneasy(Path::new(env!("CARGO_BIN_EXE_uneasy")))
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    let call = host.run_command([""; 0]).stdin(vec![0; 33 << 20]);
    let broken = broken(outcome(call).await);
    let syscall = Some(TIMES);
    assert_eq!(*broken.cause(), Cause::PolicyViolation { syscall });
    assert_eq!(broken.exit(), Some(Exit::Signal(libc::SIGSYS)));
    assert_eq!(
        broken.stderr_tail(),
        format!("stockade: forbidden system call {TIMES}\n")
    );
    assert_eq!(host.stats().calls.failed.policy_violation, 1);
    let reported = || {
        let of_this_worker = traces::with(&format!("pid={pid} "));
        of_this_worker
            .into_iter()
            .find(|trace| trace.message.contains("forbidden system call"))
    };
    // Another thread runs the application's subscriber.
    eventually_async(BOUND, || reported().is_some()).await;
    let traced = reported().unwrap();
    assert_eq!(traced.level, tracing::Level::WARN);
    assert!(
        traced.fields.contains(&format!("syscall={TIMES}")),
        "{traced:?}"
    );
    let small = host.run_command([""; 0]).stdin(vec![0; 1 << 10]);
    assert_eq!(outcome(small).await.unwrap().exit_code, 0);
}

#[tokio::test]
async fn a_program_at_odds_with_the_seal_is_found_before_it_has_a_call() {
    let scratch = Scratch::new();
    let program = scratch.join("uneasy-early");
    fs::hard_link(env!("CARGO_BIN_EXE_uneasy"), &program)
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_uneasy"), &program).map(drop))
        .unwrap();
    let error = uneasy(&program).build().await.unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
    let said = error.to_string();
    for part in [
        "uneasy-early",
        "self-test",
        &format!("forbidden system call {TIMES}"),
        "`worker_program`",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

const ALLOCATORS: [&str; 2] = [
    env!("CARGO_BIN_EXE_with_jemalloc"),
    env!("CARGO_BIN_EXE_with_mimalloc"),
];

#[tokio::test]
async fn workers_on_other_allocators_live_under_the_seal() {
    for program in ALLOCATORS {
        let with = |builder: HostBuilder| builder.worker_program(program);
        let used = outcome(application::use_workers(&with)).await;
        used.unwrap_or_else(|error| panic!("{program}: {error}"));
    }
}

#[test]
fn an_application_on_another_allocator_is_its_own_worker() {
    for program in ALLOCATORS {
        let output = Command::new(program).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    }
}
