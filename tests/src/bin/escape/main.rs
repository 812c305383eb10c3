//! What code that has escaped from WebAssembly would try, tried natively: each attack against each wall alone,
//! against all of them, and against none, where it must succeed or is no attack.
//!
//! `escape matrix DIR` prints a table. Its rows are [`attacks::ALL`], its columns [`column::ALL`]; a cell is
//! `.` where the attack worked, else the error or the signal that stopped it. Every cell is a process of its
//! own, a fork of this one; this one plays the host that they attack.
//!
//! The walls are those of `stockade-worker`, built by its own code: see `stockade_worker::proof`.

mod attacks;
mod call;
mod cell;
mod column;
mod outcome;
mod stage;

use std::path::Path;
use std::process::ExitCode;

use stage::Stage;

/// The one attack that is made by doing nothing.
const OUTLIVE_HOST: &str = "outlive-host";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["matrix", dir] => {
            print_matrix(&Stage::set_up(Path::new(dir)));
            ExitCode::SUCCESS
        }
        // What an attack executes.
        ["executed"] => ExitCode::SUCCESS,
        _ => {
            eprintln!("escape: this program is started by tests, not by hand");
            ExitCode::from(2)
        }
    }
}

fn print_matrix(stage: &Stage) {
    let columns = column::ALL.map(|column| (column, cell::Sibling::start(stage, column)));
    print!("attack");
    for (column, _) in &columns {
        print!(" {}", column.name());
    }
    println!();
    for attack in attacks::all() {
        print!("{}", attack.name);
        for (column, sibling) in &columns {
            print!(" {}", cell::attempt(stage, *column, sibling, attack));
        }
        println!();
    }
    print!("{OUTLIVE_HOST}");
    for (column, _) in &columns {
        print!(" {}", cell::outlive_host(stage, *column));
    }
    println!();
}
