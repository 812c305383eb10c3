//! One request: a codec byte and the encoded tuple of arguments. Owns how arguments are decoded; a
//! request that lies about its lengths is refused, never believed.
#![expect(
    unsafe_code,
    reason = "a request arrives as the address and the length of an allocation"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::vec;

use bincode::error::DecodeError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::bytes::share;
use crate::reply::Reply;
use crate::room::Claim;

/// A work function, as messages name it.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, as they were written: `n: u32, text: &str`.
    pub arguments: &'static str,
}

/// How a request's arguments and its reply's value are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// bincode 2 in its standard configuration.
    Bincode,
    /// JSON.
    Json,
}

/// That of the request whose arguments were decoded last: what the guest sends back is in it, too.
pub(crate) fn current_codec() -> Codec {
    match CURRENT_IS_JSON.load(Ordering::Relaxed) {
        true => Codec::Json,
        false => Codec::Bincode,
    }
}

static CURRENT_IS_JSON: AtomicBool = AtomicBool::new(false);

/// Decodes a value that the host sent.
pub(crate) fn decode_value<T: DeserializeOwned>(codec: Codec, value: &[u8]) -> Result<T, String> {
    match codec {
        Codec::Json => serde_json::from_slice(value).map_err(|error| error.to_string()),
        Codec::Bincode => match from_bincode(value, value.len()) {
            Ok((decoded, read)) if read == value.len() => Ok(decoded),
            Ok((_, read)) => Err(format!("{} bytes too many", value.len() - read)),
            Err(error) => Err(in_words(&error)),
        },
    }
}

/// A request that the guest owns.
#[derive(Debug)]
pub struct Request(Message);

#[derive(Debug)]
enum Message {
    /// A short one, of so many bytes.
    Room(Claim, usize),
    /// One that parts of it may keep alive.
    Heap(bytes::Bytes),
}

#[cfg(test)]
impl Message {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Room(room, len) => &room.bytes()[..*len],
            Self::Heap(bytes) => bytes,
        }
    }
}

impl Request {
    /// Takes over the request that a host wrote into the guest's memory.
    ///
    /// # Safety
    ///
    /// `ptr` and `len` are what `stockade_alloc(len)` returned and was given, all of it was
    /// written, and nobody else uses or frees it.
    #[inline]
    pub unsafe fn adopt(ptr: *mut u8, len: usize) -> Self {
        // SAFETY: the caller hands over the only claim to the memory.
        if let Some(room) = unsafe { Claim::given_back(ptr) } {
            return Self(Message::Room(room, len));
        }
        if len == 0 {
            return Self::from(Vec::new());
        }
        // SAFETY: outside the room `stockade_alloc` allocates `len` bytes of alignment one, as a vector of
        // that capacity does, and the caller hands over the only claim to them.
        Self::from(unsafe { Vec::from_raw_parts(ptr, len, len) })
    }

    /// The encoded arguments.
    ///
    /// # Errors
    ///
    /// The reply that says why there are none, as all of [`Arguments`] do.
    #[inline]
    pub fn arguments(&self, function: &'static Function) -> Result<Arguments<'_>, Reply> {
        let encoded = match &self.0 {
            Message::Room(room, len) if let [0, rest @ ..] = &room.bytes()[..*len] => {
                Encoded::Short(rest)
            }
            Message::Room(room, len) => Encoded::read(&room.bytes()[..*len], None, function)?,
            Message::Heap(message) => Encoded::read(message, Some(message), function)?,
        };
        Ok(Arguments { function, encoded })
    }
}

impl From<Vec<u8>> for Request {
    fn from(request: Vec<u8>) -> Self {
        Self(Message::Heap(request.into()))
    }
}

/// The arguments of a request, one after the other. They may borrow from it.
#[derive(Debug)]
pub struct Arguments<'a> {
    function: &'static Function,
    encoded: Encoded<'a>,
}

