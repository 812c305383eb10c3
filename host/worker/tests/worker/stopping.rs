//! Stopping calls.

use std::time::{Duration, Instant};

use stockade_wire::message::{InstanceState, Seal, StopBy};
use stockade_wire::slot::Seen;

use crate::guests::WORK;
use crate::tiny_host::{Answer, Options, Worker};

fn workers() -> impl Iterator<Item = Worker> {
    let stops = [StopBy::Epoch, StopBy::Signal];
    let seals = [Seal::Required, Seal::None];
    let states = [InstanceState::Fresh, InstanceState::Keep];
    let seals = stops
        .into_iter()
        .flat_map(move |stop| seals.map(|seal| (stop, seal)));
    seals.flat_map(move |(stop, seal)| {
        states.map(|state| {
            let options = Options {
                stop,
                seal,
                state,
                ..Options::default()
            };
            Worker::of(WORK, &options)
        })
    })
}

#[test]
fn a_stopped_loop_or_sleep_leaves_the_same_process_serving() {
    for mut worker in workers() {
        let pid = worker.pid();
        for function in ["spin", "sleep", "spin"] {
            assert_eq!(worker.stop_running(function), Answer::Interrupted);
            assert_eq!(worker.call("echo", &[0, 5]), Answer::Value(vec![0, 5]));
        }
        assert_eq!(worker.pid(), pid);
    }
}

#[test]
fn a_call_that_was_stopped_before_it_began_is_skipped() {
    for mut worker in workers() {
        let id = worker.next_id();
        worker.stop(id);
        worker.publish("spin", &[0]);
        assert_eq!(worker.wait(), Answer::Skipped);
        let id = worker.next_id();
        assert!(worker.slot().withdraw(id));
        worker.publish("echo", &[0]);
        assert_eq!(worker.wait(), Answer::Skipped);
        assert_eq!(worker.call("echo", &[0]), Answer::Value(vec![0]));
    }
}

#[test]
fn a_late_stop_never_meets_the_next_call() {
    for mut worker in workers() {
        for round in 0..200u8 {
            let id = worker.publish("echo", &[0, round]);
            if round % 2 == 0 {
                worker.wait();
            }
            worker.stop(id);
            if round % 2 != 0 {
                let answer = worker.wait();
                let fine = [
                    Answer::Value(vec![0, round]),
                    Answer::Interrupted,
                    Answer::Skipped,
                ];
                assert!(fine.contains(&answer), "{answer:?}");
            }
            assert_eq!(worker.call("echo", &[0, 9]), Answer::Value(vec![0, 9]));
        }
    }
}

#[test]
fn a_signal_without_a_stop_disturbs_nothing() {
    for mut worker in workers() {
        let id = worker.publish("spin", &[0]);
        worker.wait_accepted();
        for _ in 0..50 {
            worker.signal();
        }
        assert_eq!(worker.slot().look(id), Seen::Nothing);
        worker.stop(id);
        let fine = [Answer::Interrupted, Answer::Skipped];
        assert!(fine.contains(&worker.wait()));
    }
}

#[test]
fn a_worker_ends_when_it_is_asked_to() {
    let mut worker = Worker::of(WORK, &Options::default());
    assert_eq!(worker.call("echo", &[0, 1]), Answer::Value(vec![0, 1]));
    worker.slot().end();
    assert_eq!(worker.ended().code(), Some(0));
}

#[test]
fn a_worker_ends_by_itself_when_its_host_is_not_heard_of_for_too_long() {
    let mut worker = Worker::of(
        WORK,
        &Options {
            idle_timeout: Some(Duration::from_millis(200)),
            ..Options::default()
        },
    );
    assert_eq!(worker.call("echo", &[0, 1]), Answer::Value(vec![0, 1]));
    // Each sign begins its time anew: more of them than fit in it.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(600) {
        worker.slot().stay();
        std::thread::yield_now();
    }
    assert_eq!(worker.call("echo", &[0, 2]), Answer::Value(vec![0, 2]));
    assert_eq!(worker.ended().code(), Some(0));
}
