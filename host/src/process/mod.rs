//! Worker and compiler processes: which program, how it is started, how its end is seen.
//!
//! Knows nothing of calls.

mod ahead;
mod fork_server;
mod namespaces;
mod program;
mod spawn;

pub(crate) use ahead::Ahead;
pub(crate) use fork_server::{ForkServer, Heard, Unadopted};
pub(crate) use namespaces::{HandedNamespaces, SeenNamespaces, Shown, start_from_own_namespaces};
pub(crate) use program::Program;
pub(crate) use spawn::{Ends, Process};
