//! The shared memory between a host and one worker: it holds one call at a time.
//!
//! Two files, both made and size-sealed by the host. The *request memory* is written by the host alone (the
//! worker's descriptor cannot be mapped for writing), so a worker cannot change the arguments it was given;
//! the *reply memory* is written by the worker, and the host believes none of it. Each word has one writer.
//!
//! ```text
//! host                                      worker
//! ────                                      ──────
//! arguments, function, length
//! published = N ──────────────────────────► sees published = N
//! fence; ring and wake if `sleeping`        accepted = N; fence; skip if withdrawn = N or cancel = N
//!                                           … guest code …
//! sees id = N ◄──────────────────────────── payload, kind, length; id = N
//! copies the payload out once               fence; ring the eventfd if armed = N
//! ```
//!
//! In the middle of a call the guest may want something of its host, one thing at a time: an *event*.
//!
//! ```text
//! host                                      worker
//! ────                                      ──────
//! sees event = N·1 ◄─────────────────────── payload, kind, length; event = N·1
//! copies the payload out once               fence; ring the eventfd if armed = N
//! does it
//! answer, length; answered = N·1
//! fence; ring and wake if `sleeping` ─────► sees answered = N·1
//! ```
//!
//! A call may be a *chunk*: several requests for one function, run one after the other, each begun only after its
//! own mark. The replies of those that are over stand in the slot even when the worker dies in the middle. A *shared*
//! chunk has the requests of several callers; the host may close it, and then no further item begins. What an item leaves
//! beside its reply must not be taken for another caller's: one that fails or writes something is the last of its chunk.
//!
//! ```text
//! host                                      worker
//! ────                                      ──────
//! closed = N; fence                         begun = i; fence; takes that back if closed = N
//! sees begun, over, their replies           … guest code for item i …
//!                                           reply i, over = i
//! ```
//!
//! Every "has it happened?" against "is anybody asleep?" is a store, a full fence and a load on both sides:
//! with anything weaker both sides can miss each other and sleep for ever. Accepting against withdrawing, and beginning
//! an item against closing its chunk, are the same pattern, so at least one side sees the other: a call that the host
//! withdrew unaccepted is never run, and neither is an item that it saw unbegun.

mod chunk;
mod events;
mod host;
mod layout;
mod log;
pub mod machine;
mod output;
mod request_writer;
mod retire;
mod worker;

pub use chunk::{Chunk, ChunkReply, Damaged, ItemReply, Items, split_chunk};
pub use events::{EventHead, Listens, SeenEvent};
pub use host::{Disbelief, Head, HostSlot, Seen};
pub(crate) use layout::FAILURE_BYTES_MAX;
pub use layout::{EventKind, Geometry, INLINE_REPLY, INLINE_REQUEST, Linger, ReplyKind};
pub use log::{Log, LogRecord};
pub use output::Output;
pub use request_writer::{RequestWriter, Written};
pub use worker::{Idle, Request, WorkerSlot};
