//! What a host asks of a fork server, and what that says.
//!
//! A fork server is told what a worker is told ([`crate::message::WorkerSetup`]), with two descriptors: the artifact, and
//! the end of a string that the host holds for as long as the server or a worker of it is to live. It is trusted no more
//! than a worker: it has loaded native code that a hostile module may have chosen.

use serde::{Deserialize, Serialize};

use crate::message::WorkerRefusal;

/// How many descriptors come with an order: the worker's end of its socket, the pipe for its diagnostics, its end
/// of the death string, request memory, reply memory, eventfd.
pub const ORDER_FDS: usize = 6;

/// Asks for one worker. The next one is asked for when this was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkOrder {
    /// Its number.
    pub worker: u64,
}

/// What a fork server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ForkServerMessage {
    /// The artifact is loaded; it takes orders.
    Ready,
    /// It cannot serve.
    Refused {
        /// What failed.
        why: WorkerRefusal,
        /// What is wrong.
        message: String,
    },
    /// A worker has been forked, whose pidfd comes along. It says itself when it is ready.
    Forked {
        /// Its number.
        worker: u64,
    },
    /// A worker could not be forked.
    NotForked {
        /// Its number.
        worker: u64,
        /// Why.
        message: String,
    },
    /// A worker is dead. Only its parent is told how by the kernel.
    Ended {
        /// Its number.
        worker: u64,
        /// How it ended.
        end: End,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}
