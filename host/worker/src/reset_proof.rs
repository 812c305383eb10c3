//! The proof that the end of an instance really resets its memory, whether it is put back or dropped.
//!
//! A reset that does not see what a guest wrote gives one caller's data to the next, in silence. Nothing comes before the
//! first instance of a process; so it is proved by its end, before the second one runs anything but its start function.

use crate::guest::{Guest, World};

/// What is wrong when it fails.
pub(crate) const REFUTED: &str =
    "a new instance holds what an earlier one wrote: memory is not reset on this machine";

/// What is remembered of a new instance until another one has taken its place.
#[derive(Debug)]
pub(crate) struct ResetProof {
    /// Where the last byte of its memory lay.
    at: usize,
    pristine: u8,
    is_marked: bool,
}

impl ResetProof {
    /// Of an instance in which nothing has run but its start function; `None` when it exports no memory.
    pub(crate) fn of<W: World>(first: &mut Guest<W>) -> Option<Self> {
        let (pristine, before) = first.memory_mut()?.split_last()?;
        Some(Self {
            at: before.len(),
            pristine: *pristine,
            is_marked: false,
        })
    }

    /// Changes that byte in the first instance, which is about to be dropped.
    pub(crate) fn leave_mark<W: World>(&mut self, first: &mut Guest<W>) {
        // Memory only grows.
        if let Some(byte) = first
            .memory_mut()
            .and_then(|memory| memory.get_mut(self.at))
        {
            *byte = !self.pristine;
            self.is_marked = true;
        }
    }

    /// Whether the second instance, as new as the first one was, has the mark.
    pub(crate) fn is_refuted_by<W: World>(&self, second: &mut Guest<W>) -> bool {
        let memory = second.memory_mut();
        let byte = memory.and_then(|memory| memory.get(self.at));
        self.is_marked && byte != Some(&self.pristine)
    }
}

#[cfg(test)]
mod tests {
    use stockade_wire::message::{StopBy, WasiSetup};

    use super::*;
    use crate::config::InstanceLimits;
    use crate::guest::{Alone, Program, Runtime};

    const LIMITS: InstanceLimits = InstanceLimits {
        memory_bytes: 4 << 20,
        tables: 0,
        table_elements: 0,
        stack_bytes: 512 << 10,
    };

    fn program(wat: &str) -> Program<Alone> {
        let compiled = crate::compiler::compile(wat.as_bytes(), StopBy::Epoch).unwrap();
        let runtime = Runtime::new(StopBy::Epoch, LIMITS).unwrap();
        runtime
            .load_compiled(&compiled, &WasiSetup::default())
            .unwrap()
    }

    #[test]
    fn a_mark_that_is_there_refutes_it_and_a_reset_leaves_none() {
        // Its last byte is one of the module's own.
        let program =
            program(r#"(module (memory (export "memory") 2) (data (i32.const 131071) "\07"))"#);
        let mut first = program.instantiate(Alone).unwrap();
        let mut proof = ResetProof::of(&mut first).unwrap();
        assert!(!proof.is_refuted_by(&mut first));
        proof.leave_mark(&mut first);
        assert!(proof.is_refuted_by(&mut first));
        drop(first);
        let mut second = program.instantiate(Alone).unwrap();
        assert!(!proof.is_refuted_by(&mut second));
        assert_eq!(second.memory_mut().unwrap().last(), Some(&7));
    }

    #[test]
    fn what_has_no_memory_needs_no_proof() {
        for wat in ["(module)", r#"(module (memory (export "memory") 0))"#] {
            let program = program(wat);
            assert!(ResetProof::of(&mut program.instantiate(Alone).unwrap()).is_none());
        }
    }
}
