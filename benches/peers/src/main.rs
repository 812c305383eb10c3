//! The same work in Stockade and in what one would use instead of it, side by side in one run.
//!
//! Each peer is a process of its own that does all of the work once and prints what it measured, a row to
//! a line. The driver runs the peers in turns, several times, and prints the medians. A peer that is not
//! installed is named and skipped.

mod peer;
mod report;
mod session;
mod work;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::session::Session;
use crate::work::Work;

const USAGE: &str = "peers [--rounds N] [--quick] [--json FILE]";

fn main() -> Result<()> {
    // Does nothing but in the processes that procspawn starts, which are this program again.
    procspawn::init();
    let mut arguments = std::env::args().skip(1);
    let (mut rounds, mut quick, mut json) = (3, false, None);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.ok_or_else(|| anyhow::anyhow!("{argument} wants a value\n{USAGE}"))
        };
        match argument.as_str() {
            "--peer" => {
                let (name, work) = (value()?, value()?);
                return peer::run(&name, &serde_json::from_str(&work)?);
            }
            "--rounds" => rounds = value()?.parse()?,
            "--quick" => quick = true,
            "--json" => json = Some(PathBuf::from(value()?)),
            _ => bail!("{argument} is no option\n{USAGE}"),
        }
    }
    let work = if quick { Work::quick() } else { Work::full() };
    let sessions = Session::all()?;
    let report = report::measure(&sessions, &work, if quick { 1 } else { rounds })?;
    print!("{report}");
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}
