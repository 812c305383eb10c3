//! What a guest asks of the machine: time, randomness, the processor; and its own end.

use wasmtime::{Caller, Error, Result};

use super::MODULE;
use super::clocks::{REALTIME, THREAD_CPU};
use super::errno::{INVAL, SUCCESS};
use super::pointer::{bytes_mut, errno, put};
use crate::guest::{Halt, Linking, State, World, memory_and_state};

/// Between two pieces of this length it is asked whether the call is to be stopped.
const RANDOM_CHUNK: u32 = 64 << 10;

pub(super) fn link<W: World>(linking: &mut Linking<'_, State<W>>) -> Result<()> {
    linking.func_wrap(
        MODULE,
        "clock_time_get",
        |mut caller: Caller<'_, State<W>>, clock: u32, _precision: u64, at: u32| {
            let (memory, state) = memory_and_state(&mut caller);
            match state.wasi.clocks.now(clock) {
                Some(now) => errno(put(memory, at, now.to_le_bytes())),
                None => INVAL,
            }
        },
    )?;
    linking.func_wrap(
        MODULE,
        "clock_res_get",
        |mut caller: Caller<'_, State<W>>, clock: u32, at: u32| {
            let (memory, _) = memory_and_state(&mut caller);
            match clock {
                REALTIME..=THREAD_CPU => errno(put(memory, at, 1u64.to_le_bytes())),
                _ => INVAL,
            }
        },
    )?;
    linking.func_wrap(MODULE, "random_get", random_get::<W>)?;
    linking.func_wrap(MODULE, "sched_yield", || SUCCESS)?;
    linking.func_wrap(MODULE, "proc_exit", |code: i32| -> Result<()> {
        Err(Error::new(Halt::Exit(code)))
    })?;
    Ok(())
}

fn random_get<W: World>(
    mut caller: Caller<'_, State<W>>,
    mut at: u32,
    mut len: u32,
) -> Result<i32> {
    let (memory, state) = memory_and_state(&mut caller);
    if let Err(fault) = bytes_mut(memory, at, len) {
        return Ok(errno(Err(fault)));
    }
    while len > 0 {
        if state.world.stop_requested() {
            return Err(Error::new(Halt::Stopped));
        }
        let chunk = len.min(RANDOM_CHUNK);
        if let Ok(to) = bytes_mut(memory, at, chunk) {
            state.wasi.random.fill(to)?;
        }
        // The last piece may end where the address space does.
        at = at.wrapping_add(chunk);
        len -= chunk;
    }
    Ok(SUCCESS)
}
