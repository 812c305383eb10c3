//! The beginning of a reply, which is all of most: in the room for short messages, or, if that is taken or too small, in
//! a vector.

use std::io;

use bincode::enc::write::Writer;
use bincode::error::EncodeError;

use crate::room::{Claim, ROOM_BYTES};

/// Bytes that are added at the end.
#[derive(Debug)]
pub(crate) enum Head {
    /// As many as are written.
    Room(Claim, usize),
    Heap(Vec<u8>),
}

impl Head {
    #[inline]
    pub(crate) fn new() -> Self {
        match Claim::take() {
            Some(room) => Self::Room(room, 0),
            None => Self::Heap(Vec::new()),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Room(room, len) => &room.bytes()[..*len],
            Self::Heap(bytes) => bytes,
        }
    }

    #[cfg(target_family = "wasm")]
    pub(crate) fn first_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Room(room, len) => room.bytes_mut()[..*len].first_mut(),
            Self::Heap(bytes) => bytes.first_mut(),
        }
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        match self {
            Self::Room(room, len) => match room.bytes_mut().get_mut(*len..*len + bytes.len()) {
                Some(place) => {
                    place.copy_from_slice(bytes);
                    *len += bytes.len();
                }
                None => self.leave_room(bytes),
            },
            Self::Heap(all) => all.extend_from_slice(bytes),
        }
    }

    #[cold]
    fn leave_room(&mut self, bytes: &[u8]) {
        let begun = self.bytes();
        let mut all = Vec::with_capacity(ROOM_BYTES.max(bytes.len()) + ROOM_BYTES);
        all.extend_from_slice(begun);
        all.extend_from_slice(bytes);
        *self = Self::Heap(all);
    }
}

impl Writer for Head {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.put(bytes);
        Ok(())
    }
}

impl io::Write for Head {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_the_same_wherever_it_lies() {
        let message: Vec<u8> = (0..3 * ROOM_BYTES).map(|n| n as u8).collect();
        for piece in [1, 7, ROOM_BYTES - 1, ROOM_BYTES, ROOM_BYTES + 1] {
            // In the room, if no other test has it.
            for mut head in [Head::new(), Head::Heap(Vec::new())] {
                for (n, bytes) in message.chunks(piece).enumerate() {
                    assert_eq!(head.bytes(), &message[..n * piece]);
                    head.put(bytes);
                }
                assert_eq!(head.bytes(), message);
                assert!(matches!(head, Head::Heap(_)));
            }
        }
    }
}
