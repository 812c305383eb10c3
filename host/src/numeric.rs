//! Plain numeric exports: arguments as numbers, without an encoding.
//!
//! Each argument is eight bytes, little-endian, narrower numbers zero-extended; so is the result.

use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::ser::{self, Impossible, Serialize, SerializeTuple, Serializer};
use stockade_wire::module_info::Number;

use crate::codec::Sink;

/// Writes the numbers of a tuple, each checked against the type that the export wants.
pub(crate) fn encode<A: Serialize + ?Sized>(
    args: &A,
    params: &[Number],
    writer: &mut impl Sink,
) -> Result<(), Mismatch> {
    let mut numbers = Numbers { params, writer };
    args.serialize(Args(&mut numbers))?;
    match numbers.params {
        [] => Ok(()),
        left => Err(Mismatch(format!(
            "{} more arguments are wanted",
            left.len()
        ))),
    }
}

/// Reads the one number of a result, or nothing.
pub(crate) fn decode<R: DeserializeOwned>(
    bytes: &[u8],
    result: Option<Number>,
) -> Result<R, Mismatch> {
    let wrong = || Mismatch(format!("{} bytes where a number was promised", bytes.len()));
    match result {
        None if bytes.is_empty() => R::deserialize(Reply(None)),
        None => Err(wrong()),
        Some(number) => {
            let bits = u64::from_le_bytes(bytes.try_into().map_err(|_| wrong())?);
            R::deserialize(Reply(Some((number, bits))))
        }
    }
}

/// Why numbers do not fit.
#[derive(Debug)]
pub(crate) struct Mismatch(String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

impl ser::Error for Mismatch {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self(what.to_string())
    }
}

struct Numbers<'a, W> {
    params: &'a [Number],
    writer: &'a mut W,
}

impl<W: Sink> Numbers<'_, W> {
    fn put(&mut self, number: Number, bits: u64, found: &str) -> Result<(), Mismatch> {
        match self.params.split_first() {
            Some((wanted, rest)) if *wanted == number => {
                self.params = rest;
                self.writer.put(&bits.to_le_bytes());
                Ok(())
            }
            Some((wanted, _)) => Err(Mismatch(format!(
                "{found} where {} is wanted",
                wanted.name()
            ))),
            None => Err(Mismatch("too many arguments".to_owned())),
        }
    }
}

/// Takes the tuple apart.
struct Args<'a, 'b, W>(&'a mut Numbers<'b, W>);

/// Takes one number.
struct One<'a, 'b, W>(&'a mut Numbers<'b, W>);

fn no_number<T>(what: &str) -> Result<T, Mismatch> {
    Err(Mismatch(format!(
        "{what} is no plain number: a plain export takes a tuple of i32, u32, i64, u64, f32 and f64"
    )))
}

/// The methods of a `Serializer` that a plain number never calls.
macro_rules! refuse {
    ($($method:ident($($ty:ty),*);)*) => {$(
        fn $method(self $(, _: $ty)*) -> Result<Self::Ok, Mismatch> {
            no_number(stringify!($method).trim_start_matches("serialize_"))
        }
    )*};
}

