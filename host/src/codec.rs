//! Arguments into a slot, results out of private memory.
//!
//! What is decoded here was written by a hostile guest. bincode allocates the length that a value claims
//! before it reads the value, so every decode carries a limit; JSON reads only what is there.

use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade_wire::module_info::{FunctionKind, Number};
use stockade_wire::slot::RequestWriter;

use crate::bounded::{self, Budget};
use crate::{Codec, Error, numeric};

/// What a request is written into.
pub(crate) trait Sink: std::io::Write + bincode::enc::write::Writer {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for RequestWriter<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        RequestWriter::put(self, bytes);
    }
}

/// A short request in the making. One that would be longer than `max` is given up.
#[derive(Debug)]
pub(crate) struct Short {
    bytes: Vec<u8>,
    max: usize,
    is_longer: bool,
}

impl Short {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max,
            is_longer: false,
        }
    }

    /// The request, if it is short.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.is_longer).then_some(self.bytes)
    }
}

impl Sink for Short {
    fn put(&mut self, bytes: &[u8]) {
        self.is_longer |= self.bytes.len() + bytes.len() > self.max;
        if !self.is_longer {
            self.bytes.extend(bytes);
        }
    }
}

impl std::io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.put(bytes);
        match self.is_longer {
            true => Err(std::io::ErrorKind::FileTooLarge.into()),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl bincode::enc::write::Writer for Short {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.put(bytes);
        match self.is_longer {
            true => Err(bincode::error::EncodeError::UnexpectedEnd),
            false => Ok(()),
        }
    }
}

/// Writes the request of one call: a codec byte and the encoded arguments, or plain numbers.
pub(crate) fn encode<A: Serialize + ?Sized>(
    function: &str,
    kind: &FunctionKind,
    codec: Codec,
    args: &A,
    writer: &mut impl Sink,
) -> Result<(), Error> {
    let failed = |reason: String| Error::EncodeArgs {
        function: function.to_owned(),
        reason,
    };
    match (kind, codec) {
        (FunctionKind::Numeric { params, .. }, _) => {
            numeric::encode(args, params, writer).map_err(|e| failed(e.to_string()))
        }
        (FunctionKind::Command, _) => {
            let config = bincode::config::standard();
            bincode::serde::encode_into_writer(args, &mut *writer, config)
                .map_err(|e| failed(e.to_string()))
        }
        (FunctionKind::Work { .. }, Codec::Bincode) => {
            writer.put(&[0]);
            let config = bincode::config::standard();
            bincode::serde::encode_into_writer(args, &mut *writer, config)
                .map_err(|e| failed(e.to_string()))
        }
        (FunctionKind::Work { .. }, Codec::Json) => {
            writer.put(&[1]);
            serde_json::to_writer(&mut *writer, args).map_err(|e| failed(e.to_string()))
        }
    }
}

