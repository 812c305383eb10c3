//! What the module `stockade` offers to guests.

use wasmtime::{Caller, Linker, Result};

use super::state::{Panic, State, memory_and_state};
use super::world::World;
use crate::abi;

pub(crate) fn link<W: World>(linker: &mut Linker<State<W>>) -> Result<()> {
    linker.func_wrap(
        abi::MODULE,
        "panic",
        |mut caller: Caller<'_, State<W>>, ptr: u32, len: u32| {
            let (memory, state) = memory_and_state(&mut caller);
            let report = crate::wasi::bytes(memory, ptr, len).unwrap_or_default();
            // The first report is the cause; a second one is a panic while panicking.
            state
                .panic
                .get_or_insert_with(|| Panic::from_report(report));
        },
    )?;
    Ok(())
}
