//! What a stockade host and its worker processes say to each other.
//!
//! Three layers, from the bottom up: [`sys`] wraps the system calls that both sides need; [`slot`] is the
//! shared memory between a host and one worker, with the state machine of the one call it can hold;
//! [`message`] is what goes over the socket before the first call, [`forking`] what a fork server is asked for
//! and says, and [`role`] how a process learns what it is.
//!
//! The host trusts nothing that a worker wrote: every word is read once, checked against the host's own
//! constants, and every payload is copied out once before it is looked at.
//!
//! Both sides of a slot in one process, as its own tests have them:
//!
//! ```
//! # #[cfg(target_os = "linux")]
//! # fn main() -> std::io::Result<()> {
//! use stockade_wire::slot::{Geometry, HostSlot, Idle, Linger, ReplyKind, Seen, WorkerSlot};
//!
//! let geometry = Geometry::new(1 << 20, 4096).expect("it fits a 32-bit guest");
//! let (host, [request, reply]) = HostSlot::new(geometry)?;
//! # let bell = std::fs::File::open("/dev/null")?.into();
//! let worker = WorkerSlot::new(geometry, request, reply, bell)?;
//!
//! let mut writer = host.writer();
//! writer.put(b"ping");
//! host.publish(1, 0, Linger::NONE, writer.finish().expect("it is short"));
//!
//! let call = worker.next(0, Idle { linger: Linger::NONE, timeout: None }).expect("there is one");
//! assert!(worker.accept(call.id));
//! let mut args = [0; 4];
//! worker.read_args(&mut args);
//! assert_eq!(&args, b"ping");
//! worker.reply(call.id, ReplyKind::Value, b"pong");
//!
//! let Seen::Reply(head) = host.look(1) else { panic!("it has been answered") };
//! let mut bytes = Vec::new();
//! host.read(head, &mut bytes);
//! assert_eq!(bytes, b"pong");
//! # Ok(())
//! # }
//! # #[cfg(not(target_os = "linux"))]
//! # fn main() {}
//! ```
//!
//! This crate is an implementation detail of `stockade`: its API follows that crate's needs.

#[cfg(target_os = "linux")]
pub mod forking;
#[cfg(all(target_os = "linux", any(fuzzing, test)))]
pub mod fuzzing;
#[cfg(target_os = "linux")]
pub mod message;
#[cfg(target_os = "linux")]
pub mod module_info;
#[cfg(target_os = "linux")]
pub mod namespaces;
#[cfg(target_os = "linux")]
pub mod role;
#[cfg(target_os = "linux")]
pub mod slot;
#[cfg(target_os = "linux")]
pub mod sys;

/// The version of everything in this crate that two processes must agree on. It is part of every message,
/// so a worker program of another version is told from a broken one.
pub const VERSION: u32 = 10;