/// Reads what the guest replied.
pub(crate) fn decode<R: DeserializeOwned>(
    function: &str,
    kind: &FunctionKind,
    codec: Codec,
    reply: &[u8],
) -> Result<R, Error> {
    let function = || function.to_owned();
    let no_decode = |reason: String| Error::DecodeResult {
        function: function(),
        reason,
    };
    let number = match kind {
        FunctionKind::Numeric { result, .. } => Some(*result),
        // Its exit code.
        FunctionKind::Command => Some(Some(Number::I32)),
        FunctionKind::Work { .. } => None,
    };
    if let Some(number) = number {
        return numeric::decode(reply, number).map_err(|e| no_decode(e.to_string()));
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match reply.split_first() {
        Some((0, value)) => decode_value(codec, value).map_err(no_decode),
        Some((1, message)) => Err(Error::DecodeArgs {
            function: function(),
            reason: text(message),
        }),
        Some((2, message)) => Err(Error::EncodeResult {
            function: function(),
            reason: text(message),
        }),
        Some((status, _)) => Err(no_decode(format!(
            "the guest's reply has the unknown status {status}"
        ))),
        None => Err(no_decode("the guest's reply is empty".to_owned())),
    }
}

/// What a guest asks of a function of the host's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) codec: Codec,
    /// The guest's names for the types of the arguments' tuple and of the result, if it gives any.
    pub(crate) types: Option<[&'a str; 2]>,
    /// Encoded.
    pub(crate) args: &'a [u8],
}

/// In the first byte of a guest's request: names of types come first.
const WITH_TYPES: u8 = 0x80;

impl<'a> Request<'a> {
    pub(crate) fn read(request: &'a [u8]) -> Result<Self, String> {
        let (first, mut rest) = request.split_first().ok_or("the request is empty")?;
        let codec = match first & !WITH_TYPES {
            0 => Codec::Bincode,
            1 => Codec::Json,
            other => return Err(format!("the request is in the unknown codec {other}")),
        };
        let mut name = || {
            let (len, behind) = rest.split_first_chunk::<2>()?;
            let name;
            (name, rest) = behind.split_at_checked(u16::from_le_bytes(*len).into())?;
            std::str::from_utf8(name).ok()
        };
        let types = if first & WITH_TYPES == 0 {
            None
        } else {
            let types = name().and_then(|args| Some([args, name()?]));
            Some(types.ok_or("the names of the request's types are damaged")?)
        };
        Ok(Self {
            codec,
            types,
            args: rest,
        })
    }
}

/// Status bytes of the answer to a guest's request, as those of a guest's reply.
const VALUE: u8 = 0;
pub(crate) const NOT_UNDERSTOOD: u8 = 1;
pub(crate) const NOT_ENCODABLE: u8 = 2;
pub(crate) const NO_FUNCTION: u8 = 3;
pub(crate) const OTHER_TYPES: u8 = 4;

/// The answer that a host function's result is.
pub(crate) fn encode_answer(codec: Codec, value: &impl Serialize) -> Vec<u8> {
    let mut answer = vec![VALUE];
    let encoded = match codec {
        Codec::Bincode => {
            let config = bincode::config::standard();
            bincode::serde::encode_into_std_write(value, &mut answer, config)
                .map(drop)
                .map_err(|e| e.to_string())
        }
        Codec::Json => serde_json::to_writer(&mut answer, value).map_err(|e| e.to_string()),
    };
    match encoded {
        Ok(()) => answer,
        Err(reason) => refusal(NOT_ENCODABLE, &reason),
    }
}

/// The answer that says why there is no value.
pub(crate) fn refusal(status: u8, reason: &str) -> Vec<u8> {
    [&[status], reason.as_bytes()].concat()
}

/// Reads a value that a guest encoded.
pub(crate) fn decode_value<R: DeserializeOwned>(codec: Codec, value: &[u8]) -> Result<R, String> {
    match codec {
        Codec::Json => serde_json::from_slice(value).map_err(|e| e.to_string()),
        Codec::Bincode => decode_bincode(value),
    }
}

/// The limit counts what values take in memory, not on the wire: a `u64` that took one byte counts eight.
/// It is a type parameter, hence the ladder.
fn decode_bincode<R: DeserializeOwned>(value: &[u8]) -> Result<R, String> {
    const MEMORY_PER_BYTE: usize = 16;
    const MIB: usize = 1 << 20;
    const GIB: usize = 1 << 30;
    let wanted = value.len().saturating_mul(MEMORY_PER_BYTE);
    if wanted <= MIB {
        limited::<R, MIB>(value)
    } else if wanted <= 16 * MIB {
        limited::<R, { 16 * MIB }>(value)
    } else if wanted <= 256 * MIB {
        limited::<R, { 256 * MIB }>(value)
    } else if wanted <= GIB {
        limited::<R, GIB>(value)
    } else {
        limited::<R, { 16 * GIB }>(value)
    }
}

fn limited<R: DeserializeOwned, const LIMIT: usize>(value: &[u8]) -> Result<R, String> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    // The ladder's step bounds elements that take no bytes, too.
    let budget = Budget::new(LIMIT as u64);
    match bincode::serde::seed_decode_from_slice(bounded::seed::<R>(&budget), value, config) {
        Ok((decoded, read)) if read == value.len() => Ok(decoded),
        Ok((_, read)) => Err(format!("{} bytes are left over", value.len() - read)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    /// bincode's varint for lengths beyond 32 bits.
    fn claim(len: u64) -> Vec<u8> {
        let mut bytes = vec![253];
        bytes.extend(len.to_le_bytes());
        bytes
    }

    #[test]
    fn a_claimed_length_is_an_error_and_not_an_allocation() {
        for len in [1u64 << 40, 1 << 63] {
            let bytes = claim(len);
            assert!(decode_bincode::<String>(&bytes).is_err());
            assert!(decode_bincode::<Vec<u8>>(&bytes).is_err());
            assert!(decode_bincode::<Vec<u64>>(&bytes).is_err());
            assert!(decode_bincode::<Vec<()>>(&bytes).is_err());
            assert!(decode_bincode::<Vec<Vec<u8>>>(&bytes).is_err());
            assert!(decode_bincode::<HashMap<String, u8>>(&bytes).is_err());
            assert!(decode_bincode::<BTreeMap<u64, u64>>(&bytes).is_err());
        }
    }

    #[test]
    fn the_limit_refuses_no_honest_value() {
        for n in [0usize, 1, 1000, 100_000, 3_000_000] {
            let numbers: Vec<u64> = vec![1; n];
            let bytes =
                bincode::serde::encode_to_vec(&numbers, bincode::config::standard()).unwrap();
            assert_eq!(decode_bincode::<Vec<u64>>(&bytes).unwrap().len(), n);
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        enum Expr {
            Neg(Box<Expr>),
            One,
        }
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only its shape matters")]
        struct List(Option<Box<List>>);

        let shallow: Result<Expr, _> = decode_bincode(&[0, 0, 1]);
        let two = Expr::Neg(Box::new(Expr::Neg(Box::new(Expr::One))));
        assert_eq!(shallow, Ok(two));
        let deep = vec![0; 200_000];
        assert!(
            decode_bincode::<Expr>(&deep)
                .unwrap_err()
                .contains("nested")
        );
        let deep = vec![1; 200_000];
        assert!(
            decode_bincode::<List>(&deep)
                .unwrap_err()
                .contains("nested")
        );
    }

    #[test]
    fn leftovers_are_an_error() {
        assert_eq!(decode_bincode::<u8>(&[1]), Ok(1));
        assert!(
            decode_bincode::<u8>(&[1, 2])
                .unwrap_err()
                .contains("1 bytes are left over")
        );
    }
}
