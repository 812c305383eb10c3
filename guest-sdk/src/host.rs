//! What a guest can say to its host, and ask of it, while a call runs.
//!
//! Away from WebAssembly there is no host: what is emitted, logged and reported goes nowhere, and host functions do
//! not exist, so that unit tests of a guest run as they are.

use std::any::type_name;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::imports;
use crate::reply;
use crate::request::{self, Codec};

/// How much a record of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something may be wrong.
    Warn = 2,
    /// What is going on.
    Info = 3,
    /// For those who look for a mistake.
    Debug = 4,
    /// Every step.
    Trace = 5,
}

/// Makes a record in the host's log, under this call.
///
/// It does not wait for the host, but for one look every tenth of a second. A call may log about as much as its
/// host keeps of its output (64 KiB by default); records beyond that are counted and dropped.
///
/// ```
/// # use stockade_guest::{Level, log, work};
/// #[work]
/// pub fn divide(a: u32, b: u32) -> Option<u32> {
///     if b == 0 {
///         log(Level::Warn, "a division by zero");
///     }
///     a.checked_div(b)
/// }
/// ```
pub fn log(level: Level, message: impl AsRef<str>) {
    imports::log(level as u32, message.as_ref());
}

/// Says that `done` of `total` is done, in units of the guest's own; `total` is 0 where it is not known. The host
/// sees the latest when it looks. Costs some nanoseconds.
pub fn progress(done: u64, total: u64) {
    imports::progress(done, total);
}

/// Hands an item to a host that called this function with `Host::stream`, and waits until it is taken. For any
/// other host the item is dropped.
///
/// ```
/// # use stockade_guest::{emit, work};
/// /// Emits every line that contains `word`, and returns how many there are.
/// #[work]
/// pub fn search(text: &str, word: &str) -> usize {
///     let mut found = 0;
///     for line in text.lines().filter(|line| line.contains(word)) {
///         emit(&line);
///         found += 1;
///     }
///     found
/// }
/// ```
///
/// # Panics
/// When serde cannot encode the item.
pub fn emit<T: Serialize + ?Sized>(item: &T) {
    let mut encoded = Vec::new();
    if let Err(reason) = reply::encode_into(request::current_codec(), item, &mut encoded) {
        panic!("an item that is emitted cannot be encoded: {reason}");
    }
    imports::emit(&encoded);
}

/// Calls a function that the host registered with `HostBuilder::function`, with a tuple of arguments, and waits for
/// its result. A `Result` that the function returns is an `R` like any other.
///
/// The types are compared with the function's before it runs, as far as both are known: those of serde's own data
/// model and their collections. What a crate defines for itself is taken on trust.
///
/// ```
/// # use stockade_guest::{host_call, work};
/// /// What the server's own `price_of` says, doubled.
/// #[work]
/// pub fn dear(article: &str) -> Result<u64, String> {
///     let price: u64 = host_call("price_of", (article,)).map_err(|error| error.to_string())?;
///     Ok(2 * price)
/// }
/// # assert!(dear("tea").is_err()); // there is no host here
/// ```
///
/// # Errors
/// When there is no such function, or arguments or result are not what the other side expects.
pub fn host_call<A: Serialize, R: DeserializeOwned>(
    function: &str,
    args: A,
) -> Result<R, HostCallError> {
    let codec = request::current_codec();
    let mut encoded = vec![codec.byte() | WITH_TYPES];
    for name in [type_name::<A>(), type_name::<R>()] {
        let name = if name.len() <= COMPARED_MAX { name } else { "" };
        encoded.extend_from_slice(&(name.len() as u16).to_le_bytes());
        encoded.extend_from_slice(name.as_bytes());
    }
    reply::encode_into(codec, &args, &mut encoded).map_err(HostCallError::EncodeArgs)?;
    let answer = imports::call(function, &encoded);
    drop(encoded);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match answer.split_first() {
        Some((0, value)) => {
            request::decode_value(codec, value).map_err(HostCallError::DecodeResult)
        }
        Some((1, message)) => Err(HostCallError::DecodeArgs(text(message))),
        Some((2, message)) => Err(HostCallError::EncodeResult(text(message))),
        Some((4, message)) => Err(HostCallError::Signature(text(message))),
        Some((_, message)) => Err(HostCallError::NoSuchFunction(text(message))),
        None => Err(HostCallError::NoSuchFunction(
            "the host said nothing".into(),
        )),
    }
}

/// Why a host function gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostCallError {
    /// The host has no function of this name; with the names that it has.
    NoSuchFunction(String),
    /// Its arguments or its result are of other types; with both.
    Signature(String),
    /// The arguments could not be encoded.
    EncodeArgs(String),
    /// The host did not understand the arguments.
    DecodeArgs(String),
    /// The host could not encode the result, or that is too long.
    EncodeResult(String),
    /// The result is not of the type that was expected.
    DecodeResult(String),
}

impl fmt::Display for HostCallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchFunction(reason) | Self::Signature(reason) => f.write_str(reason),
            Self::EncodeArgs(reason) => {
                write!(
                    f,
                    "the arguments of the host function cannot be encoded: {reason}"
                )
            }
            Self::DecodeArgs(reason) => {
                write!(
                    f,
                    "the host function did not understand its arguments: {reason}"
                )
            }
            Self::EncodeResult(reason) => {
                write!(
                    f,
                    "the host function could not hand over its result: {reason}"
                )
            }
            Self::DecodeResult(reason) => write!(
                f,
                "the result of the host function is not what was expected: {reason}"
            ),
        }
    }
}

impl std::error::Error for HostCallError {}

/// The host compares no type with a longer name.
const COMPARED_MAX: usize = 1024;

/// In the first byte of a request to the host: the names of the types of arguments and result come first.
const WITH_TYPES: u8 = 0x80;

impl Codec {
    /// The first byte of a request.
    fn byte(self) -> u8 {
        match self {
            Self::Bincode => 0,
            Self::Json => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_host_a_guest_runs_and_host_functions_do_not_exist() {
        log(Level::Info, "nobody hears it");
        progress(1, 2);
        emit(&"nobody takes it");
        let answer = host_call::<_, u32>("f", (1u8,));
        assert!(matches!(answer, Err(HostCallError::NoSuchFunction(_))));
    }

    #[test]
    fn an_item_that_cannot_be_encoded_is_a_panic() {
        struct Bad;
        impl Serialize for Bad {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        let panic = std::panic::catch_unwind(|| emit(&Bad)).unwrap_err();
        let said = panic.downcast_ref::<String>().unwrap();
        assert_eq!(said, "an item that is emitted cannot be encoded: no");
    }
}
