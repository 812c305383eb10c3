//! The encodings that docs/abi.md promises to whoever writes a guest, as hosts write and read them, by a guest that says
//! what it got and replies what it is told.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::ser::SerializeTuple;
use serde::{Serialize, Serializer};
use serde_json::Value;
use stockade::{Bytes, Cause, Codec, Error, Host, Module, State};
use stockade_tests::{guest, host_of};

async fn mirror(state: State) -> Host {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let module = Module::from_file(root.join("guests/wat/mirror.wat"));
    let builder = host_of(module).workers(1).state(state);
    builder.build().await.unwrap()
}

/// What stands in docs/abi.md between ```` ```json NAME ```` and its end.
fn vectors(name: &str) -> Vec<Value> {
    let document = include_str!("../../../docs/abi.md");
    let (_, block) = document.split_once(&format!("```json {name}\n")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    serde_json::from_str(block).unwrap()
}

fn bytes(vector: &Value) -> Vec<u8> {
    let hex = vector["bincode"].as_str().unwrap();
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// One vector as a value of this type: what the host sends is the vector, and the vector is what it reads.
async fn agrees<T>(mirror: &Host, vector: &Value, is_shortest: bool)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + Clone,
{
    let value: T = serde_json::from_value(vector["json"].clone()).unwrap();
    assert_eq!(serde_json::to_value(&value).unwrap(), vector["json"]);
    let encoded = [&[0][..], &bytes(vector)].concat();
    if is_shortest {
        let sent: Bytes = mirror.run_sync("request", (value.clone(),)).await.unwrap();
        assert_eq!(sent, encoded, "{vector}");
    }
    // Status 0 is the number of the codec, too.
    let reply = Bytes::from(encoded);
    let read: T = mirror.run_sync("reply", (&reply,)).await.unwrap();
    assert_eq!(read, value, "{vector}");
}

#[tokio::test]
async fn hosts_write_and_read_the_vectors_of_the_abi() {
    let mirror = mirror(State::Keep).await;
    for (name, is_shortest) in [("vectors", true), ("longer", false)] {
        for vector in vectors(name) {
            macro_rules! by_type {
                ($($ty:ty),* $(,)?) => {
                    match vector["rust"].as_str().unwrap() {
                        $(ty if ty == stringify!($ty) => agrees::<$ty>(&mirror, &vector, is_shortest).await,)*
                        other => panic!("no type for {other}"),
                    }
                };
            }
            by_type!(
                u8, u16, u32, u64, i8, i16, i32, i64, f32, f64, bool, char, String, Bytes,
                Option<u32>, Vec<(i16, Vec<bool>)>, (u8, String), [u32; 2], (),
                BTreeMap<String, u32>, Result<i64, String>,
            );
        }
    }
    // Lengths of two and of four bytes.
    for len in [250usize, 251, 65_530, 65_535, 65_536, 3_000_000] {
        let bytes = Bytes::from(vec![7; len]);
        let sent: Bytes = mirror.run_sync("request", (&bytes,)).await.unwrap();
        let prefix = sent.len() - len;
        assert_eq!(
            prefix,
            if len < 251 {
                2
            } else if len < 65_536 {
                4
            } else {
                6
            }
        );
        assert_eq!(sent[prefix..], bytes[..]);
        let reply = Bytes::from([&[0][..], &sent[1..]].concat());
        assert_eq!(
            mirror
                .run_sync::<_, _, Bytes>("reply", (&reply,))
                .await
                .unwrap(),
            bytes
        );
    }
}

/// These bytes as arguments, whatever they are: bincode writes a tuple of bytes as it is.
struct Raw(Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in &self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

#[tokio::test]
async fn what_the_abi_calls_no_argument_is_refused_by_guests_in_rust_too() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    let mut refused = 0;
    for vector in vectors("refused") {
        let function = match vector["rust"].as_str().unwrap() {
            "u8" => "echo_u8",
            "u16" => "echo_u16",
            "u32" => "echo_u32",
            "u64" => "echo_u64",
            "i16" => "echo_i16",
            "f64" => "echo_f64",
            "bool" => "echo_bool",
            "char" => "echo_char",
            "String" => "echo_string",
            "Bytes" => "echo",
            "Option<u32>" => "echo_option",
            "()" => "no_args",
            _ => continue,
        };
        if vector.get("json").is_some() {
            continue;
        }
        refused += 1;
        let arguments = Raw(bytes(&vector));
        let called = host.run_sync::<_, _, Nothing>(function, arguments).await;
        assert!(matches!(called, Err(Error::DecodeArgs { .. })), "{vector}");
    }
    assert!(refused > 10, "{refused}");
}

/// A result of any type, for calls that have none.
#[derive(Debug, serde::Deserialize)]
struct Nothing;

/// The host's view of replies that are no values: by the mirror, byte by byte.
#[tokio::test]
async fn statuses_are_the_errors_that_the_abi_says() {
    let mirror = mirror(State::Fresh).await;
    let reply = |bytes: &[u8]| {
        let bytes = Bytes::from(bytes.to_vec());
        let call = mirror.call("reply", (bytes,));
        async { call.await.map(|(): ()| ()).unwrap_err() }
    };
    let error = reply(b"\x01not so").await;
    assert!(
        matches!(&error, Error::DecodeArgs { reason, .. } if reason == "not so"),
        "{error}"
    );
    let error = reply(b"\x02not so").await;
    assert!(
        matches!(&error, Error::EncodeResult { reason, .. } if reason == "not so"),
        "{error}"
    );
    let error = reply(b"\0\0").await;
    assert!(matches!(error, Error::DecodeResult { .. }), "{error}");
    for broken in [&b"\x03"[..], b""] {
        let error = reply(broken).await;
        let Error::BrokenWorker(broken) = &error else {
            panic!("{error:?}")
        };
        assert!(matches!(broken.cause(), Cause::Protocol(_)), "{error}");
    }
    let json = mirror
        .call::<_, _, Bytes>("request", (1u8,))
        .codec(Codec::Json);
    let error = json.await.unwrap_err();
    assert!(
        matches!(&error, Error::DecodeArgs { reason, .. } if reason.contains("bincode only")),
        "{error}"
    );
}
