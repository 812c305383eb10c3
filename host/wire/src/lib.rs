//! What a stockade host and its worker processes say to each other.
//!
//! Three layers, from the bottom up: [`sys`] wraps the system calls that both sides need; [`slot`] is the
//! shared memory between a host and one worker, with the state machine of the one call it can hold;
//! [`message`] is what goes over the socket before the first call, and [`role`] how a process learns what
//! it is.
//!
//! The host trusts nothing that a worker wrote: every word is read once, checked against the host's own
//! constants, and every payload is copied out once before it is looked at.
//!
//! This crate is an implementation detail of `stockade`: its API follows that crate's needs.

#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub mod fuzzing;
#[cfg(target_os = "linux")]
pub mod message;
#[cfg(target_os = "linux")]
pub mod module_info;
#[cfg(target_os = "linux")]
pub mod role;
#[cfg(target_os = "linux")]
pub mod slot;
#[cfg(target_os = "linux")]
pub mod sys;

/// The version of everything in this crate that two processes must agree on. It is part of every message,
/// so a worker program of another version is told from a broken one.
pub const VERSION: u32 = 2;
