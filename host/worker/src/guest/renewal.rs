//! Makes an instance what it was when it was made, which takes a fraction of the time of making another one.
//!
//! The compiler has exported all that the code of a module can change, or has not said so (`compiler/state.rs`).

use wasmtime::{Extern, Global, Memory, ModuleExport, Val};

use super::instance::Guest;
use super::reset::Reset;
use super::world::World;

/// What is put back.
#[derive(Debug)]
pub(super) struct Pristine {
    memory: Memory,
    memory_bytes: usize,
    globals: Box<[(Global, Val)]>,
}

impl Pristine {
    /// Of an instance in which nothing has run; `None` when it cannot be put back.
    pub(super) fn of<W: World>(
        guest: &mut Guest<W>,
        globals: &[ModuleExport],
        reset: &Reset,
    ) -> Option<Self> {
        let memory = guest.store.data().memory?;
        let bytes = memory.data_mut(&mut guest.store);
        let memory_bytes = bytes.len();
        // Else what Wasmtime has written to it, instead of mapping it, would be gone.
        if !reset.begins_untouched(bytes) {
            return None;
        }
        let globals = globals.iter().map(|export| {
            let found = guest.instance.get_module_export(&mut guest.store, export);
            let global = found.and_then(Extern::into_global)?;
            Some((global, global.get(&mut guest.store)))
        });
        Some(Self {
            memory,
            memory_bytes,
            globals: globals.collect::<Option<_>>()?,
        })
    }
}

impl<W: World> Guest<W> {
    /// Makes it what it was before [`Self::initialize`], with nothing of what it has done since. Only after a call that
    /// has returned. `false` when that cannot be: drop it then.
    pub(crate) fn renew(&mut self) -> bool {
        let (Some(pristine), Some(reset)) = (&self.pristine, &self.reset) else {
            return false;
        };
        let bytes = pristine.memory.data_mut(&mut self.store);
        // Memory does not shrink.
        if bytes.len() != pristine.memory_bytes {
            return false;
        }
        reset.put_back(bytes);
        for (global, value) in &pristine.globals {
            if global.set(&mut self.store, *value).is_err() {
                return false;
            }
        }
        self.store.data_mut().renew();
        self.forget();
        true
    }
}

#[cfg(test)]
mod tests {
    use stockade_wire::message::{StopBy, WasiSetup};

    use crate::config::{InstanceLimits, Scanning};
    use crate::guest::{Alone, Program, Runtime};
    use crate::page_map;

    const LIMITS: InstanceLimits = InstanceLimits {
        memory_bytes: 64 << 20,
        tables: 1,
        table_elements: 10,
        stack_bytes: 512 << 10,
    };

    fn program(fields: &str) -> Option<Program<Alone>> {
        // Kernels before 6.7 have none, and then every instance is a new one.
        let page_map = page_map::open()?;
        let scanning = Scanning {
            page_map,
            has_small_tables: true,
        };
        let module = format!("(module {fields})");
        let compiled = crate::compiler::compile(module.as_bytes(), StopBy::Epoch).unwrap();
        let runtime = Runtime::scanning(StopBy::Epoch, LIMITS, Some(scanning)).unwrap();
        let program = runtime.load_compiled(&compiled, &WasiSetup::default());
        Some(program.unwrap())
    }

    /// Calls the first function that a module exports, and returns what it does and whether the instance is renewed then.
    fn call_and_renew(program: &Program<Alone>, times: usize) -> Vec<(u64, bool)> {
        let mut guest = program.instantiate(Alone).unwrap();
        let mut seen = Vec::new();
        for _ in 0..times {
            let mut reply = Vec::new();
            guest.call(program, 0, &[][..], &mut reply).unwrap();
            let value = u64::from_le_bytes(reply.try_into().unwrap());
            seen.push((value, guest.renew()));
        }
        seen
    }

    #[test]
    fn memory_and_globals_of_the_same_instance_are_what_they_were() {
        let fields = r#"(func (export "f") (result i32)
                (global.set $g (i32.add (global.get $g) (i32.const 1)))
                (i32.store8 (i32.const 70000) (i32.add (i32.load8_u (i32.const 70000)) (i32.const 1)))
                (i32.add (global.get $g) (i32.load8_u (i32.const 70000))))
            (memory 2) (global $g (mut i32) (i32.const 100)) (data (i32.const 70000) "\10")"#;
        let Some(program) = program(fields) else {
            return;
        };
        assert_eq!(call_and_renew(&program, 5), [(118, true); 5]);
    }

    #[test]
    fn what_has_grown_is_not_renewed() {
        let fields = r#"(func (export "f") (result i32) (memory.grow (i32.const 1))) (memory 2)"#;
        let Some(program) = program(fields) else {
            return;
        };
        assert_eq!(call_and_renew(&program, 2), [(2, false), (3, false)]);
    }

    #[test]
    fn what_could_not_grow_is_renewed() {
        // Beyond its own limit, that of its host, and that of all memories.
        let fields = r#"(func (export "f") (result i32) (i32.add (memory.grow (i32.const 2))
                (i32.add (memory.grow (i32.const 1025)) (memory.grow (i32.const 65535)))))
            (memory 2 3)"#;
        let three_times_none = u64::from((-3i32).cast_unsigned());
        for fields in [
            fields,
            &fields.replace("2 3", "2").replace("const 2", "const 1023"),
        ] {
            let Some(program) = program(fields) else {
                return;
            };
            assert_eq!(call_and_renew(&program, 2), [(three_times_none, true); 2]);
        }
    }

    #[test]
    fn an_instance_in_place_of_one_that_was_not_renewed_is() {
        let fields = r#"(func (export "f") (result i32) (i32.store (i32.const 70000) (i32.const 7)) (i32.const 0))
            (memory 2) (data (i32.const 70000) "data")"#;
        let Some(program) = program(fields) else {
            return;
        };
        for _ in 0..3 {
            assert_eq!(call_and_renew(&program, 3), [(0, true); 3]);
            // Its page is this process's own still, and holds what it should.
            let mut guest = program.instantiate(Alone).unwrap();
            guest.memory_mut().unwrap()[70000] = 7;
        }
    }

    #[test]
    fn what_can_change_more_is_not_renewed() {
        let fields = r#"(func (export "f") (result i32) (i32.const 0)) (memory 2)"#;
        let Some(simple) = program(fields) else {
            return;
        };
        assert_eq!(call_and_renew(&simple, 1), [(0, true)]);
        for more in [
            "(func $start) (start $start)",
            r#"(data $d "data") (func (data.drop $d))"#,
            "(table 2 funcref) (func (table.set 0 (i32.const 0) (ref.null func)))",
        ] {
            let program = program(&format!("{fields} {more}")).unwrap();
            assert_eq!(call_and_renew(&program, 1), [(0, false)], "{more}");
        }
    }

    /// Nothing of it is mapped: it would be gone with what a call writes.
    #[test]
    fn what_begins_with_data_that_was_written_is_not_renewed() {
        let fields = r#"(func (export "f") (result i32) (i32.load8_u (i32.const 45000000)))
            (memory 700) (data (i32.const 0) "few") (data (i32.const 45000000) "far apart")"#;
        let Some(program) = program(fields) else {
            return;
        };
        assert_eq!(call_and_renew(&program, 1), [(u64::from(b'f'), false)]);
    }
}
