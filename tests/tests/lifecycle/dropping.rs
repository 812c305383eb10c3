//! A call whose future is dropped leaves nothing behind, unless it was told to go on.

use std::time::Duration;

use stockade::{Host, OnDrop, State, WorkerState};
use stockade_tests::{BOUND, alone, census, eventually};

use crate::by_hand::ByHand;
use crate::hosts::{comes_to_rest, only_pid, probe, until_running};

fn spin(host: &Host) -> stockade::Call<(), ()> {
    host.call("spin", ())
}

#[test]
fn a_call_dropped_after_any_number_of_polls_leaves_nothing_behind() {
    alone(|| {
        let (builder, limiter) = probe();
        let host = builder.workers(1).build_blocking().unwrap();
        let pid = only_pid(&host);
        ByHand::new(host.run_sync::<_, _, u64>("echo_u64", (1u64,)))
            .finish()
            .unwrap();
        let before = census();
        for waits in [false, true] {
            for (function, polls_max) in [("spin", 8), ("sleep", 8), ("echo", 200)] {
                for polls in 0..polls_max {
                    let finished = match function {
                        "spin" => drop_after(&host, "spin", (), polls, waits),
                        "sleep" => drop_after(&host, "sleep_ms", (3_600_000u64,), polls, waits),
                        _ => drop_after(&host, "echo_unit", ((),), polls, waits),
                    };
                    comes_to_rest(&host, &limiter);
                    if finished {
                        break;
                    }
                }
            }
        }
        assert_eq!(only_pid(&host), pid, "no drop cost a process");
        ByHand::new(host.run_sync::<_, _, u64>("echo_u64", (1u64,)))
            .finish()
            .unwrap();
        assert_eq!(census().counts(), before.counts());
    });
}

/// Whether the call ended before it was dropped.
fn drop_after<A: serde::Serialize>(
    host: &Host,
    function: &str,
    args: A,
    polls: u32,
    waits: bool,
) -> bool {
    let mut call = ByHand::new(host.run_sync::<_, _, ()>(function, args));
    for _ in 0..polls {
        if call.poll().is_ready() {
            return true;
        }
        if waits {
            call.wait(Duration::from_millis(2));
        }
    }
    false
}

#[test]
fn a_call_dropped_while_it_waits_leaves_its_place_to_the_next() {
    alone(|| {
        let (builder, _) = probe();
        let limiter = stockade::Limiter::new(1);
        let host = builder
            .workers(2)
            .limiter(limiter.clone())
            .build_blocking()
            .unwrap();
        // In line for a permit.
        let mut running = ByHand::new(spin(&host));
        assert!(running.poll().is_pending());
        for polls in 1..5 {
            let mut waiting = ByHand::new(host.run_sync::<_, _, ()>("echo_unit", ((),)));
            for _ in 0..polls {
                assert!(waiting.poll().is_pending());
            }
            assert_eq!((limiter.waiting(), host.stats().waiting), (1, 1));
            drop(waiting);
            assert_eq!((limiter.waiting(), host.stats().waiting), (0, 0));
        }
        // Given the permit, and never polled again.
        let mut first = ByHand::new(host.run_sync::<_, _, ()>("echo_unit", ((),)));
        let mut second = ByHand::new(host.run_sync::<_, _, ()>("echo_unit", ((),)));
        assert!(first.poll().is_pending() && second.poll().is_pending());
        drop(running);
        assert!(first.wait(BOUND), "the permit is passed on");
        drop(first);
        second.finish().unwrap();
        comes_to_rest(&host, &limiter);
    });
}

#[test]
fn a_call_dropped_while_it_waits_for_a_worker_leaves_the_worker_to_the_next() {
    let (builder, limiter) = probe();
    let host = builder.workers(1).build_blocking().unwrap();
    let mut running = ByHand::new(spin(&host));
    assert!(running.poll().is_pending());
    let mut first = ByHand::new(host.run_sync::<_, _, ()>("echo_unit", ((),)));
    let mut second = ByHand::new(host.run_sync::<_, _, ()>("echo_unit", ((),)));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    drop(running);
    assert!(first.wait(BOUND), "the worker is passed on");
    drop(first);
    second.finish().unwrap();
    comes_to_rest(&host, &limiter);
}