#[derive(Debug)]
enum Encoded<'a> {
    /// In bincode. No argument shares the memory.
    Short(&'a [u8]),
    /// The rest, in bincode, of a message.
    Long(&'a [u8], &'a bytes::Bytes),
    /// Arguments of a message, if they may share it.
    Json(vec::IntoIter<&'a RawValue>, Option<&'a bytes::Bytes>),
}

impl<'a> Encoded<'a> {
    #[cold]
    fn read(
        request: &'a [u8],
        message: Option<&'a bytes::Bytes>,
        function: &Function,
    ) -> Result<Self, Reply> {
        let encoded = match (request.split_first(), message) {
            (Some((0, encoded)), None) => Ok(Self::Short(encoded)),
            (Some((0, encoded)), Some(message)) => Ok(Self::Long(encoded, message)),
            // A function without arguments takes `[]`, and `null`, which is serde's empty tuple.
            (Some((1, encoded)), _) => serde_json::from_slice::<Option<Vec<_>>>(encoded)
                .map(|arguments| Self::Json(arguments.unwrap_or_default().into_iter(), message))
                .map_err(|error| error.to_string()),
            (Some((codec, _)), _) => Err(format!(
                "the request is in codec {codec}, which this guest does not know"
            )),
            (None, _) => Err("the request is empty".to_owned()),
        };
        encoded.map_err(|reason| Reply::not_understood(function, &reason))
    }
}

impl<'a> Arguments<'a> {
    /// Decodes the next one, which messages call `name`.
    ///
    /// # Errors
    ///
    /// It is missing or something else.
    #[inline]
    pub fn next<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T, Reply> {
        if let Encoded::Short(rest) = &mut self.encoded {
            return match within::<T, SMALL_LIMIT>(rest) {
                Ok((argument, read)) => {
                    *rest = &rest[read..];
                    Ok(argument)
                }
                Err(error) => Err(self.refused(name, &in_words(&error))),
            };
        }
        self.next_of_long(name)
    }

    fn next_of_long<T: Deserialize<'a>>(&mut self, name: &str) -> Result<T, Reply> {
        let decoded = match &mut self.encoded {
            Encoded::Short(rest) => step(rest, 0),
            Encoded::Long(rest, message) => share(message, || step(rest, message.len())),
            Encoded::Json(arguments, message) => {
                let argument = arguments.next().ok_or_else(|| "it is missing".to_owned());
                argument.and_then(|argument| {
                    let decode = || serde_json::from_str(argument.get());
                    let decoded = match message {
                        Some(message) => share(message, decode),
                        None => decode(),
                    };
                    decoded.map_err(|error| error.to_string())
                })
            }
        };
        decoded.map_err(|reason| self.refused(name, &reason))
    }

    /// Makes sure that there are no more. The codec that they were in.
    ///
    /// # Errors
    ///
    /// There are.
    #[inline]
    pub fn end(self) -> Result<Codec, Reply> {
        let is_json = matches!(self.encoded, Encoded::Json(..));
        CURRENT_IS_JSON.store(is_json, Ordering::Relaxed);
        match &self.encoded {
            Encoded::Short([]) | Encoded::Long([], _) => Ok(Codec::Bincode),
            Encoded::Json(arguments, _) if arguments.len() == 0 => Ok(Codec::Json),
            excess => Err(excess.left_over(self.function)),
        }
    }

    #[cold]
    fn refused(&self, name: &str, reason: &str) -> Reply {
        Reply::not_understood(self.function, &format!("{name}: {reason}"))
    }
}

impl Encoded<'_> {
    #[cold]
    fn left_over(&self, function: &Function) -> Reply {
        let excess = match self {
            Self::Short(rest) | Self::Long(rest, _) => format!("{} bytes", rest.len()),
            Self::Json(arguments, _) => format!("{} arguments", arguments.len()),
        };
        Reply::not_understood(function, &format!("{excess} too many"))
    }
}

