//! What belongs to one instance besides its memory: its world, its limits, its last words.

use std::sync::Arc;

use stockade_wire::message::FailureKind;
use wasmtime::{Caller, Extern, Memory};

use super::limiter::Limiter;
use super::world::World;
use crate::text::{printable, printable_lines};
use crate::wasi::Wasi;

/// The longest panic message that is kept; the host cuts it at the same order of magnitude.
const PANIC_BYTES_MAX: usize = 16 << 10;

/// The data of a `Store`.
#[derive(Debug)]
pub(crate) struct State<W> {
    pub(crate) world: W,
    pub(crate) limiter: Limiter,
    pub(crate) wasi: Wasi,
    pub(crate) panic: Option<Panic>,
    /// The memory, once the instance is made; a start function runs before that.
    pub(crate) memory: Option<Memory>,
}

impl<W: World> State<W> {
    pub(crate) fn new(world: W, limiter: Limiter, setup: Arc<crate::wasi::Setup>) -> Self {
        Self {
            wasi: Wasi::new(setup, &world),
            world,
            limiter,
            panic: None,
            memory: None,
        }
    }

    /// Forgets what the instance has done, as far as code of its host has kept it. How much memory and tables it has is
    /// what it was.
    pub(super) fn renew(&mut self) {
        self.begin_call();
        self.wasi.renew(&self.world);
    }

    /// Forgets what belongs to the call before.
    pub(crate) fn begin_call(&mut self) {
        self.limiter.begin_call();
        self.panic = None;
    }
}

/// The memory of the guest that called an import, and its state.
pub(crate) fn memory_and_state<'a, W>(
    caller: &'a mut Caller<'_, State<W>>,
) -> (&'a mut [u8], &'a mut State<W>) {
    let memory = caller
        .data()
        .memory
        .or_else(|| caller.get_export("memory").and_then(Extern::into_memory));
    match memory {
        Some(memory) => memory.data_and_store_mut(caller),
        // The compiler refuses modules that import what needs a memory and export none.
        None => (&mut [], caller.data_mut()),
    }
}

/// A panic that the guest's SDK reported. It only counts if the guest then gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    message: String,
    location: String,
}

impl Panic {
    /// Reads the report `message\0location`.
    pub(crate) fn from_report(report: &[u8]) -> Self {
        let report = &report[..report.len().min(PANIC_BYTES_MAX)];
        // The message is anybody's text and may hold a zero byte; a location does not.
        let border = report.iter().rposition(|&byte| byte == 0);
        let (message, location) = match border {
            Some(at) => (&report[..at], &report[at + 1..]),
            None => (report, &[][..]),
        };
        Self {
            message: printable_lines(&String::from_utf8_lossy(message), PANIC_BYTES_MAX),
            location: printable(&String::from_utf8_lossy(location), PANIC_BYTES_MAX),
        }
    }
}

impl From<Panic> for FailureKind {
    fn from(Panic { message, location }: Panic) -> Self {
        Self::Panic { message, location }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_message_and_a_location_whatever_it_holds() {
        let panic = Panic::from_report(b"no\0a.rs:1:2");
        assert_eq!((&*panic.message, &*panic.location), ("no", "a.rs:1:2"));
        let panic = Panic::from_report(b"a\0b\0a.rs:1:2");
        assert_eq!(panic.location, "a.rs:1:2");
        let panic = Panic::from_report(b"\xff\x1b");
        assert_eq!((&*panic.message, &*panic.location), ("\u{fffd}\\u{1b}", ""));
        let panic = Panic::from_report(&[b'x'; 1 << 20]);
        assert_eq!(panic.message.len(), PANIC_BYTES_MAX);
        assert_eq!(Panic::from_report(b"").message, "");
    }
}
