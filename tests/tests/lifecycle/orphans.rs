//! Nothing outlives a host process, however that ends.

use std::process::Command;

use stockade_tests::orphans::{self, End};

const VARIABLE: &str = "STOCKADE_TEST_VICTIM";

/// Has host processes end, which this test program becomes when it is asked for `test` again.
#[track_caller]
fn nothing_is_left(test: &str, ends: &[End]) {
    if let Some(end) = std::env::var_os(VARIABLE) {
        let end = end.to_str().and_then(End::of_name);
        return orphans::victim(end.expect("an end's name"), None);
    }
    let seen = orphans::run(ends, 1, |end| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(VARIABLE, end.name());
        command
    });
    println!("{seen}");
    assert!(seen.broken.is_empty(), "{seen}");
    assert!(seen.processes > 0, "there was something to leave: {seen}");
}

#[test]
fn a_host_process_that_is_killed_at_any_moment_leaves_no_process() {
    nothing_is_left(
        "orphans::a_host_process_that_is_killed_at_any_moment_leaves_no_process",
        &[End::Killed; 24],
    );
}

#[test]
fn a_host_process_that_forks_execs_panics_aborts_or_exits_leaves_no_process() {
    nothing_is_left(
        "orphans::a_host_process_that_forks_execs_panics_aborts_or_exits_leaves_no_process",
        &End::ALL[1..],
    );
}
