//! Namespaces of workers: as the kernel shows them, where it grants them, and calls where it grants none.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use stockade::{Error, Hardening, Host, HostBuilder, Wall, WallState, Wasi, WorkerType};
use stockade_tests::alone::{alone_as_nobody, alone_without_namespaces, is_root};
use stockade_tests::{BOUND, ByHand, Scratch, alone, eventually, guest, host_of};

use crate::hosts::hostile;

const EVERY: [(Wall, &str); 7] = [
    (Wall::UserNamespace, "user"),
    (Wall::NetworkNamespace, "net"),
    (Wall::IpcNamespace, "ipc"),
    (Wall::MountNamespace, "mnt"),
    (Wall::UtsNamespace, "uts"),
    (Wall::CgroupNamespace, "cgroup"),
    (Wall::PidNamespace, "pid"),
];

/// What nothing tells apart that an ordinary user may read.
const HIDDEN: [(Wall, &str); 3] = [
    (Wall::IpcNamespace, "ipc"),
    (Wall::UtsNamespace, "uts"),
    (Wall::CgroupNamespace, "cgroup"),
];

/// What a worker enters that another one made.
const SHARED: [(Wall, &str); 5] = [
    (Wall::NetworkNamespace, "net"),
    (Wall::IpcNamespace, "ipc"),
    (Wall::MountNamespace, "mnt"),
    (Wall::UtsNamespace, "uts"),
    (Wall::CgroupNamespace, "cgroup"),
];

const TYPES: [WorkerType; 2] = [WorkerType::Spawn, WorkerType::ForkServer];

fn of_type(worker_type: WorkerType) -> HostBuilder {
    let builder = host_of(guest::probe()).workers(1).worker_type(worker_type);
    match is_root() {
        true => builder,
        // The cache is not theirs.
        false => builder.no_cache(),
    }
}

#[track_caller]
fn echoes(host: &Host) {
    let call = host.run_sync::<_, _, u64>("echo_u64", (7u64,));
    assert_eq!(ByHand::new(call).finish().unwrap(), 7);
}

fn pid(host: &Host) -> u32 {
    host.stats().workers[0].pid
}

#[test]
fn each_namespace_that_root_sees_is_the_workers_own() {
    alone(|| {
        for worker_type in TYPES {
            let host = of_type(worker_type).build_blocking().unwrap();
            let pid = pid(&host);
            for (wall, name) in EVERY {
                let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{name}")).unwrap();
                let has_own = wall != Wall::PidNamespace || worker_type == WorkerType::ForkServer;
                assert_eq!(of(&pid.to_string()) != of("self"), has_own, "{wall}");
                let state = host.walls().state(wall).cloned().unwrap();
                match has_own {
                    true => assert_eq!(state, WallState::Verified, "{wall}"),
                    false => assert!(
                        matches!(&state, WallState::Missing { reason } if reason.contains("ForkServer")),
                        "{wall}: {state:?}"
                    ),
                }
            }
            let root = fs::read_dir(format!("/proc/{pid}/root")).unwrap();
            assert_eq!(root.count() == 0, worker_type == WorkerType::Spawn);
            echoes(&host);
        }
    });
}

/// The worker is killed, and another one answers.
fn replace_worker(host: &Host) {
    let old = pid(host);
    kill_process(Pid::from_raw(old as i32).unwrap(), Signal::KILL).unwrap();
    eventually(BOUND, || {
        host.stats().workers.iter().all(|worker| worker.pid != old)
    });
    echoes(host);
    assert_ne!(pid(host), old);
}

#[test]
fn later_workers_enter_the_namespaces_of_the_first_and_no_other_hosts() {
    alone(|| {
        let links = |host: &Host| {
            let of = |name| fs::read_link(format!("/proc/{}/ns/{name}", pid(host))).unwrap();
            SHARED.map(|(_, name)| of(name))
        };
        let user = |host: &Host| fs::read_link(format!("/proc/{}/ns/user", pid(host))).unwrap();
        let host = of_type(WorkerType::Spawn).build_blocking().unwrap();
        let (first, first_user) = (links(&host), user(&host));
        for _ in 0..2 {
            replace_worker(&host);
            assert_eq!(links(&host), first);
            // It is another user, and may not enter that one.
            assert_ne!(user(&host), first_user);
            let root = fs::read_dir(format!("/proc/{}/root", pid(&host))).unwrap();
            assert_eq!(root.count(), 0);
        }
        for (wall, _) in SHARED.into_iter().chain([(Wall::UserNamespace, "user")]) {
            let state = host.walls().state(wall).cloned();
            assert_eq!(state, Some(WallState::Verified), "{wall}");
        }
        let other = of_type(WorkerType::Spawn).build_blocking().unwrap();
        let others = links(&other);
        // Another module's workers are others, too.
        let old = pid(&host);
        ByHand::new(host.reload(guest::hello())).finish().unwrap();
        eventually(BOUND, || {
            let workers = host.stats().workers;
            matches!(&workers[..], [one] if one.pid != old)
        });
        for ((reloaded, other), first) in links(&host).iter().zip(&others).zip(&first) {
            assert!(reloaded != first && other != first && reloaded != other);
        }
    });
}

