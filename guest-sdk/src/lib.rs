//! Functions that a [Stockade](https://docs.rs/stockade) host runs inside its sandbox.
//!
//! A **guest** is a crate of ordinary Rust functions, compiled to `wasm32-wasip1`. Each function
//! that carries [`#[work]`](work) can be called by a host, which need not trust it: the call runs
//! in a process of its own, can always be stopped, and whatever it does costs that one call and
//! nothing else.
//!
//! # In sixty seconds
//!
//! The manifest of the guest, `guests/hello/Cargo.toml`:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! stockade-guest = "0.1"
//! ```
//!
//! Its functions, `guests/hello/src/lib.rs`:
//!
//! ```
//! use stockade_guest::work;
//!
//! /// The `n`-th Fibonacci number, the slow way.
//! #[work]
//! pub fn fib(n: u32) -> u64 {
//!     if n < 2 { n.into() } else { fib(n - 1) + fib(n - 2) }
//! }
//!
//! // Away from WebAssembly it is the function that was written, so unit tests just call it.
//! assert_eq!(fib(10), 55);
//! ```
//!
//! The host builds it with `stockade_build::guest("../guests/hello").build()` in its `build.rs` and
//! calls it with `host.run_sync("fib", (32u32,))`, or, when the guest is also a dependency of the
//! host, with `host.run_sync(hello::fib, (32,))`, which the compiler checks.
//!
//! # Arguments and results
//!
//! Any type that serde can decode is an argument and any that it can encode is a result. References
//! borrow from the request: `&str` and `&[u8]` cost no copy, and `&T` lends a decoded `T`. Plain
//! bytes are fastest as [`Bytes`] or `&[u8]`: serde treats a `Vec<u8>` as a sequence of numbers and
//! visits each one.
//!
//! A function's own `Result<T, E>` is a value like any other. A panic ends the call; its message
//! and its place in the source reach the host.
//!
//! # The host
//!
//! While it works a function can [`log`], say how far it has come ([`progress`]), hand over results one by one
//! ([`emit`]) and call functions of the server's own ([`host_call`]).
//!
//! # State
//!
//! By default every call sees a pristine instance of the module. A host that asks for `State::Keep`
//! lets statics live from one call to the next. Static constructors run once per instance.
//!
//! What takes long to prepare is prepared once, when the module is compiled, by a function that
//! carries [`#[init]`](init): every instance begins with what that left. With `State::Keep` a function
//! that carries [`#[retire]`](retire) says when its worker has served long enough.

mod borrowed;
mod bytes;
mod head;
mod host;
mod imports;
mod reply;
mod request;
mod room;
mod tail;

#[cfg(target_family = "wasm")]
mod abi;
#[cfg(target_family = "wasm")]
mod panic;

pub use crate::bytes::Bytes;
pub use crate::host::{HostCallError, Level, emit, host_call, log, progress};
/// Makes a function run once, when a host compiles the module, so that no call has to wait for it.
///
/// ```
/// use std::sync::OnceLock;
///
/// use stockade_guest::{init, work};
///
/// static PRIMES: OnceLock<Vec<u32>> = OnceLock::new();
///
/// #[init]
/// fn prepare() {
///     let is_prime = |n: &u32| (2..*n).all(|d| n % d != 0);
///     PRIMES.get_or_init(|| (2..10_000).filter(is_prime).collect());
/// }
///
/// /// The `n`-th prime.
/// #[work]
/// pub fn prime(n: usize) -> Option<u32> {
///     PRIMES.get().and_then(|primes| primes.get(n)).copied()
/// }
/// # prepare();
/// # assert_eq!(prime(3), Some(7));
/// ```
///
/// The host runs the function in a sealed process, after the static constructors, and keeps the
/// memory that it leaves, statics and heap, as the memory with which every instance begins. It costs
/// nothing per call. A host has a time limit for it, ten seconds by default; a function that panics,
/// or takes too long, is `Error::Init` when a host is built.
///
/// It finds no arguments and no environment variables, and what it prints is dropped. **What it asks
/// for is frozen**: the time of day, and above all randomness, will be the same in every instance,
/// in every process, for as long as the host keeps the compiled module. Never seed a random number
/// generator in it, make no keys, tokens or nonces, and fill no `HashMap` from input that somebody
/// could choose: the standard library takes its hash keys from the first one that is made.
///
/// Some modules cannot be kept this way: those with code that changes WebAssembly tables, or drops
/// data segments, which Rust guests have not by default. For them the function runs in each instance,
/// before its first call, and `stockade inspect` says so and why.
///
/// There is at most one in a guest. It takes nothing and returns nothing.
pub use stockade_guest_macros::init;
/// Makes a function be asked, after each call, whether this worker is to be replaced.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// use stockade_guest::{retire, work};
///
/// static SEEN: AtomicU64 = AtomicU64::new(0);
///
/// #[work]
/// pub fn count() -> u64 {
///     SEEN.fetch_add(1, Relaxed)
/// }
///
/// #[retire]
/// fn is_worn_out() -> bool {
///     SEEN.load(Relaxed) > 1000
/// }
/// # count();
/// # assert!(!is_worn_out());
/// ```
///
/// It is asked when the caller has its answer already, and only with `State::Keep`: with
/// `State::Fresh` there is nothing that a call could have left, and it is not asked at all. After
/// `true` the host starts another worker and lets this one go when that is ready; until then it may
/// serve more calls, and it may be asked again. A host replaces at most ten workers a second for this
/// reason. A function that panics counts as `true`, and the instance is dropped.
///
/// It should be quick: the next call of this worker waits for it. One that takes longer than a tenth of
/// a second is stopped when a call comes, and counts as `true`.
///
/// There is at most one in a guest. It takes nothing and returns `bool`.
pub use stockade_guest_macros::retire;
/// Makes a function callable by a Stockade host.
///
/// ```
/// # use stockade_guest::work;
/// /// How often `word` occurs in `text`.
/// #[work]
/// pub fn count(text: &str, word: &str) -> usize {
///     text.matches(word).count()
/// }
/// ```
///
/// Compiled to WebAssembly, the function is exported under its name, together with its signature
/// and its documentation. On any other target the item stays as it was written and nothing is
/// exported.
///
/// Up to twelve arguments of any types that serde can decode, and a result that serde can encode:
///
/// * `&str` and `&[u8]` borrow from the request; `&[T]` and `&T` lend a decoded value;
/// * references inside other types, such as `Option<&str>`, borrow too, but cannot be decoded from
///   JSON strings that contain escapes;
/// * a result is owned: it outlives the request.
///
/// The function is an ordinary one: not `async`, not generic, not a method. Two functions of one
/// name in a module are refused by the compiler, and so are, in a guest, two of one name anywhere.
pub use stockade_guest_macros::work;

/// What the expansion of [`work`] and the host crate use. No part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::borrowed::{ByteSlice, Text};
    pub use crate::bytes::share;
    pub use crate::reply::{Reply, encode};
    pub use crate::request::{Codec, Function, Request};
}
