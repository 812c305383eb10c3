//! From `docs/state.md`.

use std::sync::OnceLock;

use stockade_guest::{init, work};

static PRIMES: OnceLock<Vec<u32>> = OnceLock::new();

#[init]
fn prepare() {
    let is_prime = |n: &u32| {
        (2..*n)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
    };
    PRIMES.get_or_init(|| (2..100_000).filter(is_prime).collect());
}

/// The `n`-th prime, from a table that no call has to fill.
#[work]
pub fn prime(n: usize) -> Option<u32> {
    PRIMES.get()?.get(n).copied()
}
