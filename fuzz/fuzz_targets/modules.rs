//! Modules that nobody wrote, through the whole pool. `STOCKADE_WORKER` names the program of workers; by default it is
//! that which the repository's tests build.
#![no_main]

use std::path::Path;
use std::sync::{LazyLock, Mutex};

use libfuzzer_sys::fuzz_target;
use stockade_fuzz_modules::{Trials, module};

static TRIALS: LazyLock<Mutex<Trials>> = LazyLock::new(|| {
    let built = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/debug/stockade-worker"
    );
    let worker = std::env::var("STOCKADE_WORKER").unwrap_or_else(|_| built.to_owned());
    Mutex::new(Trials::new(Path::new(&worker)).expect("there are workers"))
});

fuzz_target!(|input: (u64, &[u8])| {
    let (seed, bytes) = input;
    let mut trials = TRIALS.lock().expect("one at a time");
    trials
        .run(module(seed, bytes))
        .expect("it harms nobody but itself");
});
