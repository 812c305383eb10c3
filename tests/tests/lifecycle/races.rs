//! A call that is cancelled about when it ends.

use stockade::Interrupt;
use stockade_tests::races::{self, Races};

#[track_caller]
fn both_sides_win_and_nothing_else_happens(races: u64, interrupt: Interrupt) {
    let seen: Races = races::run(races, 1, interrupt, None);
    assert!(seen.broken.is_empty(), "{seen}");
    assert_eq!(seen.answered + seen.cancelled, races, "{seen}");
    assert!(
        seen.answered.min(seen.cancelled) > races / 20,
        "no race: {seen}"
    );
}

#[test]
fn a_cancel_against_the_end_of_its_call_is_won_by_one_of_them_and_the_worker_serves_on() {
    both_sides_win_and_nothing_else_happens(10_000, Interrupt::Epoch);
    both_sides_win_and_nothing_else_happens(10_000, Interrupt::Signal);
}

#[test]
fn a_cancel_that_kills_never_meets_the_next_call() {
    both_sides_win_and_nothing_else_happens(200, Interrupt::KillOnly);
}
