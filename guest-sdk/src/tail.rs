//! The tail of a reply: bytes at the end of a result that stay where they are, instead of being copied
//! behind the rest. Owns how they are told from bytes that have to be copied.

use std::cell::{Cell, RefCell};

use bincode::enc::write::Writer;
use bincode::error::EncodeError;

use crate::head::Head;

/// Below this a copy costs less than what it takes to keep the bytes.
const TAIL_BYTES_MIN: usize = 16 << 10;

thread_local! {
    /// Whether somebody asks for offers.
    static WANTED: Cell<bool> = const { Cell::new(false) };
    /// What is being serialized, by its owner.
    static OFFERED: RefCell<Option<bytes::Bytes>> = const { RefCell::new(None) };
}

/// Runs `serialize`, which writes these bytes as one block. Whoever is written to may keep them instead.
pub(crate) fn offer<R>(bytes: &bytes::Bytes, serialize: impl FnOnce() -> R) -> R {
    if bytes.len() < TAIL_BYTES_MIN || !WANTED.get() {
        return serialize();
    }
    /// Another serializer than the reply's may write them, or none, and they live no longer for it.
    struct Withdraw;

    impl Drop for Withdraw {
        fn drop(&mut self) {
            OFFERED.take();
        }
    }

    let _withdraw = Withdraw;
    OFFERED.replace(Some(bytes.clone()));
    serialize()
}

/// The owner of `written`, if that is what is offered.
fn take_offered(written: &[u8]) -> Option<bytes::Bytes> {
    if written.len() < TAIL_BYTES_MIN {
        return None;
    }
    OFFERED.with_borrow_mut(|offered| offered.take_if(|bytes| std::ptr::eq(&**bytes, written)))
}

/// A reply in the making.
pub(crate) struct Parts {
    head: Head,
    tail: Option<bytes::Bytes>,
}

impl Parts {
    /// One that begins with `head`.
    pub(crate) fn after(head: Head) -> Self {
        Self { head, tail: None }
    }

    /// Runs `write`, during which bytes that are last may become the tail.
    pub(crate) fn write<R>(&mut self, write: impl FnOnce(&mut Self) -> R) -> R {
        struct Restore(bool);

        impl Drop for Restore {
            #[inline]
            fn drop(&mut self) {
                WANTED.set(self.0);
            }
        }

        let _restore = Restore(WANTED.replace(true));
        write(self)
    }

    /// What was copied, and what follows it.
    pub(crate) fn into_parts(self) -> (Head, Option<bytes::Bytes>) {
        (self.head, self.tail)
    }

    /// Large bytes, or bytes behind those that would have been the tail.
    #[cold]
    fn put_large(&mut self, bytes: &[u8]) {
        if let Some(tail) = self.tail.take() {
            self.head.put(&tail);
        }
        self.tail = take_offered(bytes);
        if self.tail.is_none() {
            self.head.put(bytes);
        }
    }
}

impl Writer for Parts {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.len() >= TAIL_BYTES_MIN || self.tail.is_some() && !bytes.is_empty() {
            self.put_large(bytes);
        } else {
            self.head.put(bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::Bytes;

    const CONFIG: bincode::config::Configuration = bincode::config::standard();

    fn parts_of(value: &impl Serialize) -> (Vec<u8>, Option<bytes::Bytes>) {
        let mut parts = Parts::after(Head::new());
        parts
            .write(|parts| bincode::serde::encode_into_writer(value, parts, CONFIG))
            .unwrap();
        let (head, tail) = parts.into_parts();
        (head.bytes().to_vec(), tail)
    }

    /// The length of the tail of `value`, which is encoded as it is without one.
    fn tail_of(value: &impl Serialize) -> usize {
        let (mut all, tail) = parts_of(value);
        let tail = tail.unwrap_or_default();
        all.extend_from_slice(&tail);
        assert_eq!(all, bincode::serde::encode_to_vec(value, CONFIG).unwrap());
        tail.len()
    }

    #[test]
    fn large_bytes_that_are_last_are_not_copied() {
        const LEN: usize = TAIL_BYTES_MIN;
        let bytes = Bytes::from(vec![7; LEN]);
        let (_, tail) = parts_of(&bytes);
        assert_eq!(tail.unwrap().as_ptr(), bytes.as_ptr());
        for (found, expected) in [
            (tail_of(&bytes), LEN),
            (tail_of(&Some(&bytes)), LEN),
            (tail_of(&Ok::<_, ()>(&bytes)), LEN),
            (tail_of(&(1u8, "name", &bytes)), LEN),
            (tail_of(&(&bytes, ())), LEN),
            (tail_of(&(&bytes, &bytes)), LEN),
            (tail_of(&vec![&bytes; 3]), LEN),
            (tail_of(&(&bytes, 1u8)), 0),
            (tail_of(&(&bytes, "x")), 0),
            (tail_of(&Bytes::from(vec![7; LEN - 1])), 0),
            (tail_of(&"x".repeat(LEN)), 0),
        ] {
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_another_serializer_writes_is_not_taken() {
        struct Inner(Bytes);

        impl Serialize for Inner {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let inner = bincode::serde::encode_to_vec(&self.0, CONFIG).unwrap();
                serializer.serialize_bytes(&inner)
            }
        }

        let bytes = Bytes::from(vec![7; TAIL_BYTES_MIN]);
        assert_eq!(tail_of(&Inner(bytes.clone())), 0);
        assert!(OFFERED.take().is_none());
        // Nobody asks, and nothing is kept alive.
        bincode::serde::encode_to_vec(&bytes, CONFIG).unwrap();
        assert!(OFFERED.take().is_none() && !WANTED.get());
    }
}
