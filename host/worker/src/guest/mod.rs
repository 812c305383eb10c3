//! Guest code: loading it, giving it an instance, calling it.
//!
//! Nothing here knows of processes or slots. What lies around a guest is its [`World`]; where arguments come
//! from and replies go to is for the caller to say, so that each is copied once. This is a worker's own call
//! code without its slot:
//!
//! ```
//! use stockade_wire::message::{StopBy, WasiSetup};
//! use stockade_worker::guest::{Alone, Program, Runtime};
//! use stockade_worker::{InstanceLimits, compiler};
//!
//! let wat = br#"(module (func (export "twice") (param i64) (result i64)
//!     (i64.add (local.get 0) (local.get 0))))"#;
//! let compiled = compiler::compile(wat, StopBy::Epoch).expect("a valid module");
//! let limits = InstanceLimits {
//!     memory_bytes: 1 << 20,
//!     tables: compiled.info().tables,
//!     table_elements: 100,
//!     stack_bytes: 512 << 10,
//! };
//! let runtime = Runtime::new(StopBy::Epoch, limits).expect("address space");
//! let program: Program<Alone> =
//!     runtime.load_compiled(&compiled, &WasiSetup::default()).expect("it fits");
//!
//! let mut guest = program.instantiate(Alone).expect("it has no start function");
//! let mut reply = Vec::new();
//! let arguments = 21u64.to_le_bytes();
//! let export = compiled.info().functions[0].export;
//! guest.call(&program, export, &arguments[..], &mut reply).expect("it adds");
//! assert_eq!(reply, 42u64.to_le_bytes());
//! guest.release(&program).expect("nothing to give back"); // State::Keep; for State::Fresh it is put back or dropped
//! ```

mod failure;
mod imports;
mod instance;
mod lengths;
mod limiter;
mod linking;
mod moments;
mod program;
mod renewal;
mod reset;
mod state;
mod world;

pub use failure::Ended;
pub use instance::{Arguments, Guest, Reply};
pub use program::{LoadError, Program, Runtime};
pub use world::{Alone, Stopped, World};

pub(crate) use failure::Halt;
pub(crate) use linking::Linking;
pub(crate) use state::{State, memory_and_state};