#[test]
fn a_worker_with_directories_enters_all_but_the_mounts() {
    alone(|| {
        let directory = Scratch::new();
        let wasi = Wasi::new().read_dir(directory.path(), "/here");
        let host = of_type(WorkerType::Spawn)
            .wasi(wasi)
            .build_blocking()
            .unwrap();
        let links = |host: &Host| {
            SHARED.map(|(wall, name)| {
                let link = fs::read_link(format!("/proc/{}/ns/{name}", pid(host))).unwrap();
                (wall, link)
            })
        };
        let first = links(&host);
        replace_worker(&host);
        for ((wall, ours), (_, theirs)) in links(&host).into_iter().zip(first) {
            assert_eq!(ours == theirs, wall != Wall::MountNamespace, "{wall}");
            let state = host.walls().state(wall).cloned();
            assert_eq!(state, Some(WallState::Verified), "{wall}");
        }
    });
}

#[test]
fn each_namespace_is_verified_for_an_ordinary_user_who_may_not_look_into_the_worker() {
    alone_as_nobody(|| {
        assert!(!is_root());
        for worker_type in TYPES {
            let host = of_type(worker_type).build_blocking().unwrap();
            // The second one enters what the first one made.
            replace_worker(&host);
            for (wall, name) in EVERY {
                let link = fs::read_link(format!("/proc/{}/ns/{name}", pid(&host)));
                assert!(link.is_err(), "then there is nothing to find out otherwise");
                let state = host.walls().state(wall).cloned().unwrap();
                match wall {
                    Wall::PidNamespace if worker_type == WorkerType::Spawn => {
                        assert!(
                            matches!(state, WallState::Missing { .. }),
                            "{wall}: {state:?}"
                        );
                    }
                    _ => assert_eq!(state, WallState::Verified, "{wall}"),
                }
            }
            echoes(&host);
        }
    });
}

#[track_caller]
fn is_missing(host: &Host, wall: Wall, why: &str) {
    let walls = host.walls();
    match walls.state(wall) {
        Some(WallState::Missing { reason }) => assert!(reason.contains(why), "{wall}: {reason}"),
        other => panic!("{wall}: {other:?}"),
    }
    assert!(walls.advice(wall).is_some(), "{wall}");
}

const REFUSED: &str = "the kernel does not grant it here: No space left on device";

#[test]
fn without_user_namespaces_root_has_all_others_and_calls_are_answered() {
    alone_without_namespaces(&["user"], || {
        for worker_type in TYPES {
            let host = of_type(worker_type).build_blocking().unwrap();
            is_missing(&host, Wall::UserNamespace, REFUSED);
            let advice = host.walls().advice(Wall::UserNamespace).unwrap();
            assert!(
                advice.contains("`sysctl user.max_user_namespaces`"),
                "{advice}"
            );
            for wall in [
                Wall::NetworkNamespace,
                Wall::MountNamespace,
                Wall::UtsNamespace,
            ] {
                assert_eq!(
                    host.walls().state(wall),
                    Some(&WallState::Verified),
                    "{wall}"
                );
            }
            echoes(&host);
        }
    });
}

#[test]
fn where_the_kernel_grants_no_namespace_they_are_missing_and_calls_are_answered() {
    alone_without_namespaces(&EVERY.map(|(_, name)| name), || {
        for worker_type in TYPES {
            let host = of_type(worker_type).build_blocking().unwrap();
            for (wall, _) in EVERY {
                let why = match (wall, worker_type) {
                    (Wall::PidNamespace, WorkerType::Spawn) => "ForkServer",
                    _ => REFUSED,
                };
                is_missing(&host, wall, why);
            }
            echoes(&host);
            for (wall, _) in EVERY {
                let error = of_type(worker_type)
                    .require_wall(wall)
                    .build_blocking()
                    .unwrap_err();
                assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
                let names = format!("the wall `{wall}` does not stand around a worker");
                assert!(error.to_string().contains(&names), "{error}");
            }
        }
    });
}

#[test]
fn one_that_is_required_is_there_or_there_is_no_host() {
    alone(|| {
        for worker_type in TYPES {
            let all = EVERY.into_iter().map(|(wall, _)| wall);
            let given = all.filter(|wall| {
                *wall != Wall::PidNamespace || worker_type == WorkerType::ForkServer
            });
            let builder = given.fold(of_type(worker_type), HostBuilder::require_wall);
            echoes(&builder.build_blocking().unwrap());
        }
        let spawned = of_type(WorkerType::Spawn).require_wall(Wall::PidNamespace);
        let error = spawned.build_blocking().unwrap_err();
        let says = "the wall `pid namespace` does not stand around a worker";
        assert!(error.to_string().contains(says), "{error}");
    });
}