/// Decodes what comes next of a request of so many bytes.
fn step<'a, T: Deserialize<'a>>(rest: &mut &'a [u8], request_bytes: usize) -> Result<T, String> {
    let (argument, read) = from_bincode(rest, request_bytes).map_err(|error| in_words(&error))?;
    *rest = &rest[read..];
    Ok(argument)
}

const SMALL: usize = 64 << 10;
const SMALL_LIMIT: usize = 16 * SMALL;

/// bincode allocates what a length claims before it reads, unless a limit forbids. The limit is a
/// constant and counts sizes in memory, which exceed those on the wire by up to sixteen times (a
/// small `u128` is one byte), so each rung serves requests of up to a sixteenth of it.
fn from_bincode<'a, T: Deserialize<'a>>(
    encoded: &'a [u8],
    request_bytes: usize,
) -> Result<(T, usize), DecodeError> {
    const MEDIUM: usize = 2 << 20;
    const LARGE: usize = 64 << 20;
    if request_bytes <= SMALL {
        within::<T, SMALL_LIMIT>(encoded)
    } else if request_bytes <= MEDIUM {
        within::<T, { 16 * MEDIUM }>(encoded)
    } else if request_bytes <= LARGE {
        within::<T, { 16 * LARGE }>(encoded)
    } else {
        within::<T, { usize::MAX }>(encoded)
    }
}

#[inline]
fn within<'a, T: Deserialize<'a>, const LIMIT: usize>(
    encoded: &'a [u8],
) -> Result<(T, usize), DecodeError> {
    bincode::serde::borrow_decode_from_slice(
        encoded,
        bincode::config::standard().with_limit::<LIMIT>(),
    )
}

