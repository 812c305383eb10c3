//! Plain bytes as an argument or a result. Owns how they cross the codec: as one block, never
//! element by element, and out of a large message without a copy.
#![expect(
    unsafe_code,
    reason = "a decoder offers no way to hand the message's owner to a type's `Deserialize`"
)]

use std::borrow::Borrow;
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::tail;

/// Bytes that cross the border between host and guest as one block.
///
/// Use it where `Vec<u8>` would do: serde visits each element of a `Vec<u8>`, which is some fifty
/// times slower. It is cheap to clone and can be viewed as a `&[u8]`. On the wire it is the same as
/// `Vec<u8>`: either end may use either type. In JSON it is an array of numbers, and a string is
/// taken for its UTF-8.
///
/// Decoded from a large message it shares the message's memory, which lives as long as any part of
/// it does. Large bytes that come last in a result, or are the result, are sent from where they are, and
/// live until the host has them.
///
/// ```
/// use stockade_guest::Bytes;
///
/// let bytes = Bytes::from(vec![1, 2, 3]);
/// assert_eq!(bytes.len(), 3);
/// assert_eq!(Vec::from(bytes), [1, 2, 3]);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(bytes::Bytes);

impl Bytes {
    /// No bytes.
    pub const fn new() -> Self {
        Self(bytes::Bytes::new())
    }

    /// Bytes that live as long as the program, without a copy.
    pub const fn from_static(bytes: &'static [u8]) -> Self {
        Self(bytes::Bytes::from_static(bytes))
    }