#[test]
fn without_hardening_there_are_none() {
    alone(|| {
        for worker_type in TYPES {
            let host = of_type(worker_type)
                .hardening(Hardening::Insecure)
                .build_blocking()
                .unwrap();
            for (wall, name) in EVERY {
                let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{name}")).unwrap();
                assert_eq!(of(&pid(&host).to_string()), of("self"), "{wall}");
                is_missing(&host, wall, "");
            }
            echoes(&host);
        }
    });
}

/// A worker that lies in this way is, and the error says why.
fn is_refused(lie: &str, says: &str) {
    let error = hostile(lie).build_blocking().unwrap_err();
    assert!(matches!(error, Error::Spawn { .. }), "{lie}: {error:?}");
    assert!(error.to_string().contains(says), "{lie}: {error}");
}

#[test]
fn a_worker_that_claims_a_namespace_that_the_kernel_does_not_show_is_refused() {
    alone_as_nobody(|| {
        for (name, wall) in [
            ("user", Wall::UserNamespace),
            ("net", Wall::NetworkNamespace),
            ("mnt", Wall::MountNamespace),
            ("pid", Wall::PidNamespace),
        ] {
            for claim in ["claims", "enters"] {
                is_refused(
                    &format!("{claim}:{name}"),
                    &format!("it says that it has a {wall} of its own"),
                );
            }
        }
    });
}

#[test]
fn a_worker_that_hands_over_what_is_no_namespace_of_its_own_is_refused() {
    alone_as_nobody(|| {
        for (wall, name) in HIDDEN {
            // This process's own, which is the worker's, too; one of another kind; and no namespace at all.
            let other = if name == "uts" { "ipc" } else { "uts" };
            for (file, truth) in [
                (
                    format!("/proc/self/ns/{name}"),
                    "the kernel shows that of the host",
                ),
                (
                    format!("/proc/self/ns/{other}"),
                    "what it hands over is none",
                ),
                ("/dev/null".to_owned(), "what it hands over is none"),
            ] {
                is_refused(
                    &format!("claims:{name}:{file}"),
                    &format!("it says that it has a {wall} of its own, and {truth}"),
                );
            }
            // Its word alone is no lie that the kernel could tell, and no proof.
            for claim in ["claims", "enters"] {
                let host = hostile(&format!("{claim}:{name}"));
                let host = host.build_blocking().unwrap();
                assert!(
                    matches!(host.walls().state(wall), Some(WallState::Missing { .. })),
                    "{wall}"
                );
            }
        }
    });
}

#[test]
fn a_forked_worker_that_claims_a_namespace_that_its_server_has_not_is_refused() {
    alone_as_nobody(|| {
        for (wall, name) in HIDDEN {
            let error = hostile(&format!("forks:claims:{name}"))
                .worker_type(WorkerType::ForkServer)
                .build_blocking()
                .unwrap_err();
            assert!(matches!(error, Error::Spawn { .. }), "{error:?}");
            let says = format!(
                "it says that it has a {wall} of its own, and the kernel shows that of the host"
            );
            assert!(error.to_string().contains(&says), "{error}");
        }
    });
}

/// How many descriptors of namespaces of this kind are open here.
fn held(name: &str) -> usize {
    let kind = format!("{name}:[");
    let open = fs::read_dir("/proc/self/fd").unwrap();
    let links = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    links
        .filter(|to| to.to_string_lossy().starts_with(&kind))
        .count()
}

#[test]
fn a_host_holds_what_its_first_worker_handed_over_until_it_is_dropped() {
    alone_as_nobody(|| {
        let counts = || EVERY.map(|(_, name)| held(name));
        let host = of_type(WorkerType::Spawn).build_blocking().unwrap();
        let all_but_pid = [1, 1, 1, 1, 1, 1, 0];
        assert_eq!(counts(), all_but_pid);
        replace_worker(&host);
        assert_eq!(counts(), all_but_pid);
        let insecure = of_type(WorkerType::Spawn).hardening(Hardening::Insecure);
        let insecure = insecure.build_blocking().unwrap();
        assert_eq!(counts(), all_but_pid);
        drop((host, insecure));
        eventually(BOUND, || counts() == [0; 7]);
    });
}

#[test]
fn what_a_hostile_worker_hands_over_is_not_kept() {
    alone_as_nobody(|| {
        for lie in [
            "claims:ipc",
            "claims:ipc:/dev/null",
            "claims:ipc:/proc/self/ns/ipc",
        ] {
            let _ = hostile(lie).build_blocking();
            eventually(BOUND, || EVERY.iter().all(|(_, name)| held(name) == 0));
        }
    });
}
