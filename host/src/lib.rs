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
//! * [`Module`] is a guest program; the host never parses it.
//! * [`Host`] is the handle to its pool of workers; [`HostBuilder`] has the settings.
//! * [`Call`] is a call with choices: time limits, what happens when it is dropped, running by itself.
//! * [`Error`] is what can go wrong, [`Cause`] what broke a worker.
//! * [`Limiter`] says how many calls run at once, [`Limits`] what each may use.
//! * [`blocking`] is the same for threads that may wait.
//!
//! Workers are Linux processes, on x86-64 and aarch64.

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
mod limiter;
mod limits;
mod map;
mod module;
mod numeric;
mod output;
mod park;
mod pool;
mod process;
mod progress;
mod report;
mod retire;
mod service;
mod signature;
mod spin;
mod stats;
mod supervisor;
mod timings;
mod trials;
mod walls;
mod wasi;

pub use call::{Call, Running};
pub use command::{Command, CommandOutput, RunningCommand};
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
