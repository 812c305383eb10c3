//! What an instance's initialisation left, as a file: from the process that ran it to the compiler that makes
//! it part of the module.
//!
//! The file is whatever a hostile guest's process wrote. Reading it is total: a damaged one is an error, and
//! an undamaged one says nothing but the values of memory and globals.
//!
//! ```text
//! mark (8) │ bytes of memory (8) │ number of globals (4) │ each: index (4), value (16)
//! then, until the end, what is not zero: offset (8) │ length (8) │ bytes
//! ```

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use wasmtime_wizer::{InstanceState, SnapshotVal, ValType};

use crate::guest::{Guest, World};

const MARK: [u8; 8] = *b"STKDDUM1";

/// The names under which an instrumented module exports its state.
const GLOBAL: &str = "__wizer_global_";
const MEMORY: &str = "__wizer_memory_0";

/// What is looked at together: memory without anything in it is left out.
const CHUNK: usize = 4096;

/// The pages of WebAssembly.
const PAGE: u64 = 65_536;

/// Why there is no dump.
#[derive(Debug)]
pub(super) enum Unwritten {
    TooLarge(String),
    Io(io::Error),
}

/// Writes the state of an instance of an instrumented module.
pub(super) fn write<W: World>(
    guest: &mut Guest<W>,
    file: &OwnedFd,
    bytes_max: u64,
) -> Result<(), Unwritten> {
    let mut to = Writer {
        file,
        at: 0,
        bytes_max,
    };
    let (memory, globals) = guest.state(MEMORY, GLOBAL);
    let mut head = Vec::from(MARK);
    head.extend((memory.len() as u64).to_le_bytes());
    head.extend((globals.len() as u32).to_le_bytes());
    for (index, value) in globals {
        head.extend(index.to_le_bytes());
        head.extend(value.to_le_bytes());
    }
    to.put(&head)?;
    for run in runs(memory) {
        let (offset, bytes) = (run.start as u64, &memory[run]);
        to.put(&offset.to_le_bytes())?;
        to.put(&(bytes.len() as u64).to_le_bytes())?;
        to.put(bytes)?;
    }
    Ok(())
}

/// The parts of memory that are not zero, in whole chunks.
fn runs(memory: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let is_zero = |at: usize| {
        let chunk = &memory[at..memory.len().min(at + CHUNK)];
        // Eight at a time, which is how it becomes fast.
        let (words, rest) = chunk.as_chunks::<8>();
        words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|&b| b == 0)
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < memory.len() && is_zero(at) {
            at += CHUNK;
        }
        let start = at;
        while at < memory.len() && !is_zero(at) {
            at += CHUNK;
        }
        (start < memory.len()).then(|| start..at.min(memory.len()))
    })
}

struct Writer<'a> {
    file: &'a OwnedFd,
    at: u64,
    bytes_max: u64,
}

impl Writer<'_> {
    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Unwritten> {
        if self.at + bytes.len() as u64 > self.bytes_max {
            return Err(Unwritten::TooLarge(format!(
                "it leaves more than the {} bytes that can be kept",
                self.bytes_max
            )));
        }
        while !bytes.is_empty() {
            match rustix::io::pwrite(self.file, bytes, self.at) {
                Ok(written) => {
                    self.at += written as u64;
                    bytes = &bytes[written..];
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Unwritten::Io(error.into())),
            }
        }
        Ok(())
    }
}

/// A dump that was read.
#[derive(Debug)]
pub(crate) struct Dump {
    memory: Vec<u8>,
    globals: HashMap<u32, u128>,
    /// Something was asked for that is not there.
    lacks: bool,
}

