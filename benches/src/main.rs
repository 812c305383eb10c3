//! Measures stockade and, in the same run, what it is compared with.
//!
//! `stockade-bench SUITE [--json FILE] [--plot DIR] [--quick]` prints a table. [`measure`] alternates the two
//! sides of every ratio and owns what a sample is; [`baselines`] are what calls are compared with; [`suites`]
//! say what is measured; [`report`] prints it and [`plot`] draws it. Nothing of the product is pinned to a CPU (but in `cpu`, which
//! compares code) or given a privilege that an ordinary program would not have.

mod baselines;
mod cli;
mod cpus;
mod guests;
mod machine;
mod measure;
mod plot;
mod processes;
mod report;
mod suites;

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::Request;
use crate::machine::Machine;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The other end of a two-process baseline is this program, started again.
    if let Some(result) = baselines::peer::run_if_asked(&arguments) {
        return finish(result);
    }
    match cli::parse(&arguments) {
        Ok(request) => finish(run(&request)),
        Err(refusal) => {
            eprintln!("{refusal}");
            ExitCode::from(2)
        }
    }
}

fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stockade-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(request: &Request) -> Result<()> {
    let machine = Machine::look();
    report::print_header(request.suite.name, &machine, request.quick);
    let outcome = (request.suite.run)(request.quick)
        .with_context(|| format!("the suite {}", request.suite.name))?;
    report::print_table(&outcome);
    if let Some(path) = &request.json {
        let json = report::to_json(request.suite.name, &machine, &outcome)?;
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(dir) = &request.plot {
        let plot = outcome.plot.context("the suite has nothing to draw")?;
        let svg = plot::svg(&plot, &machine.summary())?;
        let path = dir.join(request.suite.name).with_extension("svg");
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&path, svg))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
