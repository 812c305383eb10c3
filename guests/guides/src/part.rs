//! From `docs/guests.md`.

use serde::{Deserialize, Serialize};
use stockade_guest::{Bytes, work};

/// A piece of a file.
#[derive(Serialize, Deserialize)]
pub struct Part {
    /// Where it begins.
    pub start: usize,
    /// What is there.
    pub bytes: Bytes,
}

/// `length` bytes of `file` from `start` on.
#[work]
pub fn part(file: &[u8], start: usize, length: usize) -> Result<Part, String> {
    let end = start.checked_add(length).filter(|end| *end <= file.len());
    let end = end.ok_or_else(|| format!("the file has only {} bytes", file.len()))?;
    Ok(Part {
        start,
        bytes: file[start..end].into(),
    })
}
