//! Version 1 of the rules between a guest and whoever runs it: the names and types that both the compiler,
//! which checks modules, and the worker, which calls them, go by.

/// The version that metadata must name.
pub(crate) const VERSION: u32 = 1;

/// The module that guests import us under.
pub(crate) const MODULE: &str = "stockade";

/// The guest's memory.
pub(crate) const MEMORY: &str = "memory";
/// `(len: i32) -> i32`: room for a request.
pub(crate) const ALLOC: &str = "stockade_alloc";
/// `(ptr: i32, len: i32)`: takes a reply back.
pub(crate) const FREE: &str = "stockade_free";
/// `()`: run once per instance before any other export.
pub(crate) const INITIALIZE: &str = "_initialize";
/// `()`: run once, after `_initialize`, to prepare what every instance begins with.
pub(crate) const INIT: &str = "stockade_init";
/// `() -> i32`: not zero when the worker is to be replaced.
pub(crate) const RETIRE: &str = "stockade_retire";
/// `()`: the entry point of a command.
pub(crate) const START: &str = "_start";
/// An export with this prefix is a work function, `(ptr: i32, len: i32) -> i64`.
pub(crate) const WORK_PREFIX: &str = "stockade:";
/// Names that begin so are the compiler's: what an instance can change, for whoever puts it back.
pub(crate) const STATE: &str = "stockade_state";
/// The memory, whether the guest exports it or not.
pub(crate) const STATE_MEMORY: &str = "stockade_state_memory";
/// That memory again, if nothing else can change but the globals [`state_global`].
pub(crate) const STATE_WHOLE: &str = "stockade_state_whole";
/// The custom section with the functions' names and types.
pub(crate) const METADATA_SECTION: &str = "stockade";

/// The status byte of a reply that is a value.
pub(crate) const STATUS_VALUE: u8 = 0;

/// The greatest status byte of a reply in one piece.
pub(crate) const STATUS_MAX: u8 = 2;

/// The status byte of a value in two pieces: the reply ends with address and length of what follows it.
pub(crate) const STATUS_VALUE_WITH_TAIL: u8 = 4;

/// The status byte of the answer to a host call that nobody can serve.
pub(crate) const STATUS_NO_FUNCTION: u8 = 3;

/// The name under which the compiler exports a global, by its place among those that it exports.
pub(crate) fn state_global(place: usize) -> String {
    format!("{STATE}_{place}")
}

/// The functions that [`MODULE`] offers, with their types.
pub(crate) const IMPORTS: [Import; 5] = {
    use Ty::{I32, I64};
    [
        Import::new("panic", &[I32, I32], &[]),
        Import::new("log", &[I32, I32, I32], &[]),
        Import::new("progress", &[I64, I64], &[]),
        Import::new("emit", &[I32, I32], &[]),
        Import::new("call", &[I32, I32, I32, I32], &[I64]),
    ]
};

/// A function that guests may import.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Import {
    pub(crate) name: &'static str,
    pub(crate) params: &'static [Ty],
    pub(crate) results: &'static [Ty],
}

impl Import {
    const fn new(name: &'static str, params: &'static [Ty], results: &'static [Ty]) -> Self {
        Self {
            name,
            params,
            results,
        }
    }
}

/// Puts an address and a length together as a work function does.
pub(crate) fn pack(ptr: u32, len: u32) -> u64 {
    u64::from(ptr) << 32 | u64::from(len)
}

/// Splits a work function's result, `ptr << 32 | len`.
pub(crate) fn unpack(result: u64) -> (u32, u32) {
    ((result >> 32) as u32, result as u32)
}

/// A parameter's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ty {
    I32,
    I64,
}
