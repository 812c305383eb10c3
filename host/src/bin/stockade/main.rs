//! Stockade from the command line: call, inspect, compile and measure WebAssembly modules in sealed worker
//! processes.

mod bench;
mod call;
mod compile;
mod doctor;
mod histogram;
mod inspect;
mod json;
mod new;
mod options;
mod plot;
mod run;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Run functions of WebAssembly modules that you do not trust.
#[derive(Debug, Parser)]
#[command(
    name = "stockade",
    version,
    max_term_width = 100,
    propagate_version = true,
    after_help = concat!(
        "Examples:\n  \
           stockade new demo\n  \
           stockade inspect guest.wasm\n  \
           stockade call guest.wasm fib 32 --timeout 50ms\n\n",
        options::exit_codes!(),
        "\n\n`stockade COMMAND --help` says more about each."
    )
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Call(call::Call),
    Inspect(inspect::Inspect),
    Compile(compile::Compile),
    Bench(bench::Bench),
    Run(run::Run),
    New(new::New),
    Doctor(doctor::Doctor),
    /// Print completions for a shell
    #[command(after_help = concat!(
        "Examples:\n  \
           stockade completions bash > ~/.local/share/bash-completion/completions/stockade\n  \
           stockade completions fish > ~/.config/fish/completions/stockade.fish\n\n",
        options::exit_codes!()
    ))]
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
        Command::New(new) => new.run(),
        Command::Run(run) => match run.run() {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "stockade", &mut script);
            terminal::print(&script)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if terminal::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!(
                "{} {}",
                terminal::styled(terminal::BAD, "stockade:"),
                in_words(&error)
            );
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line; some say what their cause says.
fn in_words(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
