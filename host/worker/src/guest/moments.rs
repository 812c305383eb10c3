//! What a guest's own code runs besides calls: at the beginning of an instance, and when it is asked
//! whether its worker is to be replaced.

use wasmtime::{Extern, Val};

use super::failure::Ended;
use super::instance::{Guest, run};
use super::program::Program;
use super::world::World;

impl<W: World> Guest<W> {
    /// Runs `_initialize`, and `stockade_init` where that could not be done once for all instances. Once, until it is
    /// [renewed](Self::renew).
    pub(crate) fn initialize(&mut self, program: &Program<W>) -> Result<(), Ended> {
        if self.beginning.is_empty() {
            for export in [program.initialize, program.init].into_iter().flatten() {
                let function = self.function(&export)?;
                self.beginning.push(function);
            }
        }
        for function in &self.beginning {
            run(&mut self.store, function, ())?;
        }
        Ok(())
    }

    /// Whether the guest says that its worker is to be replaced. `None` when it is not for it to say.
    ///
    /// # Errors
    /// When the guest fails or is stopped. Drop it then.
    pub(crate) fn is_worn_out(&mut self, program: &Program<W>) -> Result<Option<bool>, Ended> {
        let Some(export) = program.retire else {
            return Ok(None);
        };
        self.store.data_mut().begin_call();
        let function = self.function::<(), i32>(&export)?;
        let answer = run(&mut self.store, &function, ())?;
        Ok(Some(answer != 0))
    }

    /// The memory that is exported as `memory`, and the globals whose names are `prefix` and a number, as
    /// bits. Of references, which have none, zero.
    pub(crate) fn state(&mut self, memory: &str, prefix: &str) -> (&[u8], Vec<(u32, u128)>) {
        let exports: Vec<_> = self
            .instance
            .exports(&mut self.store)
            .filter_map(|export| {
                let index = export.name().strip_prefix(prefix).map(str::parse::<u32>);
                match index {
                    Some(index) => Some((index.ok(), export.into_extern())),
                    None if export.name() == memory => Some((None, export.into_extern())),
                    None => None,
                }
            })
            .collect();
        let (mut memory, mut globals) = (None, Vec::new());
        for export in exports {
            match export {
                (Some(index), Extern::Global(global)) => {
                    globals.push((index, bits(&global.get(&mut self.store))));
                }
                (None, Extern::Memory(found)) => memory = Some(found),
                _ => {}
            }
        }
        let memory = memory.map_or(&[][..], |memory| memory.data(&self.store));
        (memory, globals)
    }
}

fn bits(value: &Val) -> u128 {
    match *value {
        Val::I32(value) => value.cast_unsigned().into(),
        Val::I64(value) => value.cast_unsigned().into(),
        Val::F32(bits) => bits.into(),
        Val::F64(bits) => bits.into(),
        Val::V128(value) => value.as_u128(),
        _ => 0,
    }
}
