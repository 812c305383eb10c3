//! `bare_slot`: a call of a guest in another process, by two cache lines and nothing else. No pool, no limiter, no
//! clock, no stop, no check of what came back: what is left when a product's whole work is taken away.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade_wire::sys::mapping::Mapping;

use super::in_process::{self, InProcess};
use super::line::reads;
use super::peer::{Control, Kind, Peer, is_orphan};
use crate::cpus::{Pinned, TwoCpus};
use crate::guests::HELLO;
use crate::measure::Block;

const MEMORY_BYTES: usize = 4096;

/// Who has written last, and what: each in a line that nobody else writes to.
const REQUEST: usize = 0;
const REPLY: usize = 256;

/// Behind a number that says whose turn it is, and the length.
const LEN: usize = 8;
const BYTES: usize = 16;
const BYTES_MAX: usize = 40;

/// What the peer is told to do, as its number's lowest bit.
const CALLS: u64 = 0;
const POLL: u64 = 1;

/// Our end.
#[derive(Debug)]
pub(crate) struct BareSlot {
    cpu: usize,
    peer: Peer,
    memory: Mapping,
    turn: u64,
    request: Vec<u8>,
}

impl BareSlot {
    pub(crate) fn start(cpus: TwoCpus) -> Result<Self> {
        let (peer, memory) = Peer::sharing(Kind::BareSlot, cpus.theirs, MEMORY_BYTES)?;
        Ok(Self {
            cpu: cpus.ours,
            peer,
            memory,
            turn: 0,
            request: Vec::new(),
        })
    }

    /// Calls of the hello guest's `add`.
    pub(crate) fn block(
        &mut self,
        block: &mut Block<'_>,
        mut call: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let _pinned = Pinned::to(self.cpu)?;
        self.peer.send((block.calls() as u64) << 1 | CALLS)?;
        for _ in 0..block.calls() {
            let start = Instant::now();
            call(self)?;
            block.push(start.elapsed());
        }
        Ok(())
    }

    /// One call, while the peer expects some.
    pub(crate) fn call<A: Serialize, R: DeserializeOwned>(&mut self, args: &A) -> Result<R> {
        in_process::encode(args, &mut self.request)?;
        self.turn += 1;
        write(&self.memory, REQUEST, self.turn, &self.request)?;
        while !reads(&self.memory, REPLY, self.turn) {
            self.peer.check()?;
        }
        let (bytes, len) = read(&self.memory, REPLY)?;
        in_process::decode(&bytes[..len])
    }

    /// Runs `block` while the peer polls its line and gets nothing, as a side of a call does while the other works.
    pub(crate) fn beside_a_poll(&mut self, block: impl FnOnce() -> Result<()>) -> Result<()> {
        let _pinned = Pinned::to(self.cpu)?;
        self.peer.send(POLL)?;
        self.turn += 1;
        // Awake, and about to poll for the next turn.
        while !reads(&self.memory, REPLY, self.turn) {
            self.peer.check()?;
        }
        let result = block();
        self.turn += 1;
        self.memory.store_u64(REQUEST, self.turn);
        // The next turn must not come before it has seen this one, or it would wait for that for ever.
        while !reads(&self.memory, REPLY, self.turn) {
            self.peer.check()?;
        }
        result
    }
}

#[inline]
fn write(memory: &Mapping, place: usize, turn: u64, bytes: &[u8]) -> Result<()> {
    ensure!(bytes.len() <= BYTES_MAX, "more than a line");
    let mut words = [0; BYTES_MAX / 8];
    for (place, byte) in bytes.iter().enumerate() {
        words[place / 8] |= u64::from(*byte) << (place % 8 * 8);
    }
    memory.copy_words_in(place + BYTES, &words);
    memory.store_u64(place + LEN, bytes.len() as u64);
    memory.store_u64(place, turn);
    Ok(())
}

#[inline]
fn read(memory: &Mapping, place: usize) -> Result<([u8; BYTES_MAX], usize)> {
    let len = memory.load_u64(place + LEN) as usize;
    ensure!(len <= BYTES_MAX, "more than a line");
    Ok((memory.copy_words_out(place + BYTES), len))
}

/// The other end.
pub(crate) fn answer(control: &mut Control) -> Result<()> {
    let memory = Mapping::read_write(std::io::stdout(), MEMORY_BYTES)?;
    let mut guest = InProcess::new(HELLO)?;
    let add = guest.export("add")?;
    let mut turn = 0;
    while let Some(order) = control.receive()? {
        let calls = match order & 1 {
            POLL => {
                turn += 1;
                memory.store_u64(REPLY, turn);
                1
            }
            _ => order >> 1,
        };
        for _ in 0..calls {
            turn += 1;
            while !reads(&memory, REQUEST, turn) {
                if is_orphan() {
                    return Ok(());
                }
            }
            if order & 1 == CALLS {
                let (bytes, len) = read(&memory, REQUEST)?;
                let reply = guest.call_encoded(add, &bytes[..len])?;
                write(&memory, REPLY, turn, reply)?;
            } else {
                memory.store_u64(REPLY, turn);
            }
        }
    }
    Ok(())
}
