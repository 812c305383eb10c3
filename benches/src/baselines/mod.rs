//! What calls are compared with. Each is as fast as its kind can be made: a ratio to a slow baseline says
//! nothing.

pub(crate) mod bare_slot;
pub(crate) mod fork;
pub(crate) mod in_process;
pub(crate) mod line;
pub(crate) mod memcpy;
pub(crate) mod peer;
pub(crate) mod raw_wasmtime;
pub(crate) mod socket;
pub(crate) mod spawn_true;