macro_rules! refuse_compounds {
    () => {
        type Ok = ();
        type Error = Mismatch;
        type SerializeSeq = Impossible<(), Mismatch>;
        type SerializeTupleStruct = Impossible<(), Mismatch>;
        type SerializeTupleVariant = Impossible<(), Mismatch>;
        type SerializeMap = Impossible<(), Mismatch>;
        type SerializeStruct = Impossible<(), Mismatch>;
        type SerializeStructVariant = Impossible<(), Mismatch>;

        refuse! {
            serialize_bool(bool);
            serialize_i8(i8);
            serialize_i16(i16);
            serialize_u8(u8);
            serialize_u16(u16);
            serialize_char(char);
            serialize_str(&str);
            serialize_bytes(&[u8]);
            serialize_none();
            serialize_unit_struct(&'static str);
            serialize_unit_variant(&'static str, u32, &'static str);
        }
        fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Mismatch> {
            no_number("an option")
        }
        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            name: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<(), Mismatch> {
            no_number(name)
        }
        fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Mismatch> {
            no_number("a list")
        }
        fn serialize_tuple_struct(
            self,
            name: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleStruct, Mismatch> {
            no_number(name)
        }
        fn serialize_tuple_variant(
            self,
            name: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeTupleVariant, Mismatch> {
            no_number(name)
        }
        fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Mismatch> {
            no_number("a map")
        }
        fn serialize_struct(
            self,
            name: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStruct, Mismatch> {
            no_number(name)
        }
        fn serialize_struct_variant(
            self,
            name: &'static str,
            _: u32,
            _: &'static str,
            _: usize,
        ) -> Result<Self::SerializeStructVariant, Mismatch> {
            no_number(name)
        }
    };
}

impl<W: Sink> Serializer for Args<'_, '_, W> {
    type SerializeTuple = Self;
    refuse_compounds!();
    refuse! {
        serialize_i32(i32);
        serialize_u32(u32);
        serialize_i64(i64);
        serialize_u64(u64);
        serialize_f32(f32);
        serialize_f64(f64);
    }

    fn serialize_unit(self) -> Result<(), Mismatch> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Mismatch> {
        value.serialize(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Mismatch> {
        Ok(self)
    }
}

impl<W: Sink> SerializeTuple for Args<'_, '_, W> {
    type Ok = ();
    type Error = Mismatch;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Mismatch> {
        value.serialize(One(self.0))
    }

    fn end(self) -> Result<(), Mismatch> {
        Ok(())
    }
}

impl<W: Sink> Serializer for One<'_, '_, W> {
    type SerializeTuple = Impossible<(), Mismatch>;
    refuse_compounds!();
    refuse! {
        serialize_unit();
    }

    fn serialize_i32(self, value: i32) -> Result<(), Mismatch> {
        self.0.put(Number::I32, value.cast_unsigned().into(), "i32")
    }

    fn serialize_u32(self, value: u32) -> Result<(), Mismatch> {
        self.0.put(Number::I32, value.into(), "u32")
    }

    fn serialize_i64(self, value: i64) -> Result<(), Mismatch> {
        self.0.put(Number::I64, value.cast_unsigned(), "i64")
    }

    fn serialize_u64(self, value: u64) -> Result<(), Mismatch> {
        self.0.put(Number::I64, value, "u64")
    }

    fn serialize_f32(self, value: f32) -> Result<(), Mismatch> {
        self.0.put(Number::F32, value.to_bits().into(), "f32")
    }

    fn serialize_f64(self, value: f64) -> Result<(), Mismatch> {
        self.0.put(Number::F64, value.to_bits(), "f64")
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Mismatch> {
        value.serialize(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Mismatch> {
        no_number("a tuple")
    }
}

/// One number, or none.
struct Reply(Option<(Number, u64)>);

impl Reply {
    fn visit<'de, V: Visitor<'de>>(self, visitor: V, unsigned: bool) -> Result<V::Value, Mismatch> {
        // The narrow kinds were zero-extended by the worker; whatever else it wrote is cut off.
        match self.0 {
            None => visitor.visit_unit(),
            Some((Number::I32, bits)) if unsigned => visitor.visit_u32(bits as u32),
            Some((Number::I32, bits)) => visitor.visit_i32((bits as u32).cast_signed()),
            Some((Number::I64, bits)) if unsigned => visitor.visit_u64(bits),
            Some((Number::I64, bits)) => visitor.visit_i64(bits.cast_signed()),
            Some((Number::F32, bits)) => visitor.visit_f32(f32::from_bits(bits as u32)),
            Some((Number::F64, bits)) => visitor.visit_f64(f64::from_bits(bits)),
        }
    }

    fn want<'de, V: Visitor<'de>>(
        self,
        number: Number,
        unsigned: bool,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.0 {
            Some((found, _)) if found == number => self.visit(visitor, unsigned),
            Some((found, _)) => Err(Mismatch(format!("the export returns {}", found.name()))),
            None => Err(Mismatch("the export returns nothing".to_owned())),
        }
    }
}

impl<'de> Deserializer<'de> for Reply {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.visit(visitor, false)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.want(Number::I32, false, visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.want(Number::I32, true, visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.want(Number::I64, false, visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.want(Number::I64, true, visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.want(Number::F32, false, visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.want(Number::F64, false, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i128 u8 u16 u128 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use stockade_wire::slot::{Geometry, HostSlot};

    use super::*;

    fn length(args: &impl Serialize, params: &[Number]) -> Result<usize, String> {
        let (slot, _) = HostSlot::new(Geometry::new(4096, 0).unwrap()).unwrap();
        let mut writer = slot.writer();
        encode(args, params, &mut writer).map_err(|e| e.to_string())?;
        Ok(writer.finish().unwrap().len())
    }

    #[test]
    fn every_argument_is_checked() {
        use Number::{F32, F64, I32, I64};
        assert_eq!(
            length(&(1i32, 2u64, 3f32, 4f64), &[I32, I64, F32, F64]),
            Ok(32)
        );
        assert_eq!(length(&(), &[]), Ok(0));
        assert!(
            length(&(1i64,), &[I32])
                .unwrap_err()
                .contains("i64 where i32 is wanted")
        );
        assert!(
            length(&(1i32,), &[I32, I32])
                .unwrap_err()
                .contains("1 more")
        );
        assert!(
            length(&(1i32, 1i32), &[I32])
                .unwrap_err()
                .contains("too many")
        );
        assert!(
            length(&("x",), &[I32])
                .unwrap_err()
                .contains("no plain number")
        );
        assert!(length(&7i32, &[I32]).unwrap_err().contains("tuple"));
    }

    #[test]
    fn a_result_has_its_type() {
        let bits = u64::from(u32::MAX).to_le_bytes();
        assert_eq!(decode::<i32>(&bits, Some(Number::I32)).unwrap(), -1);
        assert_eq!(decode::<u32>(&bits, Some(Number::I32)).unwrap(), u32::MAX);
        assert_eq!(
            decode::<f64>(&1.5f64.to_bits().to_le_bytes(), Some(Number::F64)).unwrap(),
            1.5
        );
        decode::<()>(&[], None).unwrap();
        assert!(decode::<u64>(&bits, Some(Number::I32)).is_err());
        assert!(decode::<u32>(&bits[..3], Some(Number::I32)).is_err());
        assert!(decode::<u32>(&[], None).is_err());
    }
}
