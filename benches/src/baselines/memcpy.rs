//! `memcpy`: so many bytes from one warm place to another. One copy is the least that any payload costs.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;

use crate::measure::Block;

const PAGE: usize = 4096;

/// Source and destination, both touched.
#[derive(Debug)]
pub(crate) struct Memcpy {
    from: Aligned,
    to: Aligned,
}

impl Memcpy {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            from: Aligned::new(1, bytes),
            to: Aligned::new(2, bytes),
        }
    }

    /// Copies. A sample is the mean of several where one is not much longer than the clock's steps.
    pub(crate) fn block(&mut self, block: &mut Block<'_>) -> Result<()> {
        let (from, to) = (self.from.bytes(), self.to.bytes());
        let copies = (64 << 10) / from.len().clamp(4 << 10, 64 << 10);
        for _ in 0..block.calls() {
            let start = Instant::now();
            for _ in 0..copies {
                black_box(&mut *to).copy_from_slice(black_box(from));
            }
            block.push_mean(start.elapsed(), copies as u64);
        }
        Ok(())
    }
}

/// Bytes from the start of a page on. Wherever the allocator puts two buffers, the destination may lie a few bytes
/// further into its page than the source, and with string instructions some CPUs then copy at a fifteenth of their
/// speed: too soft to compare with.
#[derive(Debug)]
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(value: u8, len: usize) -> Self {
        let memory = vec![value; len + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self { memory, start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_copy_begin_a_page() {
        for len in [1 << 10, 64 << 10, 1 << 20] {
            let mut copy = Memcpy::new(len);
            for side in [&mut copy.from, &mut copy.to] {
                assert_eq!(side.bytes().len(), len);
                assert!(side.bytes().as_ptr().addr().is_multiple_of(PAGE));
            }
        }
    }
}
