//! `memcpy`: so many bytes from one warm place to another. One copy is the least that any payload costs.

use std::hint::black_box;

use anyhow::Result;

use crate::measure::Block;

/// Source and destination, both touched.
#[derive(Debug)]
pub(crate) struct Memcpy {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Memcpy {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            from: vec![1; bytes],
            to: vec![2; bytes],
        }
    }

    /// Copies, each timed.
    pub(crate) fn block(&mut self, block: &mut Block<'_>) -> Result<()> {
        block.time(|| {
            black_box(&mut self.to).copy_from_slice(black_box(&self.from));
            Ok(())
        })
    }
}
