//! What the module `stockade` offers to guests.
//!
//! A guest names memory by address and length; nothing here trusts either. What waits for the host waits through
//! the guest's [`World`], or a call could not be stopped.

use wasmtime::{Caller, Error, Extern, Result};

use super::failure::Halt;
use super::linking::Linking;
use super::state::{Panic, State, memory_and_state};
use super::world::{Stopped, World};
use crate::abi;
use crate::wasi::{bytes, bytes_mut};

pub(super) fn link<W: World>(linking: &mut Linking<'_, State<W>>) -> Result<()> {
    linking.func_wrap(
        abi::MODULE,
        "panic",
        |mut caller: Caller<'_, State<W>>, ptr: u32, len: u32| {
            let (memory, state) = memory_and_state(&mut caller);
            let report = bytes(memory, ptr, len).unwrap_or_default();
            // The first report is the cause; a second one is a panic while panicking.
            state
                .panic
                .get_or_insert_with(|| Panic::from_report(report));
        },
    )?;
    linking.func_wrap(
        abi::MODULE,
        "log",
        |mut caller: Caller<'_, State<W>>, level: u32, ptr: u32, len: u32| -> Result<()> {
            let (memory, state) = memory_and_state(&mut caller);
            let text = named(memory, "log", ptr, len)?;
            let level = level.try_into().unwrap_or(u8::MAX);
            state.world.log(level, text).map_err(halt)
        },
    )?;
    linking.func_wrap(
        abi::MODULE,
        "progress",
        |caller: Caller<'_, State<W>>, done: u64, total: u64| {
            caller.data().world.progress([done, total]);
        },
    )?;
    linking.func_wrap(
        abi::MODULE,
        "emit",
        |mut caller: Caller<'_, State<W>>, ptr: u32, len: u32| -> Result<()> {
            let (memory, state) = memory_and_state(&mut caller);
            let item = named(memory, "emit", ptr, len)?;
            if !state.world.takes_items() {
                return Ok(());
            }
            fits(&state.world, item.len())?;
            state.world.emit(item).map_err(halt)
        },
    )?;
    linking.func_wrap(abi::MODULE, "call", call_host::<W>)?;
    Ok(())
}

/// Has a function of the host's run, and puts its answer where the guest's allocator says.
fn call_host<W: World>(
    mut caller: Caller<'_, State<W>>,
    name: u32,
    name_len: u32,
    request: u32,
    request_len: u32,
) -> Result<u64> {
    let (memory, state) = memory_and_state(&mut caller);
    let name = named(memory, "call", name, name_len)?;
    let request = named(memory, "call", request, request_len)?;
    // With what goes before the name.
    fits(&state.world, name.len() + request.len() + size_of::<u32>())?;
    let answered = state.world.call_host(name, request).map_err(halt)?;
    // Nobody could: there is no call.
    let len = answered.unwrap_or(NO_CALL.len());
    let at = allocate(&mut caller, len)?;
    let (memory, state) = memory_and_state(&mut caller);
    let Ok(room) = bytes_mut(memory, at, len as u32) else {
        return Err(Error::msg(format!(
            "stockade_alloc({len}) returned {at:#x}, which is outside the memory"
        )));
    };
    match answered {
        Some(_) => state.world.read_answer(room),
        None => room.copy_from_slice(NO_CALL),
    }
    Ok(abi::pack(at, len as u32))
}

/// The answer while no call is under way, so to start code.
const NO_CALL: &[u8] = b"\x03no call is under way whose host could run it";
const _: () = assert!(NO_CALL[0] == abi::STATUS_NO_FUNCTION);

/// Room for an answer, by the guest's own allocator. The length fits in 31 bits.
fn allocate<W: World>(caller: &mut Caller<'_, State<W>>, len: usize) -> Result<u32> {
    let alloc = caller
        .get_export(abi::ALLOC)
        .and_then(Extern::into_func)
        .ok_or_else(|| {
            Error::msg(format!(
                "it imports `call`, but exports no `{}`, which that needs",
                abi::ALLOC
            ))
        })?;
    let alloc = alloc.typed::<u32, u32>(&*caller)?;
    match alloc.call(&mut *caller, len as u32)? {
        0 => Err(Error::new(Halt::NoRoom(len as u64))),
        at => Ok(at),
    }
}

/// Memory that the guest named.
fn named<'a>(memory: &'a [u8], import: &str, at: u32, len: u32) -> Result<&'a [u8]> {
    bytes(memory, at, len).map_err(|_| {
        Error::msg(format!(
            "it called `{import}` with {len} bytes at {at:#x}, which is outside the memory"
        ))
    })
}

fn fits(world: &impl World, bytes: usize) -> Result<()> {
    if bytes > world.payload_bytes_max() {
        return Err(Error::new(Halt::TooLarge(bytes as u64)));
    }
    Ok(())
}

fn halt(stopped: Stopped) -> Error {
    Error::new(Halt::from(stopped))
}
