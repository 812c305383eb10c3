//! One reply: a status byte, then the value in the request's codec or a message. Owns how it is
//! laid out and how it leaves the guest.

use std::io;

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;

use crate::head::Head;
use crate::request::{Codec, Function};
use crate::tail::Parts;

const VALUE: u8 = 0;
const NOT_UNDERSTOOD: u8 = 1;
const NOT_ENCODABLE: u8 = 2;
/// A value whose end lies elsewhere: its address and its length follow the beginning.
#[cfg(target_family = "wasm")]
const VALUE_WITH_TAIL: u8 = 4;

/// A reply that is ready to be sent.
#[derive(Debug)]
#[cfg_attr(
    not(any(test, target_family = "wasm")),
    expect(dead_code, reason = "it leaves WebAssembly guests only")
)]
pub struct Reply {
    head: Head,
    tail: Option<bytes::Bytes>,
}

impl Reply {
    /// The arguments are not what the function takes.
    pub(crate) fn not_understood(function: &Function, reason: &str) -> Self {
        let Function { name, arguments } = function;
        Self::message(
            NOT_UNDERSTOOD,
            &format!("{name} takes ({arguments}): {reason}"),
        )
    }

    fn not_encodable(function: &Function, reason: &str) -> Self {
        Self::message(
            NOT_ENCODABLE,
            &format!(
                "the result of {} cannot be encoded: {reason}",
                function.name
            ),
        )
    }

    fn message(status: u8, message: &str) -> Self {
        let mut head = Head::new();
        head.put(&[status]);
        head.put(message.as_bytes());
        Self { head, tail: None }
    }

    /// Gives the reply up for the host to read: its address in the upper half, its length in the
    /// lower.
    #[cfg(target_family = "wasm")]
    #[inline]
    pub fn into_abi(self) -> u64 {
        match (self.head, self.tail) {
            (Head::Room(room, len), None) => packed(room.lend(), len),
            (head, tail) => lend(head, tail),
        }
    }

    /// Exists so that the expansion of `#[work]` is type-checked on every target.
    #[cfg(not(target_family = "wasm"))]
    pub fn into_abi(self) -> u64 {
        unreachable!("work functions are exported to WebAssembly only")
    }
}

/// The same for one that does not lie in the room alone.
#[cfg(target_family = "wasm")]
#[inline(never)]
fn lend(mut head: Head, tail: Option<bytes::Bytes>) -> u64 {
    if let Some(tail) = &tail {
        if let Some(status) = head.first_mut() {
            *status = VALUE_WITH_TAIL;
        }
        for word in [tail.as_ptr().addr(), tail.len()] {
            head.put(&(word as u32).to_le_bytes());
        }
    }
    let (ptr, len) = match head {
        Head::Room(room, len) => (room.lend(), len),
        Head::Heap(bytes) => {
            let bytes = Box::leak(bytes.into_boxed_slice());
            (bytes.as_mut_ptr(), bytes.len())
        }
    };
    if let Some(tail) = tail {
        crate::abi::keep_tail(ptr.addr(), tail);
    }
    packed(ptr, len)
}

#[cfg(target_family = "wasm")]
#[inline]
fn packed(ptr: *mut u8, len: usize) -> u64 {
    (ptr.expose_provenance() as u64) << 32 | len as u64
}

#[cfg(test)]
impl Reply {
    /// The reply without a tail.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.head.bytes().to_vec();
        bytes.extend(self.tail.into_iter().flatten());
        bytes
    }
}

/// Encodes what the function returned.
pub fn encode<T: Serialize>(codec: Codec, function: &Function, value: &T) -> Reply {
    let mut head = Head::new();
    head.put(&[VALUE]);
    let encoded = match codec {
        Codec::Bincode => encode_with_tail(value, head),
        Codec::Json => encode_as_text(value, head),
    };
    encoded.unwrap_or_else(|reason| Reply::not_encodable(function, &reason))
}

fn encode_with_tail<T: Serialize>(value: &T, head: Head) -> Result<Reply, String> {
    let mut parts = Parts::after(head);
    parts
        .write(|to| bincode::serde::encode_into_writer(value, to, bincode::config::standard()))
        .map_err(|error| in_words(&error))?;
    let (head, tail) = parts.into_parts();
    Ok(Reply { head, tail })
}

#[cold]
fn encode_as_text<T: Serialize>(value: &T, mut head: Head) -> Result<Reply, String> {
    serde_json::to_writer(&mut head, value).map_err(|error| error.to_string())?;
    Ok(Reply { head, tail: None })
}

/// Appends a value, encoded; or says why that cannot be.
pub(crate) fn encode_into<T: Serialize + ?Sized>(
    codec: Codec,
    value: &T,
    to: &mut Vec<u8>,
) -> Result<(), String> {
    let mut to = Buffer(to);
    match codec {
        Codec::Bincode => {
            bincode::serde::encode_into_writer(value, &mut to, bincode::config::standard())
                .map_err(|error| in_words(&error))
        }
        Codec::Json => serde_json::to_writer(&mut to, value).map_err(|error| error.to_string()),
    }
}

/// bincode's `Display` is its `Debug`.
#[cold]
fn in_words(error: &EncodeError) -> String {
    match error {
        EncodeError::OtherString(message) => message.clone(),
        EncodeError::Other(message) => (*message).to_owned(),
        other => format!("{other:?}"),
    }
}

/// bincode's own writer for `io::Write` costs several times as much for each number.
struct Buffer<'a>(&'a mut Vec<u8>);

impl Writer for Buffer<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl io::Write for Buffer<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::ser::{Error, Serializer};

    use super::*;

    const FUNCTION: Function = Function {
        name: "f",
        arguments: "",
    };

    #[test]
    fn a_value_follows_its_status_in_the_codec_of_the_request() {
        assert_eq!(
            encode(Codec::Bincode, &FUNCTION, &300u32).into_bytes(),
            [0, 251, 44, 1]
        );
        assert_eq!(
            encode(Codec::Json, &FUNCTION, &(300u32, "x")).into_bytes(),
            b"\0[300,\"x\"]"
        );
        assert_eq!(encode(Codec::Bincode, &FUNCTION, &()).into_bytes(), [0]);
        assert_eq!(
            encode(
                Codec::Bincode,
                &FUNCTION,
                &crate::Bytes::from(vec![7; 1000])
            )
            .into_bytes()
            .len(),
            1004
        );
    }

    #[test]
    fn a_value_that_cannot_be_encoded_is_a_message() {
        struct Stubborn;

        impl Serialize for Stubborn {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(S::Error::custom("no"))
            }
        }

        for codec in [Codec::Bincode, Codec::Json] {
            let reply = encode(codec, &FUNCTION, &(1u8, Stubborn));
            assert_eq!(
                reply.into_bytes(),
                b"\x02the result of f cannot be encoded: no"
            );
        }
    }
}
