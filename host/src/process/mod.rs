//! Worker and compiler processes: which program, how it is started, how its end is seen.
//!
//! Knows nothing of calls.

mod program;
mod spawn;

pub(crate) use program::Program;
pub(crate) use spawn::Process;
