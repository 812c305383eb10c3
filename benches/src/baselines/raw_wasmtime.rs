//! `raw_wasmtime`: the same guest in Wasmtime as it comes, without epochs, in this process.

use anyhow::{Result, anyhow, ensure};
use wasmtime::{Config, Engine, Linker, Memory, Module, Store, TypedFunc};

/// One instance and one of its functions.
pub(crate) struct RawWasmtime {
    store: Store<()>,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    work: TypedFunc<(u32, u32), u64>,
    free: TypedFunc<(u32, u32), ()>,
}

impl RawWasmtime {
    pub(crate) fn new(guest: &[u8], function: &str) -> Result<Self> {
        Self::load(guest, function).map_err(|error| anyhow!("{error:#}"))
    }

    fn load(guest: &[u8], function: &str) -> wasmtime::Result<Self> {
        let engine = Engine::new(&Config::new())?;
        let module = Module::new(&engine, guest)?;
        let mut linker = Linker::new(&engine);
        // What is measured neither panics nor asks WASI for anything.
        linker.define_unknown_imports_as_traps(&module)?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        let initialize = instance.get_typed_func::<(), ()>(&mut store, "_initialize")?;
        initialize.call(&mut store, ())?;
        let memory = instance.get_memory(&mut store, "memory");
        Ok(Self {
            memory: memory.ok_or_else(|| wasmtime::Error::msg("the guest has no memory"))?,
            alloc: instance.get_typed_func(&mut store, "stockade_alloc")?,
            work: instance.get_typed_func(&mut store, &format!("stockade:{function}"))?,
            free: instance.get_typed_func(&mut store, "stockade_free")?,
            store,
        })
    }

    /// One call with encoded arguments; the length of the reply.
    pub(crate) fn call(&mut self, request: &[u8]) -> Result<usize> {
        self.run(request).map_err(|error| anyhow!("{error:#}"))
    }

    fn run(&mut self, request: &[u8]) -> wasmtime::Result<usize> {
        let store = &mut self.store;
        let len = u32::try_from(request.len())?;
        let at = self.alloc.call(&mut *store, len)?;
        self.memory.write(&mut *store, at as usize, request)?;
        let reply = self.work.call(&mut *store, (at, len))?;
        let (at, len) = ((reply >> 32) as u32, reply as u32);
        let mut status = [9];
        self.memory.read(&*store, at as usize, &mut status)?;
        self.free.call(&mut *store, (at, len))?;
        ensure_value(status[0])?;
        Ok(len as usize)
    }
}

fn ensure_value(status: u8) -> wasmtime::Result<()> {
    let checked = || -> Result<()> {
        ensure!(status == 0, "the guest answered with status {status}");
        Ok(())
    };
    checked().map_err(|error| wasmtime::Error::msg(error.to_string()))
}