/// bincode's `Display` is its `Debug`.
#[cold]
fn in_words(error: &DecodeError) -> String {
    match error {
        DecodeError::UnexpectedEnd { additional } => {
            format!("the request ends {additional} or more bytes early")
        }
        DecodeError::LimitExceeded | DecodeError::OutsideUsizeRange(_) => {
            "a length in it is out of all proportion to the request".to_owned()
        }
        DecodeError::Utf8 { .. } => "its text is not UTF-8".to_owned(),
        DecodeError::OtherString(message) => message.clone(),
        DecodeError::Other(message) => (*message).to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::Bytes;
    use crate::borrowed::{ByteSlice, Text};

    static FUNCTION: Function = Function {
        name: "f",
        arguments: "n: u32",
    };

    fn bincode(arguments: impl serde::Serialize) -> Vec<u8> {
        let mut request = vec![0];
        request
            .extend(bincode::serde::encode_to_vec(arguments, bincode::config::standard()).unwrap());
        request
    }

    fn decode_one<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, Reply> {
        let mut arguments = request.arguments(&FUNCTION)?;
        let argument = arguments.next("n")?;
        arguments.end()?;
        Ok(argument)
    }

    fn refusal<'a, T: Deserialize<'a>>(request: &'a Request) -> String {
        message(decode_one::<T>(request).err())
    }

    fn message(reply: Option<Reply>) -> String {
        let reply = reply.expect("a refusal");
        let reply = reply.into_bytes();
        assert_eq!(reply[0], 1);
        String::from_utf8(reply[1..].to_vec()).unwrap()
    }

    #[test]
    fn a_refusal_names_the_function_what_it_takes_and_what_is_wrong() {
        for (request, reason) in [
            (b"".as_slice(), "the request is empty"),
            (
                b"\x09",
                "the request is in codec 9, which this guest does not know",
            ),
            (b"\0", "n: the request ends 1 or more bytes early"),
            (b"\0\x01\x02", "1 bytes too many"),
            (b"\x01[]", "n: it is missing"),
            (b"\x01[1,2]", "1 arguments too many"),
            (b"\x01[1] x", "trailing characters at line 1 column 5"),
            (
                b"\x01[-1]",
                "n: invalid value: integer `-1`, expected u32 at line 1 column 2",
            ),
        ] {
            assert_eq!(
                refusal::<u32>(&request.to_vec().into()),
                format!("f takes (n: u32): {reason}")
            );
        }
    }

    #[test]
    fn every_prefix_of_a_request_is_refused() {
        fn decode(request: Vec<u8>) -> Result<(), Reply> {
            let request = Request::from(request);
            let mut arguments = request.arguments(&FUNCTION)?;
            arguments.next::<Text<'_>>("text")?;
            arguments.next::<ByteSlice<'_>>("slice")?;
            arguments.next::<Vec<Option<u64>>>("numbers")?;
            arguments.next::<HashMap<String, char>>("map")?;
            arguments.next::<Bytes>("bytes")?;
            arguments.end().map(drop)
        }

        let numbers = vec![Some(u64::MAX), None, Some(7)];
        let map = HashMap::from([("key".to_owned(), 'x'), ("other".to_owned(), 'é')]);
        let whole = bincode((
            "text",
            b"slice".as_slice(),
            &numbers,
            &map,
            Bytes::from(b"bytes"),
        ));
        assert!(decode(whole.clone()).is_ok());
        for end in 0..whole.len() {
            message(decode(whole[..end].to_vec()).err());
        }
    }

    #[test]
    fn a_length_that_lies_is_refused_and_not_allocated() {
        for exponent in [30, 31, 32, 40, 62, 63] {
            let lie = Request::from(bincode((1u64 << exponent,)));
            refusal::<String>(&lie);
            refusal::<Vec<u64>>(&lie);
            refusal::<HashMap<String, String>>(&lie);
            refusal::<Bytes>(&lie);
            refusal::<Text<'_>>(&lie);
        }
    }

    #[test]
    fn values_that_are_far_larger_than_their_encoding_are_decoded() {
        for length in [1000, 60_000, 200_000, 3_000_000] {
            let request = Request::from(bincode((vec![1u128; length],)));
            assert_eq!(decode_one::<Vec<u128>>(&request).unwrap().len(), length);
        }
    }

    #[test]
    fn text_and_bytes_borrow_from_the_request_where_it_holds_them() {
        let lies_in = |part: &[u8], request: &Request| {
            request.0.bytes().as_ptr_range().contains(&part.as_ptr())
        };
        for (request, text, borrowed) in [
            (bincode(("a\"b",)), "a\"b", true),
            (b"\x01[\"ab\"]".to_vec(), "ab", true),
            (b"\x01[\"a\\\"b\"]".to_vec(), "a\"b", false),
        ] {
            let request = Request::from(request);
            let decoded: Text<'_> = decode_one(&request).unwrap();
            assert_eq!(&*decoded, text);
            assert_eq!(lies_in(decoded.as_bytes(), &request), borrowed);
        }
        for (request, borrowed) in [
            (bincode((vec![1u8, 2],)), true),
            (b"\x01[[1, 2]]".to_vec(), false),
        ] {
            let request = Request::from(request);
            let decoded: ByteSlice<'_> = decode_one(&request).unwrap();
            assert_eq!(&*decoded, [1, 2]);
            assert_eq!(lies_in(&decoded, &request), borrowed);
        }
        let request = Request::from(bincode((vec![7u8; 5000],)));
        assert!(lies_in(&decode_one::<Bytes>(&request).unwrap(), &request));
    }

    #[test]
    fn no_arguments_are_nothing_or_an_empty_array_or_null() {
        let decode = |request: &[u8]| Request::from(request.to_vec()).arguments(&FUNCTION)?.end();
        for request in [b"\0".as_slice(), b"\x01[]", b"\x01null"] {
            decode(request).unwrap();
        }
        for request in [b"\0\0".as_slice(), b"\x01[1]", b"\x01", b"\x01{}"] {
            message(decode(request).err());
        }
    }
}
