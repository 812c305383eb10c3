//! What reference arguments are decoded to: borrowed from the request where the codec holds them as
//! they are.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

use crate::bytes::collect;

/// Decodes to a `&str`: borrowed from the request where it holds the text as it is, owned where
/// JSON escapes it.
#[derive(Debug)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<'a>(PhantomData<Text<'a>>);

        impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
            type Value = Text<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

/// Decodes to a `&[u8]`: borrowed from the request, or collected where JSON writes an array.
#[derive(Debug)]
pub struct ByteSlice<'a>(Cow<'a, [u8]>);

impl Deref for ByteSlice<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ByteSlice<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SliceVisitor<'a>(PhantomData<ByteSlice<'a>>);

        impl<'de: 'a, 'a> Visitor<'de> for SliceVisitor<'a> {
            type Value = ByteSlice<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<ByteSlice<'a>, E> {
                Ok(ByteSlice(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<ByteSlice<'a>, E> {
                Ok(ByteSlice(Cow::Owned(bytes.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<ByteSlice<'a>, A::Error> {
                collect(sequence).map(|bytes| ByteSlice(Cow::Owned(bytes)))
            }
        }

        deserializer.deserialize_bytes(SliceVisitor(PhantomData))
    }
}
