//! Writing the request of a call into its slot: what is long at once, what is short when the call is published.

use std::io;

use super::host::HostSlot;
use super::layout::{IS_CHUNK, IS_SHARED, request};

/// Writes a request straight into the slot, and counts what does not fit.
///
/// The first bytes are kept back until the call is published: the worker may be polling the line they
/// belong to.
#[derive(Debug)]
pub struct RequestWriter<'a> {
    slot: &'a HostSlot,
    inline: Inline,
    len: usize,
    mark: u32,
}

/// The bytes that are kept back, in words: a processor waits where it reads as a word what has just been written byte by
/// byte.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inline {
    pub(super) words: [u64; request::INLINE_LEN / 8],
}

impl Inline {
    /// Puts bytes at `at`, where there were none or only zeros.
    #[inline]
    fn put(&mut self, at: usize, bytes: &[u8]) {
        for (place, byte) in (at..).zip(bytes) {
            self.words[place / 8] |= u64::from(*byte) << (place % 8 * 8);
        }
    }

    fn bytes(&self) -> [u8; request::INLINE_LEN] {
        let mut bytes = [0; request::INLINE_LEN];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.words) {
            *to = word.to_le_bytes();
        }
        bytes
    }
}

/// A complete request, in the slot but for its inline part.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub(super) inline: Inline,
    pub(super) len: usize,
    /// What is added to the function's number. A word: without padding it is moved in the pieces it was written in.
    pub(super) mark: usize,
}

impl Written {
    /// The length of the request in bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no caller asks")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is a chunk.
    #[must_use]
    pub fn is_chunk(&self) -> bool {
        self.mark & IS_CHUNK as usize != 0
    }

    /// Whether it is a chunk whose items are several callers'.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.mark & IS_SHARED as usize != 0
    }
}

impl<'a> RequestWriter<'a> {
    #[inline]
    pub(super) fn new(slot: &'a HostSlot) -> Self {
        Self {
            slot,
            inline: Inline::default(),
            len: 0,
            mark: 0,
        }
    }

    /// Appends `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if end <= request::INLINE_LEN {
            self.inline.put(self.len, bytes);
        } else {
            self.put_beyond(bytes, end);
        }
        self.len = end;
    }

    /// Writes one request of a chunk: its length, and then what `write` puts.
    ///
    /// # Errors
    /// Those of `write`; the chunk is of no use then.
    pub fn put_item<E>(&mut self, write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.mark |= IS_CHUNK;
        let at = self.len;
        self.put(&[0; 4]);
        write(self)?;
        // More than 31 bits are more than a payload may have, and refused in the end.
        let len = (self.len - at - 4) as u32;
        self.put_again(at, len.to_le_bytes());
        Ok(())
    }

    /// Marks the items of a chunk as several callers': see [`super::Request::is_shared`].
    pub fn share(&mut self) {
        self.mark |= IS_SHARED;
    }

    /// Replaces what was put at `at`.
    fn put_again(&mut self, at: usize, bytes: [u8; 4]) {
        if self.len <= request::INLINE_LEN {
            self.inline.put(at, &bytes);
        } else if self.len <= self.slot.geometry.payload_bytes_max() {
            self.slot.request.copy_in(request::PAYLOAD + at, &bytes);
        }
    }

    fn put_beyond(&mut self, bytes: &[u8], end: usize) {
        if end > self.slot.geometry.payload_bytes_max() {
            return;
        }
        let memory = &self.slot.request;
        if self.len <= request::INLINE_LEN {
            memory.copy_in(request::PAYLOAD, &self.inline.bytes()[..self.len]);
        }
        memory.copy_in(request::PAYLOAD + self.len, bytes);
    }

    /// How many bytes have been written, those that did not fit included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no caller asks")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The request, or its length in bytes when it is longer than a payload may be.
    ///
    /// # Errors
    /// When the request does not fit.
    #[inline]
    pub fn finish(self) -> Result<Written, usize> {
        if self.len > self.slot.geometry.payload_bytes_max() {
            return Err(self.len);
        }
        Ok(Written {
            inline: self.inline,
            len: self.len,
            mark: self.mark as usize,
        })
    }
}

impl io::Write for RequestWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl bincode::enc::write::Writer for RequestWriter<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.put(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::slot::{Geometry, Linger};

    const LEN_MAX: usize = 4096;

    fn slot() -> (HostSlot, [OwnedFd; 2]) {
        HostSlot::new(Geometry::new(LEN_MAX, 4096).unwrap()).unwrap()
    }

    /// What lies in the request memory after a request was written in pieces of these lengths.
    fn published(lens: &[usize]) -> (Vec<u8>, Vec<u8>) {
        let (slot, _fds) = slot();
        let bytes: Vec<u8> = (1..=lens.iter().sum::<usize>()).map(|n| n as u8).collect();
        let mut writer = slot.writer();
        let mut rest = &bytes[..];
        for len in lens {
            let (piece, behind) = rest.split_at(*len);
            writer.put(piece);
            rest = behind;
        }
        slot.publish(1, 0, Linger::NONE, writer.finish().unwrap());
        let mut found = vec![0; bytes.len()];
        let at = Geometry::request_offset(found.len());
        slot.request.copy_out(at, &mut found);
        (bytes, found)
    }

    #[test]
    fn a_request_is_the_same_in_whatever_pieces_it_is_written() {
        for total in 0..=2 * request::INLINE_LEN {
            for piece in 1..=total.max(1) {
                let mut lens = vec![piece; total / piece];
                lens.push(total % piece);
                let (bytes, found) = published(&lens);
                assert_eq!(found, bytes, "{lens:?}");
            }
        }
    }

    #[test]
    fn the_length_of_an_item_is_filled_in_wherever_it_lies() {
        for len in 0..=2 * request::INLINE_LEN {
            let (slot, _fds) = slot();
            let mut writer = slot.writer();
            let bytes: Vec<u8> = (1..=len).map(|n| n as u8).collect();
            for _ in 0..2 {
                let put = |writer: &mut RequestWriter<'_>| -> Result<(), ()> {
                    writer.put(&bytes);
                    Ok(())
                };
                writer.put_item(put).unwrap();
            }
            slot.publish(1, 0, Linger::NONE, writer.finish().unwrap());
            let item = [&(len as u32).to_le_bytes(), &bytes[..]].concat();
            let mut found = vec![0; 2 * item.len()];
            let at = Geometry::request_offset(found.len());
            slot.request.copy_out(at, &mut found);
            assert_eq!(found, [&item[..], &item].concat());
        }
    }
}
