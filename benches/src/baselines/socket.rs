//! `socket_pingpong`: 64 bytes there and back over a Unix socket between two processes on two CPUs, both
//! blocking. What a wake-up of another process costs.

use std::io::{Read, Write};
use std::time::Instant;

use anyhow::Result;

use super::peer::{Kind, Peer};
use crate::cpus::{Pinned, TwoCpus};
use crate::measure::Block;

const MESSAGE_BYTES: usize = 64;

/// Our end.
#[derive(Debug)]
pub(crate) struct SocketPingPong {
    cpu: usize,
    peer: Peer,
}

impl SocketPingPong {
    pub(crate) fn start(cpus: TwoCpus) -> Result<Self> {
        Ok(Self {
            cpu: cpus.ours,
            peer: Peer::start(Kind::Socket, Some(cpus.theirs), None)?,
        })
    }

    /// Round trips, each timed.
    pub(crate) fn block(&mut self, block: &mut Block<'_>) -> Result<()> {
        let _pinned = Pinned::to(self.cpu)?;
        let mut message = [7; MESSAGE_BYTES];
        for _ in 0..block.calls() {
            let start = Instant::now();
            self.peer.socket.write_all(&message)?;
            self.peer.socket.read_exact(&mut message)?;
            block.push(start.elapsed());
        }
        Ok(())
    }
}

/// The other end.
pub(crate) fn answer() -> Result<()> {
    let socket = std::io::stdin();
    let mut message = [0; MESSAGE_BYTES];
    loop {
        // A message this short is never split, because only one is ever under way.
        let len = rustix::io::read(&socket, &mut message)?;
        if len == 0 {
            return Ok(());
        }
        rustix::io::write(&socket, &message[..len])?;
    }
}
