//! The instruction that a signal moves a guest to, so that it traps.
//!
//! It is a function that does nothing else, behind all others of the module, which nobody calls: one of the compiler's
//! [additions](crate::additions).

use std::ops::Range;

use wasmtime::Module;

/// What an `unreachable` becomes.
const TRAP: &[u8] = if cfg!(target_arch = "aarch64") {
    &[0x1f, 0xc1, 0, 0] // udf #0xc11f
} else {
    &[0x0f, 0x0b] // ud2
};

/// Where the code of a module lies in this process, and where in it the trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StopPoint {
    /// The functions of the module, and nothing that belongs to their host.
    code: Range<usize>,
    trap: usize,
}

impl StopPoint {
    /// That of a module to which it was added; `None` when there is no code.
    ///
    /// # Errors
    /// When its code does not look like that of such a module.
    pub(crate) fn of(module: &Module) -> wasmtime::Result<Option<Self>> {
        let unlike = |what| wasmtime::format_err!("the code has no point to stop at: {what}");
        let mut functions = module.functions();
        let Some(first) = functions.next() else {
            return Ok(None);
        };
        let (mut at, mut end) = (first.offset, first.offset + first.len);
        for function in functions {
            at = function.offset;
            // What belongs to Wasmtime comes after all of them.
            if at < end {
                return Err(unlike("its functions are in another order"));
            }
            end = at + function.len;
        }
        let text = module.text();
        let last = text.get(at..end).unwrap_or_default();
        let mut traps = (0..last.len()).filter(|&at| last[at..].starts_with(TRAP));
        let (Some(trap), None) = (traps.next(), traps.next()) else {
            return Err(unlike("its last function is another one"));
        };
        let text = text.as_ptr().expose_provenance();
        Ok(Some(Self {
            code: text + first.offset..text + end,
            trap: text + at + trap,
        }))
    }

    /// The trap, for a guest at `counter`; `None` when that is not in its own code.
    #[inline]
    pub(crate) fn trap_from(&self, counter: usize) -> Option<usize> {
        self.code.contains(&counter).then_some(self.trap)
    }
}
