//! The processes of stockade: the compiler, which turns a module into an artifact, the initialiser, which runs
//! what a module wants to have run once, and the worker, which runs guest code. All are this crate in an executable that was started again: the application's own, or
//! the program `stockade-worker`.
//!
//! From the bottom up: `config` sets Wasmtime up; [`guest`] loads, instantiates and calls modules, with
//! `wasi` as what they import; `process` and `seal` make a process small; [`compiler`], `init`, `serve` and
//! `probe` are the roles; [`entry`] takes the role before `main`.
//!
//! This crate is an implementation detail of `stockade`: its API follows that crate's needs.

#[cfg(target_os = "linux")]
mod abi;
#[cfg(target_os = "linux")]
mod compiled;
#[cfg(target_os = "linux")]
pub mod compiler;
#[cfg(target_os = "linux")]
mod config;
#[cfg(target_os = "linux")]
pub mod entry;
#[cfg(target_os = "linux")]
pub mod guest;
#[cfg(target_os = "linux")]
mod init;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod seal;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod text;
#[cfg(target_os = "linux")]
mod wasi;

#[cfg(target_os = "linux")]
pub use compiled::Compiled;
#[cfg(target_os = "linux")]
pub use config::InstanceLimits;
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use seal::proof;
