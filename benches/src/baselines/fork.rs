//! `bare_fork`: fork, exit and reap of a small process that does nothing. What a new process costs at least.
//!
//! Forked by a peer, because a fork copies the page tables of its parent, and this program is large.
#![expect(
    unsafe_code,
    reason = "fork; the only way to make a process without a program"
)]

use std::io;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::peer::{Control, Kind, Peer};
use crate::measure::Block;

/// Our end.
#[derive(Debug)]
pub(crate) struct BareFork(Peer);

impl BareFork {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self(Peer::start(Kind::Fork, None, None)?))
    }

    /// Forks, each timed where it happens.
    pub(crate) fn block(&mut self, block: &mut Block<'_>) -> Result<()> {
        for _ in 0..block.calls() {
            self.0.send(1)?;
            block.push(Duration::from_nanos(self.0.receive()?));
        }
        Ok(())
    }
}

/// The other end: forks once for each number, and answers how many nanoseconds that took.
pub(crate) fn answer(control: &mut Control) -> Result<()> {
    while control.receive()?.is_some() {
        let start = Instant::now();
        fork_and_reap()?;
        control.send(u64::try_from(start.elapsed().as_nanos())?)?;
    }
    Ok(())
}

fn fork_and_reap() -> io::Result<()> {
    // SAFETY: this process has one thread, so its child may do anything; it only ends.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: ends the process without running anything else.
        0 => unsafe { libc::_exit(0) },
        child => {
            let mut status = 0;
            // SAFETY: `status` is valid for one `c_int`.
            match unsafe { libc::waitpid(child, &raw mut status, 0) } {
                -1 => Err(io::Error::last_os_error()),
                _ => Ok(()),
            }
        }
    }
}
