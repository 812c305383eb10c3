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
/// `()`: the entry point of a command.
pub(crate) const START: &str = "_start";
/// An export with this prefix is a work function, `(ptr: i32, len: i32) -> i64`.
pub(crate) const WORK_PREFIX: &str = "stockade:";
/// The custom section with the functions' names and types.
pub(crate) const METADATA_SECTION: &str = "stockade";

/// The greatest status byte of a reply.
pub(crate) const STATUS_MAX: u8 = 2;

/// Splits a work function's result, `ptr << 32 | len`.
pub(crate) fn unpack(result: u64) -> (u32, u32) {
    ((result >> 32) as u32, result as u32)
}
