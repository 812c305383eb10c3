//! A storm as long as one likes: many calls, and somebody who kills, stops and corrupts workers; races of
//! cancellation; host processes that are killed. One line for each thing that must hold, and exit code 1 if one
//! does not. The same seed gives the same calls and the same deeds.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use stockade::{Interrupt, WorkerType};
use stockade_tests::orphans::{self, End};
use stockade_tests::races;
use stockade_tests::storm::{self, Plan};

/// Makes a storm around hosts and says what held.
#[derive(Debug, Parser)]
struct Options {
    /// How many calls.
    #[arg(long, default_value_t = 20_000)]
    calls: u64,
    /// How often a worker is killed or stopped meanwhile.
    #[arg(long, default_value_t = 500)]
    kills: u64,
    /// How many calls are cancelled about when they end; a hundredth as many by a kill.
    #[arg(long, default_value_t = 0)]
    races: u64,
    /// How many host processes are killed.
    #[arg(long, default_value_t = 0)]
    host_kills: u64,
    /// What the calls and the deeds are.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How workers are made [default: the library's].
    #[arg(long)]
    worker_type: Option<Type>,
    /// Be a host process that ends so.
    #[arg(long, hide = true, value_parser = |name: &str| End::of_name(name).ok_or("no such end"))]
    victim: Option<End>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Type {
    Spawn,
    ForkServer,
}

impl Type {
    fn of(self) -> WorkerType {
        match self {
            Self::Spawn => WorkerType::Spawn,
            Self::ForkServer => WorkerType::ForkServer,
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let worker_type = options.worker_type.map(Type::of);
    if let Some(end) = options.victim {
        orphans::victim(end, worker_type);
        return ExitCode::SUCCESS;
    }
    let mut held = true;
    let mut tell = |line: &dyn std::fmt::Display, holds: bool| {
        held &= holds;
        println!("{line}");
    };
    let seed = options.seed;
    if options.calls > 0 {
        let hostile = match hostile() {
            Ok(path) => path,
            Err(reason) => {
                eprintln!("storm: {reason}");
                return ExitCode::from(2);
            }
        };
        let begun = Instant::now();
        let verdicts = storm::run(&Plan {
            calls: options.calls,
            kills: options.kills,
            seed,
            worker_type,
            hostile: &hostile,
        });
        for verdict in verdicts {
            tell(&verdict, verdict.broken.is_empty());
        }
        eprintln!("storm: {:.1} s", begun.elapsed().as_secs_f64());
    }
    if options.races > 0 {
        for (interrupt, count) in [
            (Interrupt::Epoch, options.races),
            (Interrupt::Signal, options.races),
            (Interrupt::KillOnly, options.races / 100),
        ] {
            let begun = Instant::now();
            let seen = races::run(count, seed, interrupt, worker_type);
            tell(&seen, seen.broken.is_empty());
            eprintln!("races: {:.1} s", begun.elapsed().as_secs_f64());
        }
    }
    if options.host_kills > 0 {
        let ends: Vec<_> = (0..options.host_kills).map(|_| End::Killed).collect();
        let others = &End::ALL[1..];
        for ends in [&*ends, others] {
            let begun = Instant::now();
            let seen = orphans::run(ends, seed, |end| victim(end, options.worker_type));
            tell(&seen, seen.broken.is_empty());
            eprintln!("hosts: {:.1} s", begun.elapsed().as_secs_f64());
        }
    }
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn victim(end: End, worker_type: Option<Type>) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(["--victim", end.name()]);
    if let Some(worker_type) = worker_type.and_then(|one| one.to_possible_value()) {
        command.args(["--worker-type", worker_type.get_name()]);
    }
    command
}

/// The program whose workers lie, which `cargo run` does not build along.
fn hostile() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = program.with_file_name("hostile");
    if let Some(cargo) = std::env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build.args([
            "build",
            "--quiet",
            "--package",
            "stockade-tests",
            "--bin",
            "hostile",
        ]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let built = build.status().is_ok_and(|status| status.success());
        if !built {
            return Err("the program `hostile` does not build".to_owned());
        }
    }
    if path.is_file() {
        return Ok(path);
    }
    let missing = path.display();
    Err(format!(
        "{missing} is missing: build it with `cargo build --package stockade-tests --bin hostile`"
    ))
}
