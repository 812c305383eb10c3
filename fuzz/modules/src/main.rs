//! `stockade-fuzz-modules WORKER SEED COUNT [KEEP]`: the program of workers (`target/debug/stockade-worker`), the
//! first seed, how many modules, and a directory for some of them.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use stockade_fuzz_modules::{Trials, module, next};

/// How much of a seed's randomness a module is made of.
const BYTES: usize = 4096;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers = |at: usize| arguments.get(at).and_then(|text| text.parse().ok());
    let (Some(worker), Some(seed), Some(count)) = (arguments.first(), numbers(1), numbers(2))
    else {
        eprintln!("usage: stockade-fuzz-modules WORKER SEED COUNT [KEEP]");
        return ExitCode::from(2);
    };
    let keep = arguments.get(3).map(Path::new);
    match run(Path::new(worker), seed..seed + count, keep) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(worker: &Path, seeds: std::ops::Range<u64>, keep: Option<&Path>) -> Result<String, String> {
    let mut trials = Trials::new(worker).map_err(|error| error.to_string())?;
    for seed in seeds {
        // The same for the same seed.
        let mut state = seed;
        let words = (0..BYTES / 8).flat_map(|_| next(&mut state).to_le_bytes());
        let module = module(seed, &words.collect::<Vec<u8>>());
        if let Some(dir) = keep {
            fs::write(dir.join(format!("{seed}.wasm")), &module)
                .map_err(|error| error.to_string())?;
        }
        trials
            .run(module)
            .map_err(|reason| format!("seed {seed}: {reason}"))?;
    }
    Ok(format!("{:?}", trials.tally))
}
