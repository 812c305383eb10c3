//! Arguments that borrow, arguments in number, and results that are nothing, large or impossible.

use serde::{Serialize, Serializer};
use stockade_guest::{Bytes, work};

use crate::echo::Point;

/// The length of a borrowed text in bytes.
#[work]
pub fn takes_str(text: &str) -> usize {
    text.len()
}

/// The number of borrowed bytes.
#[work]
pub fn takes_bytes(bytes: &[u8]) -> usize {
    bytes.len()
}

/// The sum of a borrowed slice.
#[work]
pub fn takes_slice(numbers: &[u32]) -> u64 {
    numbers.iter().copied().map(u64::from).sum()
}

/// The label of a borrowed struct.
#[work]
pub fn takes_ref_struct(point: &Point) -> String {
    point.label.clone()
}

/// The length of borrowed plain bytes.
#[work]
pub fn takes_ref_bytes(bytes: &Bytes) -> usize {
    bytes.len()
}

/// The length of a text that may be there.
#[work]
pub fn takes_option_str(text: Option<&str>) -> Option<usize> {
    text.map(str::len)
}

/// The sum of an owned vector.
#[work]
pub fn sum(numbers: Vec<u64>) -> u64 {
    numbers
        .iter()
        .fold(0, |sum, number| sum.wrapping_add(*number))
}

/// A number, of nothing.
#[work]
pub fn no_args() -> u32 {
    42
}

/// Nothing, of a number.
#[work]
pub fn unit_result(_number: u32) {}

/// All arguments in one text, of as many as there may be.
#[work]
#[expect(
    clippy::too_many_arguments,
    reason = "twelve is the maximum that the macro promises"
)]
pub fn many_args(
    a: u8,
    b: u16,
    c: u32,
    d: u64,
    e: i8,
    f: i16,
    g: i32,
    h: i64,
    i: f64,
    j: bool,
    k: char,
    l: &str,
) -> String {
    format!("{a} {b} {c} {d} {e} {f} {g} {h} {i} {j} {k} {l}")
}

/// The quotient, or a message: a function's own error is a value.
#[work]
pub fn divide(dividend: i64, divisor: i64) -> Result<i64, String> {
    dividend
        .checked_div(divisor)
        .ok_or_else(|| format!("{dividend} cannot be divided by {divisor}"))
}

/// So many zeros.
#[work]
pub fn make_bytes(count: u64) -> Bytes {
    vec![0; usize::try_from(count).expect("as many bytes as memory has addresses")].into()
}

/// A value that serde cannot encode.
#[derive(Debug)]
pub struct Unencodable;

impl Serialize for Unencodable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(
            "this value refuses to be encoded",
        ))
    }
}

/// A result that cannot be encoded.
#[work]
pub fn unencodable() -> Unencodable {
    Unencodable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_taken_in_every_form() {
        assert_eq!(takes_str("grün"), 5);
        assert_eq!(takes_bytes(b"abc"), 3);
        assert_eq!(takes_slice(&[1, u32::MAX]), 1 << 32);
        assert_eq!(
            takes_ref_struct(&Point {
                x: 0.0,
                y: 0.0,
                label: "here".to_owned()
            }),
            "here"
        );
        assert_eq!(takes_ref_bytes(&Bytes::from(b"abc")), 3);
        assert_eq!(takes_option_str(Some("ab")), Some(2));
        assert_eq!(sum(vec![1, 2, 3]), 6);
        assert_eq!(no_args(), 42);
        unit_result(1);
        let text = many_args(1, 2, 3, 4, -5, -6, -7, -8, 0.5, true, 'x', "end");
        assert_eq!(text, "1 2 3 4 -5 -6 -7 -8 0.5 true x end");
        assert_eq!(divide(7, 2), Ok(3));
        assert_eq!(divide(7, 0), Err("7 cannot be divided by 0".to_owned()));
        assert_eq!(make_bytes(3), [0; 3]);
    }
}
