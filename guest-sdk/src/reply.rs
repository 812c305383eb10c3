//! One reply: a status byte, then the value in the request's codec or a message. Owns how it is
//! laid out and how it leaves the guest.

use std::io;

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::Serialize;

use crate::request::{Codec, Function};
use crate::tail::Parts;

const VALUE: u8 = 0;
const NOT_UNDERSTOOD: u8 = 1;
const NOT_ENCODABLE: u8 = 2;
/// A value whose end lies elsewhere: its address and its length follow the beginning.
#[cfg(target_family = "wasm")]
const VALUE_WITH_TAIL: u8 = 4;

/// Most replies are a number or a short string; they are encoded without growing.
const SMALL_REPLY_BYTES: usize = 64;

/// A reply that is ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    head: Vec<u8>,
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
        let mut reply = Vec::with_capacity(1 + message.len());
        reply.push(status);
        reply.extend_from_slice(message.as_bytes());
        Self {
            head: reply,
            tail: None,
        }
    }

    /// Gives the reply up for the host to read: its address in the upper half, its length in the
    /// lower.
    #[cfg(target_family = "wasm")]
    pub fn into_abi(mut self) -> u64 {
        if let Some(tail) = &self.tail {
            self.head[0] = VALUE_WITH_TAIL;
            for word in [tail.as_ptr().addr(), tail.len()] {
                self.head.extend_from_slice(&(word as u32).to_le_bytes());
            }
        }
        let head = self.head.into_boxed_slice();
        let len = head.len() as u64;
        let ptr = Box::into_raw(head).cast::<u8>().addr();
        if let Some(tail) = self.tail {
            crate::abi::keep_tail(ptr, tail);
        }
        (ptr as u64) << 32 | len
    }

    /// Exists so that the expansion of `#[work]` is type-checked on every target.
    #[cfg(not(target_family = "wasm"))]
    pub fn into_abi(self) -> u64 {
        unreachable!("work functions are exported to WebAssembly only")
    }
}

#[cfg(test)]
impl Reply {
    /// The reply without a tail.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.head.extend(self.tail.into_iter().flatten());
        self.head
    }
}

/// Encodes what the function returned.
pub fn encode<T: Serialize>(codec: Codec, function: &Function, value: &T) -> Reply {
    let mut head = Vec::with_capacity(SMALL_REPLY_BYTES);
    head.push(VALUE);
    let encoded = match codec {
        Codec::Bincode => encode_with_tail(value, head),
        Codec::Json => encode_into(codec, value, &mut head).map(|()| Reply { head, tail: None }),
    };
    encoded.unwrap_or_else(|reason| Reply::not_encodable(function, &reason))
}

fn encode_with_tail<T: Serialize>(value: &T, head: Vec<u8>) -> Result<Reply, String> {
    let mut parts = Parts::after(head);
    parts
        .write(|to| bincode::serde::encode_into_writer(value, to, bincode::config::standard()))
        .map_err(|error| in_words(&error))?;
    let (head, tail) = parts.into_parts();
    Ok(Reply { head, tail })
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
