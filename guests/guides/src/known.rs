//! From `docs/state.md`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use stockade_guest::work;

thread_local! {
    static KNOWN: RefCell<BTreeMap<u32, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// Worth keeping, and right without: a fresh instance computes it again.
#[work]
pub fn triangle(n: u32) -> u64 {
    let compute = || (1..=u64::from(n)).sum();
    KNOWN.with_borrow_mut(|known| *known.entry(n).or_insert_with(compute))
}
