//! The processes of stockade. All of them are this crate in a program that was started again: the application's own,
//! or `stockade-worker`.
//!
//! * The **compiler** turns a module into native code, and sees no other module.
//! * The **initialiser** runs what a module wants to have run once, and hands over the memory that it leaves.
//! * The **worker** runs guest code, one call at a time.
//! * The **probe** tries the walls that the kernel does not show, once for each program.
//!
//! A program becomes one of them before its `main`, if it was started as one ([`entry`]), and never returns. An
//! application that depends on `stockade` has nothing to do for it. A worker program of one's own, which gives workers
//! another allocator, say, is this:
//!
//! ```no_run
//! #[global_allocator]
//! static ALLOCATOR: std::alloc::System = std::alloc::System;
//!
//! fn main() -> std::process::ExitCode {
//!     stockade_worker::entry::main() // where it comes if it was started by hand
//! }
//! ```
//!
//! From the bottom up: `config` sets Wasmtime up; `page_map` sees what was written to; [`guest`] loads, instantiates,
//! calls and resets modules, with `wasi` as what they import; `process` and `seal` make a process small; [`compiler`],
//! `init`, `serve`, `fork_server` and `probe` are the roles; [`entry`] takes the role before `main`.
//!
//! This crate is an implementation detail of `stockade`: its API follows that crate's needs.

#[cfg(target_os = "linux")]
mod abi;
#[cfg(target_os = "linux")]
mod additions;
#[cfg(target_os = "linux")]
mod compiled;
#[cfg(target_os = "linux")]
pub mod compiler;
#[cfg(target_os = "linux")]
mod config;
#[cfg(target_os = "linux")]
pub mod entry;
#[cfg(target_os = "linux")]
mod fork_server;
#[cfg(target_os = "linux")]
pub mod guest;
#[cfg(target_os = "linux")]
mod init;
#[cfg(target_os = "linux")]
mod page_map;
#[cfg(target_os = "linux")]
mod pid_one;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod reset_proof;
#[cfg(target_os = "linux")]
mod seal;
#[cfg(target_os = "linux")]
mod serve;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod site;
#[cfg(target_os = "linux")]
mod stop_point;
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
