//! What a call sees of those before it.

use std::time::Duration;

use probe::state;
use stockade::{Cause, Error, State, WorkerType};
use stockade_tests::{INTERRUPTS, guest, host_of};

#[tokio::test]
async fn a_fresh_call_sees_nothing_of_those_before_it() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    let untouched = host.run_sync(state::memory_bytes, ()).await.unwrap();
    // From one page to more than a worker keeps resident: both ways of resetting.
    for bytes in [1, 4096, 100_000, 1 << 20, 4 << 20] {
        assert_eq!(host.run_sync(state::dirty, (bytes,)).await.unwrap(), bytes);
        assert!(
            !host.run_sync(state::read_dirty, ()).await.unwrap(),
            "{bytes}"
        );
        let grown = host.run_sync(state::leak, (bytes,)).await.unwrap();
        assert!(grown >= untouched);
        assert_eq!(
            host.run_sync(state::memory_bytes, ()).await.unwrap(),
            untouched
        );
        assert_eq!(host.run_sync(state::count, ()).await.unwrap(), 1);
    }
    assert_eq!(host.stats().workers.len(), 1);
}

#[tokio::test]
async fn a_kept_instance_serves_one_call_after_the_other() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    for expected in 1..=100 {
        assert_eq!(host.run_sync(state::count, ()).await.unwrap(), expected);
    }
    assert!(!host.run_sync(state::read_dirty, ()).await.unwrap());
    assert_eq!(host.run_sync(state::dirty, (1,)).await.unwrap(), 1);
    assert!(host.run_sync(state::read_dirty, ()).await.unwrap());
    let grown = host.run_sync(state::leak, (1 << 20,)).await.unwrap();
    assert_eq!(host.run_sync(state::memory_bytes, ()).await.unwrap(), grown);
}

#[tokio::test]
async fn a_kept_instance_that_failed_is_replaced_in_the_same_process() {
    let host = host_of(guest::probe())
        .workers(1)
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    let pid = host.stats().workers[0].pid;
    assert_eq!(host.run_sync(state::count, ()).await.unwrap(), 1);
    assert_eq!(host.run_sync(state::count, ()).await.unwrap(), 2);
    let error = host
        .run_sync(probe::faults::unreachable, ())
        .await
        .unwrap_err();
    let Error::BrokenWorker(broken) = &error else {
        panic!("{error:?}")
    };
    assert!(matches!(broken.cause(), Cause::Trap(_)), "{error}");
    assert_eq!(host.run_sync(state::count, ()).await.unwrap(), 1);
    assert_eq!(host.stats().workers[0].pid, pid);
}

#[tokio::test]
async fn every_choice_of_how_workers_run_serves_calls() {
    for interrupt in INTERRUPTS {
        for keep in [State::Fresh, State::Keep] {
            let host = host_of(guest::probe())
                .workers(1)
                .worker_type(WorkerType::Spawn)
                .interrupt(interrupt)
                .interrupt_grace(Duration::from_secs(1))
                .state(keep)
                .build()
                .await
                .unwrap();
            let counts = [
                host.run_sync(state::count, ()).await.unwrap(),
                host.run_sync(state::count, ()).await.unwrap(),
            ];
            assert_eq!(counts, if keep == State::Keep { [1, 2] } else { [1, 1] });
        }
    }
}
