//! `shared_line`: one word that two processes on two CPUs take turns to change. No message between
//! processes can be faster.

use std::time::Instant;

use anyhow::Result;
use stockade_wire::sys::mapping::Mapping;

use super::peer::{Control, Kind, Peer, is_orphan};
use crate::cpus::{Pinned, TwoCpus};
use crate::measure::Block;

const MEMORY_BYTES: usize = 4096;
const WORD: usize = 0;

/// Round trips for one sample. One alone is as short as a few steps of the clock.
const ROUND_TRIPS: u64 = 10;

/// Looks at the word before anybody wonders whether the other side still lives.
const LOOKS_MAX: u32 = 1 << 24;

/// Our end.
#[derive(Debug)]
pub(crate) struct SharedLine {
    cpu: usize,
    peer: Peer,
    memory: Mapping,
    /// What the word holds: even when it is our turn.
    turn: u64,
}

impl SharedLine {
    pub(crate) fn start(cpus: TwoCpus) -> Result<Self> {
        let (peer, memory) = Peer::sharing(Kind::Line, cpus.theirs, MEMORY_BYTES)?;
        Ok(Self {
            cpu: cpus.ours,
            peer,
            memory,
            turn: 0,
        })
    }

    /// Round trips; a sample is the mean of [`ROUND_TRIPS`].
    pub(crate) fn block(&mut self, block: &mut Block<'_>) -> Result<()> {
        let _pinned = Pinned::to(self.cpu)?;
        self.peer.send(block.calls() as u64 * ROUND_TRIPS)?;
        let Self {
            peer, memory, turn, ..
        } = self;
        for _ in 0..block.calls() {
            let start = Instant::now();
            for _ in 0..ROUND_TRIPS {
                memory.store_u64(WORD, *turn + 1);
                *turn += 2;
                while !reads(memory, WORD, *turn) {
                    peer.check()?;
                }
            }
            block.push_mean(start.elapsed(), ROUND_TRIPS);
        }
        Ok(())
    }
}

/// With a pause after each look that was in vain, as the product polls: without it both sides tear at the
/// line, and a round trip takes half as long again.
#[inline]
pub(super) fn reads(memory: &Mapping, word: usize, wanted: u64) -> bool {
    (0..LOOKS_MAX).any(|_| {
        let read = memory.load_u64(word) == wanted;
        if !read {
            std::hint::spin_loop();
        }
        read
    })
}

/// The other end: told how many round trips follow, it answers them, and sleeps in between.
pub(crate) fn answer(control: &mut Control) -> Result<()> {
    let memory = Mapping::read_write(std::io::stdout(), MEMORY_BYTES)?;
    let mut turn = 0;
    while let Some(round_trips) = control.receive()? {
        for _ in 0..round_trips {
            while !reads(&memory, WORD, turn + 1) {
                if is_orphan() {
                    return Ok(());
                }
            }
            turn += 2;
            memory.store_u64(WORD, turn);
        }
    }
    Ok(())
}
