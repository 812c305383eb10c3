//! From `docs/guests.md`.

use stockade_guest::work;

/// How often `word` occurs in `text`.
#[work]
pub fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}