impl Dump {
    /// Reads a dump.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(mut from: &[u8]) -> Result<Self, &'static str> {
        const CUT: &str = "it is cut off";
        let mark: [u8; 8] = take(&mut from).ok_or(CUT)?;
        if mark != MARK {
            return Err("it does not begin as it should");
        }
        let len = u64::from_le_bytes(take(&mut from).ok_or(CUT)?);
        if !len.is_multiple_of(PAGE) || len > 1 << 32 {
            return Err("its memory is of no possible size");
        }
        let mut dump = Self {
            memory: vec![0; usize::try_from(len).map_err(|_| "its memory is too large")?],
            globals: HashMap::new(),
            lacks: false,
        };
        for _ in 0..u32::from_le_bytes(take(&mut from).ok_or(CUT)?) {
            let index = u32::from_le_bytes(take(&mut from).ok_or(CUT)?);
            let value = u128::from_le_bytes(take(&mut from).ok_or(CUT)?);
            dump.globals.insert(index, value);
        }
        while !from.is_empty() {
            let [offset, len] = [(); 2].map(|()| take(&mut from).map(u64::from_le_bytes));
            let (offset, len) = (offset.ok_or(CUT)?, len.ok_or(CUT)?);
            let len = usize::try_from(len).map_err(|_| CUT)?;
            let (bytes, rest) = from.split_at_checked(len).ok_or(CUT)?;
            from = rest;
            usize::try_from(offset)
                .ok()
                .and_then(|offset| dump.memory.get_mut(offset..)?.get_mut(..len))
                .ok_or("a part of it lies outside its memory")?
                .copy_from_slice(bytes);
        }
        Ok(dump)
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    /// Whether everything was there that was asked for.
    pub(crate) fn was_whole(&self) -> bool {
        !self.lacks
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

impl InstanceState for Dump {
    async fn global_get(&mut self, name: &str, ty: ValType) -> SnapshotVal {
        let index = name.strip_prefix(GLOBAL).and_then(|i| i.parse().ok());
        let found = index.and_then(|index: u32| self.globals.get(&index));
        self.lacks |= found.is_none();
        let bits = found.copied().unwrap_or_default();
        // Cut to the type that the module itself gives.
        match ty {
            ValType::I64 => SnapshotVal::I64(bits as i64),
            ValType::F32 => SnapshotVal::F32(bits as u32),
            ValType::F64 => SnapshotVal::F64(bits as u64),
            ValType::V128 => SnapshotVal::V128(bits),
            ValType::I32 | ValType::Ref(_) => SnapshotVal::I32(bits as i32),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        self.lacks |= name != MEMORY;
        contents(&self.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::from(MARK);
        bytes.extend(PAGE.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(7u32.to_le_bytes());
        bytes.extend(u128::MAX.to_le_bytes());
        bytes.extend((PAGE - 2).to_le_bytes());
        bytes.extend(2u64.to_le_bytes());
        bytes.extend([1, 2]);
        bytes
    }

    #[test]
    fn a_dump_says_what_memory_and_globals_hold() {
        let dump = Dump::read(&sample()).unwrap();
        assert_eq!(dump.memory.len() as u64, PAGE);
        assert_eq!(dump.memory.iter().filter(|byte| **byte != 0).count(), 2);
        assert_eq!(dump.memory.last(), Some(&2));
        assert_eq!(dump.globals[&7], u128::MAX);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_an_error_or_another_dump_and_no_panic() {
        let whole = sample();
        let without_runs = whole.len() - 18;
        for cut in 0..whole.len() {
            let read = Dump::read(&whole[..cut]);
            assert_eq!(read.is_ok(), cut == without_runs, "{cut}");
        }
        for at in 0..whole.len() {
            // The size of memory is claimed and allocated: the process's limits bound that.
            if (8..16).contains(&at) {
                continue;
            }
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let _ = Dump::read(&changed);
            }
        }
        let mut odd = whole;
        odd[8] = 1;
        assert!(Dump::read(&odd).is_err());
    }

    #[test]
    fn only_what_is_not_zero_is_written() {
        let mut memory = vec![0; 5 * CHUNK + 10];
        assert_eq!(runs(&memory).count(), 0);
        for at in [0, 2 * CHUNK, 3 * CHUNK - 1, 3 * CHUNK, 5 * CHUNK + 9] {
            memory[at] = 1;
        }
        let found: Vec<_> = runs(&memory).collect();
        assert_eq!(
            found,
            [0..CHUNK, 2 * CHUNK..4 * CHUNK, 5 * CHUNK..5 * CHUNK + 10]
        );
        memory.fill(1);
        let mut all = runs(&memory);
        assert_eq!((all.next(), all.next()), (Some(0..memory.len()), None));
    }
}
