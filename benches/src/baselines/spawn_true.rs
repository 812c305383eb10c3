//! `spawn_true`: starting the smallest program there is, and waiting for its end.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::measure::Block;

const PROGRAM: &str = "/bin/true";

/// Starts, each timed.
pub(crate) fn block(block: &mut Block<'_>) -> Result<()> {
    block.time(|| {
        let status = Command::new(PROGRAM).env_clear().status();
        ensure!(status.context(PROGRAM)?.success(), "{PROGRAM} failed");
        Ok(())
    })
}
