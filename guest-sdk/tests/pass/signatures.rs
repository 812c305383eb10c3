//! Every form that a work function can have, without unsafe code and without a warning.
#![forbid(unsafe_code)]
#![deny(warnings, missing_docs)]

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use stockade_guest::{Bytes, work};

/// A type of the guest's own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Named<T> {
    field: T,
}

/// A type that borrows.
#[derive(Debug, Deserialize)]
pub struct Borrowing<'a> {
    text: &'a str,
}

/// Nothing in, nothing out.
#[work]
pub fn nothing() {}

#[work]
fn private(_: u8, mut counted: u32) -> (u32,) {
    counted += 1;
    (counted,)
}

/// References of every kind.
#[work]
pub fn lent(
    text: &str,
    bytes: &[u8],
    numbers: &[u32],
    named: &Named<u8>,
    plain: &Bytes,
    number: &u64,
) -> usize {
    text.len()
        + bytes.len()
        + numbers.len()
        + usize::from(named.field)
        + plain.len()
        + *number as usize
}

/// References inside other types.
#[work]
pub fn lent_inside(
    text: Option<&str>,
    pair: (&str, u8),
    borrowing: Borrowing<'_>,
    cow: Cow<'_, str>,
) -> String {
    [text.unwrap_or_default(), pair.0, borrowing.text, &cow].concat()
}

/// Owned values of every kind.
#[work]
pub const fn owned(_number: u128, _text: char, _unit: ()) -> [u8; 3] {
    [1, 2, 3]
}

/// A result of several types.
#[work]
pub(crate) fn outcome(
    map: HashMap<String, Vec<u8>>,
) -> Result<Named<Cow<'static, str>>, Vec<Option<String>>> {
    if map.is_empty() {
        Err(vec![None])
    } else {
        Ok(Named {
            field: "text".into(),
        })
    }
}

/// As many as there may be.
#[work]
#[expect(clippy::too_many_arguments, reason = "twelve may be needed")]
pub fn twelve(
    a: u8,
    b: u8,
    c: u8,
    d: u8,
    e: u8,
    f: u8,
    g: u8,
    h: u8,
    i: u8,
    j: u8,
    k: u8,
    l: u8,
) -> u8 {
    a + b + c + d + e + f + g + h + i + j + k + l
}

/// A name that is a keyword, and one that the expansion might use.
#[work]
pub fn r#match(r#type: u8, ptr: u8, len: u8, request: u8) -> u8 {
    r#type + ptr + len + request
}

macro_rules! made_by_macro {
    ($name:ident, $argument:ty, $result:ty) => {
        #[work]
        fn $name(argument: $argument) -> $result {
            argument.len() as $result
        }
    };
}

made_by_macro!(made, &str, u64);

mod inner {
    use stockade_guest::work;

    /// A function of a name that another module has, which only a guest's exports forbid.
    #[work]
    pub fn nothing() -> u8 {
        1
    }
}

fn main() {
    #[work]
    fn local(name: String) -> String {
        name
    }

    nothing();
    assert_eq!(private(0, 1), (2,));
    assert_eq!(
        lent("a", b"b", &[1], &Named { field: 1 }, &Bytes::from("c"), &1),
        6
    );
    assert_eq!(
        lent_inside(Some("a"), ("b", 0), Borrowing { text: "c" }, "d".into()),
        "abcd"
    );
    assert_eq!(owned(1, 'a', ()), [1, 2, 3]);
    assert!(outcome(HashMap::new()).is_err());
    assert_eq!(twelve(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), 12);
    assert_eq!(r#match(1, 1, 1, 1), 4);
    assert_eq!(made("abc"), 3);
    assert_eq!(inner::nothing(), 1);
    assert_eq!(local("a".to_owned()), "a");
}
