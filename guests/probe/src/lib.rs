//! One function for each behaviour that the tests of Stockade need to see from a guest: values of
//! every shape, state that should or should not last, every way to fail, and what WASI offers.
//! Nothing here is an example to follow.

pub mod echo;
pub mod faults;
pub mod files;
pub mod host;
#[cfg(target_family = "wasm")]
mod replies;
pub mod state;
pub mod values;
pub mod wasi;
