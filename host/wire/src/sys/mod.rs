//! The system calls that both sides need, each behind a type that keeps its invariant.
//!
//! Nothing here knows what a call, a worker or a guest is.

pub mod cpu;
pub mod death_string;
pub mod doorbell;
pub mod fork;
pub mod huge;
pub mod landlock;
pub mod mapping;
pub mod memfd;
pub mod packet;
pub mod pidfd;
pub mod placement;
