//! What the tests of Stockade's promises share, and the guests that they and the quick start run.
//!
//! Tests see Stockade only through its public API. What they observe of the whole process (children,
//! descriptors, memory) they observe in a process of their own: [`alone::alone`].

pub mod alone;
pub mod census;
pub mod guest;
pub mod scratch;
pub mod traces;
pub mod wait;

pub use alone::alone;
pub use census::{Census, census};
pub use guest::host_of;
pub use scratch::Scratch;
pub use wait::{BOUND, eventually, eventually_async, wait_for};