#[test]
fn a_call_dropped_while_its_worker_starts_leaves_the_worker_to_the_pool() {
    let (builder, limiter) = probe();
    let host = builder.workers(2).build_blocking().unwrap();
    let mut running = ByHand::new(spin(&host));
    assert!(running.poll().is_pending());
    let mut starting = ByHand::new(host.run_sync::<_, _, ()>("echo_unit", ((),)));
    assert!(starting.poll().is_pending());
    drop(starting);
    eventually(BOUND, || {
        let workers = host.stats().workers;
        workers.len() == 2 && workers[1].state == WorkerState::Idle
    });
    drop(running);
    comes_to_rest(&host, &limiter);
    assert_eq!(host.stats().workers.len(), 2);
}

#[test]
fn a_detached_call_goes_on_to_its_end_unobserved() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (builder, limiter) = probe();
    let host = builder
        .workers(1)
        .state(State::Keep)
        .build_blocking()
        .unwrap();
    let pid = only_pid(&host);
    let count = || {
        ByHand::new(host.run_sync::<_, _, u64>("count", ()))
            .finish()
            .unwrap()
    };
    assert_eq!(count(), 1);
    // Running when it is dropped: were it interrupted, its instance would be dropped with the count.
    let mut call = ByHand::new(
        host.call::<_, _, ()>("sleep_ms", (200u64,))
            .on_drop(OnDrop::Detach),
    );
    assert!(call.poll().is_pending());
    drop(call);
    assert!(matches!(
        host.stats().workers[0].state,
        WorkerState::Dispatched | WorkerState::Running
    ));
    // In line when it is dropped.
    let mut call = ByHand::new(host.call::<_, _, u64>("count", ()).on_drop(OnDrop::Detach));
    assert!(call.poll().is_pending());
    drop(call);
    assert_eq!(count(), 3);
    // Never polled: it never began.
    drop(ByHand::new(
        host.call::<_, _, u64>("count", ()).on_drop(OnDrop::Detach),
    ));
    assert_eq!(count(), 4);
    // The same through a handle.
    drop(
        host.call::<_, _, u64>("count", ())
            .on_drop(OnDrop::Detach)
            .spawn(),
    );
    eventually(BOUND, || {
        limiter.borrowed() == 0 && host.stats().waiting == 0
    });
    eventually(BOUND, || count() >= 6);
    assert_eq!(only_pid(&host), pid);
    comes_to_rest(&host, &limiter);
}

#[test]
fn the_handle_of_a_detached_call_keeps_its_host_alive() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (builder, _) = probe();
    let host = builder.workers(1).build_blocking().unwrap();
    let call = host.call::<_, _, ()>("sleep_ms", (50u64,));
    let handle = call.on_drop(OnDrop::Detach).spawn();
    drop(host);
    ByHand::new(handle).finish().unwrap();
}

#[test]
fn a_detached_call_does_not_keep_its_host_alive() {
    alone(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // The runtime's own threads and descriptors.
        runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
        let before = census();
        {
            let _entered = runtime.enter();
            let (builder, _) = probe();
            let host = builder.workers(1).build_blocking().unwrap();
            let mut running = ByHand::new(spin(&host).on_drop(OnDrop::Detach));
            assert!(running.poll().is_pending());
            let mut waiting = ByHand::new(spin(&host).on_drop(OnDrop::Detach));
            assert!(waiting.poll().is_pending());
            drop((running, waiting));
            // The same through handles.
            drop(spin(&host).on_drop(OnDrop::Detach).spawn());
            until_running(&host, 1);
        }
        eventually(BOUND, || census().children == before.children);
        eventually(BOUND, || {
            let now = census().counts();
            now.fds == before.counts().fds && !census().threads.contains(&"stockade".to_owned())
        });
    });
}
