//! The peers that are Rust libraries.

mod extism;
mod procspawn;
mod spawn_blocking;
mod stockade;

use anyhow::{Result, bail};

use crate::work::Work;

/// Does all of the work with one of them.
pub fn run(name: &str, work: &Work) -> Result<()> {
    match name {
        "stockade" => stockade::run(work, ::stockade::State::Keep),
        "stockade_fresh" => stockade::run(work, ::stockade::State::Fresh),
        "spawn_blocking" => spawn_blocking::run(work),
        "extism" => extism::run(work),
        "procspawn" => procspawn::run(work),
        _ => bail!("there is no peer {name}"),
    }
}
