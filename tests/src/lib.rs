//! What the tests of Stockade's promises share, and the guests that they and the quick start run.
//!
//! Tests see Stockade only through its public API. What they observe of the whole process (children,
//! descriptors, memory) they observe in a process of their own: [`alone::alone`].

pub mod alone;
pub mod application;
pub mod by_hand;
pub mod census;
pub mod escape;
pub mod guest;
pub mod held;
pub mod lies;
pub mod orphans;
pub mod races;
pub mod random;
pub mod scratch;
pub mod signals;
pub mod storm;
pub mod traces;
pub mod wait;

pub use alone::alone;
pub use by_hand::ByHand;
pub use census::{Census, census};
pub use guest::host_of;
pub use random::Random;
pub use scratch::Scratch;
pub use wait::{BOUND, eventually, eventually_async, wait_for};

/// Every way to stop a call.
pub const INTERRUPTS: [stockade::Interrupt; 3] = [
    stockade::Interrupt::Epoch,
    stockade::Interrupt::Signal,
    stockade::Interrupt::KillOnly,
];

/// The guides and the README: what they show compiles.
#[cfg(doctest)]
mod guides {
    macro_rules! guides {
        ($($name:ident $file:literal)*) => {
            $(#[doc = include_str!(concat!("../../", $file))] mod $name {})*
        };
    }
    guides! {
        readme "README.md"
        cancellation "docs/cancellation.md"
        deploying "docs/deploying.md"
        embedding "docs/embedding.md"
        guests "docs/guests.md"
        isolation "docs/isolation.md"
        limits "docs/limits.md"
        porting "docs/porting.md"
        state "docs/state.md"
    }
}
