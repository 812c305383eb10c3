//! Stockade from the command line: call, inspect, compile and measure WebAssembly modules in sealed worker
//! processes.

mod bench;
mod call;
mod doctor;
mod inspect;
mod json;
mod options;
mod run;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Run functions of WebAssembly modules that you do not trust.
#[derive(Debug, Parser)]
#[command(
    name = "stockade",
    version,
    max_term_width = 100,
    propagate_version = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Call a function with JSON arguments and print its JSON result
    Call(call::Call),
    /// Say what a module is and what can be called in it
    Inspect(inspect::Inspect),
    /// Compile a module into the cache
    Compile(inspect::Compile),
    /// Measure how fast a function can be called
    Bench(bench::Bench),
    /// Run a WASI command module
    Run(run::Run),
    /// Say which walls this machine offers
    Doctor(doctor::Doctor),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    // A reader that has seen enough, such as `head`, ends us quietly rather than by a panic.
    let done = match Cli::parse().command {
        Command::Call(call) => call.run(),
        Command::Inspect(inspect) => inspect.run(),
        Command::Compile(compile) => compile.run(),
        Command::Bench(bench) => bench.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Run(run) => match run.run() {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stockade", &mut script);
            options::print(&script)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if options::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stockade: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
