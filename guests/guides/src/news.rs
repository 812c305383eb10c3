//! From `docs/state.md`.

use std::cell::RefCell;
use std::collections::BTreeSet;

use stockade_guest::{retire, work};

thread_local! {
    static SEEN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

/// The words of `text` that this instance has not met before.
#[work]
pub fn news(text: &str) -> Vec<String> {
    let words = text.split_whitespace().map(str::to_owned);
    SEEN.with_borrow_mut(|seen| words.filter(|word| seen.insert(word.clone())).collect())
}

/// Asked after each call: beyond so many words the instance makes way for an empty one.
#[retire]
fn knows_too_much() -> bool {
    SEEN.with_borrow(|seen| seen.len() > 1000)
}
