//! Many calls, and somebody who kills, stops, corrupts, drops and cancels at random.

use std::path::Path;

use stockade_tests::alone;
use stockade_tests::storm::{self, Plan, spun};

#[test]
fn what_the_guest_computes_is_known() {
    for turns in 0..100 {
        assert_eq!(spun(turns), probe::faults::spin_for(turns));
    }
}

#[test]
fn every_call_resolves_once_with_its_own_answer_and_a_kill_costs_at_most_one() {
    alone(|| {
        let verdicts = storm::run(&Plan {
            calls: 20_000,
            kills: 500,
            seed: 1,
            worker_type: None,
            hostile: Path::new(env!("CARGO_BIN_EXE_hostile")),
        });
        for verdict in &verdicts {
            println!("{verdict}");
        }
        assert!(verdicts.iter().all(|verdict| verdict.broken.is_empty()));
    });
}
