//! The three descriptors that exist. Standard input is a command's, else at its end; output is kept or dropped, and accepted
//! either way: a guest must not fail because nobody reads what it prints.

use wasmtime::{Caller, Error, Result};

use super::errno::{BADF, FAULT, INVAL, SPIPE, SUCCESS};
use super::pointer::{Fault, bytes, bytes_mut, errno, field, put};
use super::{MODULE, Wasi};
use crate::guest::{Halt, Linking, State, World, memory_and_state};

/// The most pieces of one write; the rest is left to the guest's next one.
const IOVECS_MAX: u32 = 1024;

const CHARACTER_DEVICE: u8 = 2;
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_WRITE: u64 = 1 << 6;

const STDIN: u32 = 0;
const STDERR: u32 = 2;

fn known(fd: u32, then: i32) -> i32 {
    if fd <= STDERR { then } else { BADF }
}

pub(super) fn link<W: World>(linking: &mut Linking<'_, State<W>>) -> Result<()> {
    linking.func_wrap(MODULE, "fd_write", fd_write::<W>)?;
    linking.func_wrap(
        MODULE,
        "fd_read",
        |mut caller: Caller<'_, State<W>>, fd: u32, iovecs: u32, count: u32, read: u32| {
            if fd != STDIN {
                return BADF;
            }
            let (memory, state) = memory_and_state(&mut caller);
            errno(read_stdin(memory, &mut state.wasi, iovecs, count, read))
        },
    )?;
    linking.func_wrap(MODULE, "fd_close", |fd: u32| known(fd, SUCCESS))?;
    linking.func_wrap(MODULE, "fd_seek", |fd: u32, _: i64, _: u32, _: u32| {
        known(fd, SPIPE)
    })?;
    linking.func_wrap(MODULE, "fd_tell", |fd: u32, _: u32| known(fd, SPIPE))?;
    linking.func_wrap(MODULE, "fd_fdstat_set_flags", |fd: u32, _: u32| {
        known(fd, SUCCESS)
    })?;
    linking.func_wrap(
        MODULE,
        "fd_fdstat_get",
        |mut caller: Caller<'_, State<W>>, fd: u32, at: u32| {
            let rights = match fd {
                STDIN => RIGHT_READ,
                1..=STDERR => RIGHT_WRITE,
                _ => return BADF,
            };
            let mut stat = [0; 24];
            stat[0] = CHARACTER_DEVICE;
            stat[8..16].copy_from_slice(&rights.to_le_bytes());
            let (memory, _) = memory_and_state(&mut caller);
            errno(put(memory, at, stat))
        },
    )?;
    linking.func_wrap(
        MODULE,
        "fd_filestat_get",
        |mut caller: Caller<'_, State<W>>, fd: u32, at: u32| {
            if fd > STDERR {
                return BADF;
            }
            let mut stat = [0; 64];
            stat[16] = CHARACTER_DEVICE;
            let (memory, _) = memory_and_state(&mut caller);
            errno(put(memory, at, stat))
        },
    )?;
    Ok(())
}

fn read_stdin(
    memory: &mut [u8],
    wasi: &mut Wasi,
    iovecs: u32,
    count: u32,
    read: u32,
) -> Result<(), Fault> {
    let mut total = 0u32;
    if let Some(command) = &mut wasi.command {
        for index in 0..count.min(IOVECS_MAX) {
            let (at, room) = iovec(memory, iovecs, index)?;
            let left = &command.stdin[command.read..];
            // At most the room, which is 32 bits long.
            let len = left.len().min(room as usize) as u32;
            bytes_mut(memory, at, len)?.copy_from_slice(&left[..len as usize]);
            command.read += len as usize;
            total = total.saturating_add(len);
        }
    }
    put(memory, read, total.to_le_bytes())
}

fn fd_write<W: World>(
    mut caller: Caller<'_, State<W>>,
    fd: u32,
    iovecs: u32,
    count: u32,
    written: u32,
) -> Result<i32> {
    let (memory, state) = memory_and_state(&mut caller);
    let stream = match fd {
        1 => 0,
        STDERR => 1,
        STDIN => return Ok(INVAL),
        _ => return Ok(BADF),
    };
    let keep = state.wasi.setup.keep_output[stream];
    // Checked before anything is written, so that a fault has no effect.
    if bytes_mut(memory, written, 4).is_err() {
        return Ok(FAULT);
    }
    let mut total = 0u32;
    for index in 0..count.min(IOVECS_MAX) {
        match piece(memory, iovecs, index) {
            Ok(piece) => {
                let Some(sum) = total.checked_add(piece.len() as u32) else {
                    break;
                };
                total = sum;
                if keep {
                    let taken = state.world.write_output(stream, piece);
                    taken.map_err(|stopped| Error::new(Halt::from(stopped)))?;
                }
            }
            Err(Fault) => return Ok(FAULT),
        }
    }
    Ok(errno(put(memory, written, total.to_le_bytes())))
}

/// The bytes that entry `index` of a list of (pointer, length) names.
fn piece(memory: &[u8], iovecs: u32, index: u32) -> Result<&[u8], Fault> {
    let (at, len) = iovec(memory, iovecs, index)?;
    bytes(memory, at, len)
}

/// Entry `index` of a list of (pointer, length).
fn iovec(memory: &[u8], iovecs: u32, index: u32) -> Result<(u32, u32), Fault> {
    let entry = iovecs
        .checked_add(index.checked_mul(8).ok_or(Fault)?)
        .ok_or(Fault)?;
    let at = u32::from_le_bytes(field(memory, entry, 0)?);
    let len = u32::from_le_bytes(field(memory, entry, 4)?);
    Ok((at, len))
}