    /// The bytes as a slice.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as a vector, without an allocation where nobody shares them.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into()
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl From<Box<[u8]>> for Bytes {
    fn from(bytes: Box<[u8]>) -> Self {
        Self(bytes.into())
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes::Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Bytes {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl<const N: usize> From<[u8; N]> for Bytes {
    fn from(bytes: [u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<bytes::Bytes> for Bytes {
    fn from(bytes: bytes::Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Bytes> for bytes::Bytes {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        bytes.into_vec()
    }
}

impl<'a> From<&'a Bytes> for &'a [u8] {
    fn from(bytes: &'a Bytes) -> Self {
        bytes
    }
}

impl FromIterator<u8> for Bytes {
    fn from_iter<I: IntoIterator<Item = u8>>(bytes: I) -> Self {
        Self(bytes.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Bytes {
    type Item = &'a u8;
    type IntoIter = std::slice::Iter<'a, u8>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq<[u8]> for Bytes {
    fn eq(&self, other: &[u8]) -> bool {
        self.0 == other
    }
}

impl PartialEq<&[u8]> for Bytes {
    fn eq(&self, other: &&[u8]) -> bool {
        self.0 == *other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Bytes {
    fn eq(&self, other: &[u8; N]) -> bool {
        self.0 == other.as_slice()
    }
}

impl PartialEq<Vec<u8>> for Bytes {
    fn eq(&self, other: &Vec<u8>) -> bool {
        self.0 == *other
    }
}

impl PartialEq<Bytes> for Vec<u8> {
    fn eq(&self, other: &Bytes) -> bool {
        other == self
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        tail::offer(&self.0, || serializer.serialize_bytes(self))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Bytes, E> {
        Ok(from_message(bytes))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Bytes, A::Error> {
        collect(sequence).map(Bytes::from)
    }
}

/// The bytes of a sequence of numbers, as text formats write them.
pub(crate) fn collect<'de, A: SeqAccess<'de>>(mut sequence: A) -> Result<Vec<u8>, A::Error> {
    let mut bytes = Vec::new();
    while let Some(byte) = sequence.next_element()? {
        bytes.push(byte);
    }
    Ok(bytes)
}

/// Below this a copy is as cheap as sharing, and sharing would keep a whole message alive for a few
/// bytes of it.
const SHARED_BYTES_MIN: usize = 4096;

thread_local! {
    /// The message that this thread is decoding inside [`share`].
    static MESSAGE: Cell<Option<NonNull<bytes::Bytes>>> = const { Cell::new(None) };
}

/// Runs `decode`. A [`Bytes`] that it decodes out of `message` may share the message's memory.
pub fn share<R>(message: &bytes::Bytes, decode: impl FnOnce() -> R) -> R {
    struct Restore(Option<NonNull<bytes::Bytes>>);

    impl Drop for Restore {
        fn drop(&mut self) {
            MESSAGE.set(self.0);
        }
    }

    let _restore = Restore(MESSAGE.replace(Some(NonNull::from(message))));
    decode()
}

fn from_message(bytes: &[u8]) -> Bytes {
    if bytes.len() < SHARED_BYTES_MIN {
        return bytes.into();
    }
    let Some(message) = MESSAGE.get() else {
        return bytes.into();
    };
    // SAFETY: only `share` sets the pointer, from a reference that outlives the call in which it
    // stays set, and it restores the previous one however that call ends. The pointer never leaves
    // its thread.
    let message = unsafe { message.as_ref() };
    if message.as_ptr_range().start <= bytes.as_ptr_range().start
        && bytes.as_ptr_range().end <= message.as_ptr_range().end
    {
        Bytes(message.slice_ref(bytes))
    } else {
        bytes.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: bincode::config::Configuration = bincode::config::standard();

    #[test]
    fn bytes_and_vectors_are_the_same_on_the_wire() {
        for length in [0, 1, 250, 251, 70_000] {
            let vector: Vec<u8> = (0..length).map(|n: u32| n.to_le_bytes()[0]).collect();
            let bytes = Bytes::from(vector.clone());

            let wire = bincode::serde::encode_to_vec(&bytes, CONFIG).unwrap();
            assert_eq!(
                wire,
                bincode::serde::encode_to_vec(&vector, CONFIG).unwrap()
            );
            let (decoded, _) =
                bincode::serde::borrow_decode_from_slice::<Bytes, _>(&wire, CONFIG).unwrap();
            assert_eq!(decoded, vector);
            let (decoded, _) =
                bincode::serde::decode_from_slice::<Bytes, _>(&wire, CONFIG).unwrap();
            assert_eq!(decoded, vector);

            let json = serde_json::to_string(&bytes).unwrap();
            assert_eq!(json, serde_json::to_string(&vector).unwrap());
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), vector);
        }
        assert_eq!(serde_json::from_str::<Bytes>(r#""a\n""#).unwrap(), *b"a\n");
        assert!(serde_json::from_str::<Bytes>("[256]").is_err());
    }

    #[test]
    fn large_bytes_share_the_message_that_they_were_decoded_from() {
        let message = bytes::Bytes::from(
            bincode::serde::encode_to_vec(vec![7u8; SHARED_BYTES_MIN], CONFIG).unwrap(),
        );
        let decode = || {
            bincode::serde::borrow_decode_from_slice::<Bytes, _>(&message, CONFIG)
                .unwrap()
                .0
        };

        let shared = share(&message, decode);
        assert!(message.as_ptr_range().contains(&shared.as_ptr()));
        let copied = decode();
        assert!(!message.as_ptr_range().contains(&copied.as_ptr()));
        drop(message);
        assert_eq!(shared, copied);
    }

    #[test]
    fn bytes_of_another_message_are_copied() {
        let message = bytes::Bytes::from(
            bincode::serde::encode_to_vec(vec![7u8; SHARED_BYTES_MIN], CONFIG).unwrap(),
        );
        let other = message.to_vec();
        let bytes = share(&message, || {
            bincode::serde::borrow_decode_from_slice::<Bytes, _>(&other, CONFIG)
                .unwrap()
                .0
        });
        drop(other);
        assert_eq!(bytes, vec![7u8; SHARED_BYTES_MIN]);
    }

    #[test]
    fn bytes_are_made_from_and_into_what_holds_bytes() {
        let bytes = Bytes::from(&[1, 2, 3]);
        assert_eq!(bytes, Bytes::from(bytes::Bytes::from_static(&[1, 2, 3])));
        assert_eq!(<&[u8]>::from(&bytes), [1, 2, 3]);
        assert_eq!(bytes::Bytes::from(bytes.clone()), [1, 2, 3][..]);
        assert_eq!(Vec::from(bytes), [1, 2, 3]);
    }
}
