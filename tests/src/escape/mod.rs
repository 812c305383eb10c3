//! What code that has escaped from WebAssembly would try, tried natively: each attack against each wall alone,
//! against all of them, and against none, where it must succeed or is no attack.
//!
//! `escape walls DIR` prints a table whose columns are [`column::WALLS`], `escape roles DIR` one of
//! [`column::ROLES`], with more attacks: by calls that only some of these admit. A cell is `.` where the attack worked,
//! else the error or the signal that stopped it. Every cell is a process of its own, a fork of this one; this one
//! plays the host that they attack.
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

use attacks::Attack;
use cell::Sibling;
use column::Column;
use stage::Stage;

/// The one attack that is made by doing nothing.
const OUTLIVE_HOST: &str = "outlive-host";

/// Runs the program.
///
/// # Panics
/// When the stage cannot be set up.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["walls", dir] => {
            let stage = Stage::set_up(Path::new(dir));
            let columns = with_siblings(&stage, &column::WALLS);
            print_table(&stage, &columns, attacks::all());
            print_outliving(&stage, &columns);
            ExitCode::SUCCESS
        }
        ["roles", dir] => {
            let stage = Stage::set_up(Path::new(dir));
            let columns = with_siblings(&stage, &column::ROLES);
            print_table(&stage, &columns, attacks::of_roles());
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

/// Columns, and another process for each.
type Columns = [(Column, Option<Sibling>)];

fn with_siblings(stage: &Stage, columns: &[Column]) -> Box<Columns> {
    let start = |column: &Column| (*column, Sibling::start(stage, *column));
    columns.iter().map(start).collect()
}

fn print_table<'a>(stage: &Stage, columns: &Columns, attacks: impl Iterator<Item = &'a Attack>) {
    print!("attack");
    for (column, _) in columns {
        print!(" {}", column.name());
    }
    println!();
    for attack in attacks {
        print!("{}", attack.name);
        for (column, sibling) in columns {
            print!(
                " {}",
                cell::attempt(stage, *column, sibling.as_ref(), attack)
            );
        }
        println!();
    }
}

fn print_outliving(stage: &Stage, columns: &Columns) {
    print!("{OUTLIVE_HOST}");
    for (column, sibling) in columns {
        print!(" {}", cell::outlive_host(stage, *column, sibling.as_ref()));
    }
    println!();
}
