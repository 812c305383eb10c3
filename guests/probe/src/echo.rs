//! Functions that return their argument: one for each shape that a value can have.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use stockade_guest::{Bytes, work};

/// A struct with fields of several types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The abscissa.
    pub x: f64,
    /// The ordinate.
    pub y: f64,
    /// What the point is called.
    pub label: String,
}

/// An enum with variants of every kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    /// Without fields.
    Empty,
    /// With a nameless field.
    Circle(f64),
    /// With several.
    Line(Point, Point),
    /// With named fields.
    Rectangle {
        /// From left to right.
        width: u32,
        /// From top to bottom.
        height: u32,
    },
}

/// The same bytes, as one block.
#[work]
pub fn echo(bytes: Bytes) -> Bytes {
    bytes
}

/// The same bytes, borrowed from the request and copied once.
#[work]
pub fn echo_slice(bytes: &[u8]) -> Bytes {
    bytes.into()
}

macro_rules! echoes {
    ($($name:ident: $ty:ty;)*) => {
        $(
            /// The same value.
            #[work]
            pub fn $name(value: $ty) -> $ty {
                value
            }
        )*
    };
}

echoes! {
    echo_bool: bool;
    echo_btree_map: BTreeMap<u32, String>;
    echo_char: char;
    echo_enum: Shape;
    echo_f32: f32;
    echo_f64: f64;
    echo_hash_map: HashMap<String, u32>;
    echo_i8: i8;
    echo_i16: i16;
    echo_i32: i32;
    echo_i64: i64;
    echo_i128: i128;
    echo_nested: Vec<Vec<Option<String>>>;
    echo_option: Option<u32>;
    echo_result: Result<u32, String>;
    echo_string: String;
    echo_struct: Point;
    echo_tuple: (u32, String, bool);
    echo_u8: u8;
    echo_u16: u16;
    echo_u32: u32;
    echo_u64: u64;
    echo_u128: u128;
    echo_unit: ();
    echo_vec: Vec<u8>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_went() {
        assert_eq!(echo(Bytes::from(vec![1, 2])), [1, 2]);
        assert_eq!(echo_slice(&[1, 2]), [1, 2]);
        let point = Point {
            x: 1.0,
            y: -0.5,
            label: "p".to_owned(),
        };
        assert_eq!(echo_struct(point.clone()), point);
        let line = Shape::Line(point.clone(), point);
        assert_eq!(echo_enum(line.clone()), line);
        assert_eq!(echo_u128(u128::MAX), u128::MAX);
        echo_unit(());
    }
}
