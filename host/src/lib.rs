//! Run functions that somebody else wrote, inside a server, without trusting them and without paying for
//! the distrust.
//!
//! A user compiles work functions to `wasm32-wasip1`. A server embeds a [`Host`] and awaits
//! [`Host::run_sync`]. Each call runs in a worker *process* that holds one WebAssembly instance, so a call can
//! always be stopped, and whatever the guest does costs that one call, which gets a [`BrokenWorkerError`].
//!
//! ```no_run
//! use std::time::Duration;
//! use stockade::{Host, Module};
//!
//! # async fn example() -> Result<(), stockade::Error> {
//! let host = Host::new(Module::from_file("guest.wasm")).await?;
//! let n: u64 = host.run_sync("fib", (32u32,)).await?;
//! let n: u64 = host.call("fib", (40u32,)).timeout(Duration::from_millis(50)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Workers are Linux processes, on x86-64 and aarch64. There is nothing to install and no first line to write in
//! `main`: a worker is the application's own program, started again. On other systems the crate compiles, and
//! building a host is [`Error::Unsupported`].
//!
//! # Guests
//!
//! A guest in Rust is a crate of ordinary functions that carry `#[work]`, from the crate `stockade-guest`;
//! `stockade-build` compiles it in a build script, and [`include_guest!`] has its bytes. A module that exports plain
//! numeric functions needs no more than itself, in whatever language it was written, its text form included:
//!
//! ```
//! use stockade::{Host, Module, blocking};
//!
//! # fn main() -> Result<(), stockade::Error> {
//! let module = Module::from_wat(
//!     r#"(module (func (export "add") (param i32 i32) (result i32)
//!         (i32.add (local.get 0) (local.get 1))))"#,
//! );
//! let host = Host::builder(module).no_cache().build_blocking()?;
//! // For threads that may wait, where there is no runtime.
//! let host = blocking::Host::from(host);
//! let sum: i32 = host.run_sync("add", (2i32, 3i32))?;
//! assert_eq!(sum, 5);
//! # Ok(())
//! # }
//! ```
//!
//! # Calls
//!
//! A function is named, or it is the guest crate's function itself, and then the compiler checks the call. By name
//! the types are compared with the module's before anything is sent: the mistake that would otherwise compute
//! something else is an error that shows both signatures.
//!
//! ```
//! # use stockade::{Error, Host, Module, blocking};
//! # fn main() -> Result<(), stockade::Error> {
//! # let module = Module::from_wat(r#"(module (func (export "twice") (param i64) (result i64) (local.get 0)))"#);
//! # let host = blocking::Host::from(Host::builder(module).no_cache().build_blocking()?);
//! let mistaken = host.run_sync::<_, _, i64>("twice", (2i32,));
//! let Err(Error::Signature { expected, found, .. }) = mistaken else { panic!() };
//! assert_eq!(expected, "twice(i64) -> i64");
//! assert_eq!(found, "(i32,) -> i64");
//! # Ok(())
//! # }
//! ```
//!
//! [`Host::call`] is a call with choices ([`Call`]: time limits, what happens when it is dropped, running by itself),
//! [`Host::map`] is for many inputs, [`Host::stream`] for what a guest emits, [`Host::run_command`] for modules that
//! are whole programs. Guests call functions of the server's that [`HostBuilder::function`] gave them.
//!
//! # Failures
//!
//! Every call ends, with its result or one [`Error`]. Dropping its future stops it. A guest that traps, panics,
//! exhausts what it may use or takes its process down is [`Error::BrokenWorker`], and [`Cause`] says how:
//!
//! ```
//! use stockade::{Cause, Error, Trap};
//! # use stockade::{Host, Module, blocking};
//! # fn main() -> Result<(), stockade::Error> {
//! # let module = Module::from_wat(r#"(module (func (export "broken") unreachable))"#);
//! # let host = blocking::Host::from(Host::builder(module).no_cache().build_blocking()?);
//!
//! let Err(Error::BrokenWorker(broken)) = host.run_sync::<_, _, ()>("broken", ()) else { panic!() };
//! assert_eq!(*broken.cause(), Cause::Trap(Trap::Unreachable));
//! assert!(!broken.process_died()); // it serves the next call
//! # Ok(())
//! # }
//! ```
//!
//! # Settings
//!
//! [`HostBuilder`] has them all. [`Limits`] says what each call may use, [`Limiter`] how many run at once, [`State`]
//! whether they share an instance, [`Retire`] when a process is replaced, [`Wasi`] what a guest finds of the world,
//! and [`Hardening`] what stands around it; [`Host::walls`] says what really does. [`Host::stats`] and
//! [`Host::timings`] have numbers.
//!
//! # Features
//!
//! * `embedded-worker`, on by default: the application is its own worker program. Without it this crate contains no
//!   WebAssembly engine, and [`HostBuilder::worker_program`] names the program `stockade-worker`.
//! * `cli`: the program `stockade`, which calls, inspects, compiles, runs and measures modules, and says which walls
//!   a machine offers.

mod advice;
mod artifact;
mod assemble;
pub mod blocking;
mod bounded;
mod call;
mod clock;
mod codec;
mod command;
mod config;
mod error;
mod fair;
mod function;
mod functions;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod handle;
mod hold;
mod host;
mod host_function;
mod inspection;
mod items;
mod later;
mod limiter;
mod limits;
mod map;
mod module;
mod numeric;
mod output;
mod park;
mod pool;
mod proc_file;
mod process;
mod progress;
mod report;
mod retire;
mod rider;
mod service;
mod signature;
mod spin;
mod stats;
mod supervisor;
mod timings;
mod trials;
mod typical;
mod wake;
mod walls;
mod wasi;

pub use call::{Call, Running};
pub use command::{Command, CommandOutput, OutputStream, RunningCommand};
pub use error::{BrokenWorkerError, Cause, Error, Exit, Phase, Trap};
pub use function::{Emitting, Function};
pub use functions::{Function as FunctionInfo, Parameter};
pub use handle::CallHandle;
pub use host::{Host, HostBuilder};
pub use host_function::HostFunction;
pub use inspection::{Init, Inspection, MemorySize};
pub use items::Items;
pub use limiter::Limiter;
pub use limits::{Codec, Hardening, Interrupt, Limits, OnDrop, State, WorkerType};
pub use map::{Map, MapUnordered};
pub use module::Module;
pub use progress::Progress;
pub use report::{ShutdownReport, WorkerExit};
pub use retire::Retire;
pub use stats::{CallCounts, FailureCounts, Stats, WorkerCounts, WorkerState, WorkerStats};
pub use stockade_guest::Bytes;
pub use timings::{Timing, Timings};
pub use walls::{Wall, WallReport, WallState, Walls};
pub use wasi::{Clock, Output, Wasi};

/// The bytes of a guest that this crate's build script built with `stockade_build::guest`, as a
/// `&'static [u8]`: `Module::from_bytes(include_guest!("hello"))`.
#[macro_export]
macro_rules! include_guest {
    ($name:literal) => {{
        const MODULE: &[u8] =
            ::core::include_bytes!(::core::env!(::core::concat!("STOCKADE_GUEST_", $name)));
        MODULE
    }};
}
