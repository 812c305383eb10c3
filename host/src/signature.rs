//! Whether a call's Rust types can be the function's.
//!
//! bincode is not self-describing: an `i32` sent where the guest reads a `u32` is a wrong number, not an
//! error. So the types of a call, as the compiler names them, are compared with the types of the function,
//! as the guest's source names them. Only what is known on both sides is compared, and only a definite
//! mismatch is an error: a type alias or a user's own type matches anything.

use stockade_wire::module_info::{FunctionInfo, FunctionKind, Number};

/// What serde makes of a type, as far as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Type {
    Unknown,
    /// A number of this name.
    Number(&'static str),
    /// A WebAssembly number, which has no sign.
    Plain(Number),
    Bool,
    Char,
    Text,
    Option(Box<Type>),
    List(Box<Type>),
    Array(Box<Type>, Option<usize>),
    Map(Box<Type>, Box<Type>),
    Result(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
}

/// Both signatures, when the call's types are definitely not the function's.
pub(crate) fn clash(function: &FunctionInfo, args: &str, result: &str) -> Option<(String, String)> {
    let (args_type, result_type) = (parse(args), parse(result));
    let clashes = match &function.kind {
        FunctionKind::Numeric { params, result } => {
            let params = params.iter().map(|n| Type::Plain(*n)).collect();
            let returns = result.map_or(Type::Tuple(Vec::new()), Type::Plain);
            differ(&Type::Tuple(params), &args_type) || differ(&returns, &result_type)
        }
        FunctionKind::Work {
            signature: Some(signature),
        } => {
            let params = signature.params.iter().map(|p| parse(&p.ty)).collect();
            differ(&Type::Tuple(params), &args_type)
                || differ(&parse(&signature.returns), &result_type)
        }
        FunctionKind::Command => false,
        // Without metadata only the shape is known: arguments are a tuple.
        FunctionKind::Work { signature: None } => !matches!(
            args_type,
            Type::Tuple(_) | Type::Array(..) | Type::Unknown | Type::List(_)
        ),
    };
    clashes.then(|| (describe(function), format!("{args} -> {result}")))
}

/// The same for a call that does not say what it expects.
pub(crate) fn clash_of_args(function: &FunctionInfo, args: &str) -> Option<(String, String)> {
    let unknown = "_";
    debug_assert_eq!(parse(unknown), Type::Unknown);
    clash(function, args, unknown).map(|(expected, _)| (expected, args.to_owned()))
}

/// Whether a guest's types of arguments and result, as its compiler names them, are definitely not those of a function
/// of the host's.
pub(crate) fn differs(ours: (&str, &str), guests: (&str, &str)) -> bool {
    /// The names come from a hostile guest, and are read in the poll of its caller. `docs/abi.md` has this, too.
    const COMPARED_MAX: usize = 1024;
    let differ = |ours, guests: &str| {
        ours != guests && guests.len() <= COMPARED_MAX && differ(&parse(ours), &parse(guests))
    };
    differ(ours.0, guests.0) || differ(ours.1, guests.1)
}

/// A function as a person would write it.
pub(crate) fn describe(function: &FunctionInfo) -> String {
    let (params, returns) = match &function.kind {
        FunctionKind::Numeric { params, result } => {
            let params = params
                .iter()
                .map(|n| n.name().to_owned())
                .collect::<Vec<_>>();
            (params, result.map(|n| n.name().to_owned()))
        }
        FunctionKind::Work {
            signature: Some(signature),
        } => {
            let params = signature
                .params
                .iter()
                .map(|p| format!("{}: {}", p.name, p.ty))
                .collect();
            (
                params,
                Some(signature.returns.clone()).filter(|r| r != "()"),
            )
        }
        FunctionKind::Work { signature: None } | FunctionKind::Command => {
            (vec!["..".to_owned()], Some("..".to_owned()))
        }
    };
    let returns = returns.map(|r| format!(" -> {r}")).unwrap_or_default();
    format!("{}({}){returns}", function.name, params.join(", "))
}

fn differ(a: &Type, b: &Type) -> bool {
    use Type::{Array, List, Map, Number as Num, Option, Plain, Result, Tuple, Unknown};
    match (a, b) {
        (Unknown, _) | (_, Unknown) => false,
        (Num(a), Num(b)) => width(a) != width(b),
        (Plain(plain), Num(name)) | (Num(name), Plain(plain)) => !match plain {
            Number::I32 => matches!(*name, "i32" | "u32"),
            Number::I64 => matches!(*name, "i64" | "u64"),
            Number::F32 => *name == "f32",
            Number::F64 => *name == "f64",
        },
        (Option(a), Option(b)) | (List(a), List(b)) => differ(a, b),
        (Array(a, n), Array(b, m)) => {
            differ(a, b) || matches!((n, m), (Some(n), Some(m)) if n != m)
        }
        // To serde an array is a tuple of equal parts.
        (Array(a, n), Tuple(parts)) | (Tuple(parts), Array(a, n)) => {
            n.is_some_and(|n| n != parts.len()) || parts.iter().any(|part| differ(a, part))
        }
        (Map(a, b), Map(c, d)) | (Result(a, b), Result(c, d)) => differ(a, c) || differ(b, d),
        // bincode writes a map as the list of its pairs.
        (Map(key, value), List(pair)) | (List(pair), Map(key, value)) => match &**pair {
            Tuple(parts) => match parts.as_slice() {
                [a, b] => differ(key, a) || differ(value, b),
                _ => true,
            },
            Unknown => false,
            _ => true,
        },
        (Tuple(a), Tuple(b)) => a.len() != b.len() || a.iter().zip(b).any(|(a, b)| differ(a, b)),
        (a, b) => a != b,
    }
}

/// serde sends a `usize` as a `u64`.
fn width(name: &str) -> &str {
    match name {
        "usize" => "u64",
        "isize" => "i64",
        other => other,
    }
}

fn parse(text: &str) -> Type {
    let mut parser = Parser {
        rest: text,
        depth: 0,
    };
    let parsed = parser.ty();
    if parser.rest.trim().is_empty() {
        parsed
    } else {
        Type::Unknown
    }
}

/// Deeper types are not compared: the text may come from a hostile module.
const DEPTH_MAX: usize = 32;

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn give_up(&mut self) -> Type {
        self.rest = "";
        Type::Unknown
    }

    fn ty(&mut self) -> Type {
        if self.depth == DEPTH_MAX {
            return self.give_up();
        }
        self.depth += 1;
        let parsed = self.ty_inner();
        self.depth -= 1;
        parsed
    }

    fn ty_inner(&mut self) -> Type {
        if self.eat("&") {
            if self.eat("'") {
                self.word();
            }
            if self.rest.trim_start().starts_with("mut ") {
                self.word();
            }
            return self.ty();
        }
        if self.eat("(") {
            return self.list(")").map_or(Type::Unknown, Type::Tuple);
        }
        if self.eat("[") {
            let item = Box::new(self.ty());
            if self.eat(";") {
                let len = self.word().parse().ok();
                return if self.eat("]") {
                    Type::Array(item, len)
                } else {
                    self.give_up()
                };
            }
            return if self.eat("]") {
                Type::List(item)
            } else {
                self.give_up()
            };
        }
        self.path()
    }

    fn list(&mut self, end: &str) -> Option<Vec<Type>> {
        let mut items = Vec::new();
        while !self.eat(end) {
            if self.eat("'") {
                self.word();
            } else {
                items.push(self.ty());
            }
            if !self.eat(",") && !self.rest.trim_start().starts_with(end) {
                self.give_up();
                return None;
            }
        }
        Some(items)
    }

    fn path(&mut self) -> Type {
        let mut name = self.word();
        while self.eat("::") {
            name = self.word();
        }
        if name.is_empty() {
            return self.give_up();
        }
        let mut generics = if self.eat("<") {
            match self.list(">") {
                Some(generics) => generics.into_iter(),
                None => return Type::Unknown,
            }
        } else {
            Vec::new().into_iter()
        };
        let mut next = || Box::new(generics.next().unwrap_or(Type::Unknown));
        match name {
            "bool" => Type::Bool,
            "char" => Type::Char,
            "str" | "String" => Type::Text,
            "Bytes" | "ByteBuf" => Type::List(Box::new(Type::Number("u8"))),
            "Box" | "Rc" | "Arc" | "Cow" => *next(),
            "Option" => Type::Option(next()),
            "Vec" | "VecDeque" | "LinkedList" | "HashSet" | "BTreeSet" | "BinaryHeap" => {
                Type::List(next())
            }
            "HashMap" | "BTreeMap" => Type::Map(next(), next()),
            "Result" => Type::Result(next(), next()),
            other => NUMBERS
                .iter()
                .find(|n| **n == other)
                .map_or(Type::Unknown, |n| Type::Number(n)),
        }
    }
}

const NUMBERS: [&str; 14] = [
    "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32",
    "f64",
];

#[cfg(test)]
mod tests {
    use std::any::type_name;
    use std::borrow::Cow;
    use std::collections::HashMap;

    use stockade_wire::module_info::{Param, Signature};

    use super::*;

    fn work(params: &[&str], returns: &str) -> FunctionInfo {
        let params = params
            .iter()
            .map(|ty| Param {
                name: "x".into(),
                ty: (*ty).into(),
            })
            .collect();
        let signature = Some(Signature {
            params,
            returns: returns.into(),
        });
        FunctionInfo {
            name: "f".into(),
            export: 0,
            kind: FunctionKind::Work { signature },
            docs: String::new(),
        }
    }

    fn ok<A, R>(function: &FunctionInfo) -> bool {
        clash(function, type_name::<A>(), type_name::<R>()).is_none()
    }

    #[test]
    fn numbers_must_be_the_same() {
        let fib = work(&["u32"], "u64");
        assert!(ok::<(u32,), u64>(&fib));
        assert!(!ok::<(i32,), u64>(&fib));
        assert!(!ok::<(u32,), u32>(&fib));
        assert!(!ok::<(u32, u32), u64>(&fib));
        assert!(!ok::<(), u64>(&fib));
        assert!(!ok::<u32, u64>(&fib), "the arguments are a tuple");
        assert!(ok::<(usize,), isize>(&work(&["u64"], "i64")));
    }

    #[test]
    fn what_serde_encodes_alike_is_alike() {
        let f = work(
            &["&str", "Vec<u8>", "&[u8]", "Bytes", "Cow<'_, str>"],
            "String",
        );
        assert!(ok::<(String, &[u8], Vec<u8>, &[u8], &str), Cow<'static, str>>(&f));
        assert!(!ok::<(String, &str, Vec<u8>, &[u8], &str), String>(&f));
        let f = work(
            &[
                "(u8, u8, u8)",
                "Option<Box<u32>>",
                "HashMap<String, Vec<f32>>",
            ],
            "()",
        );
        assert!(ok::<([u8; 3], Option<u32>, HashMap<String, Vec<f32>>), ()>(
            &f
        ));
        assert!(!ok::<([u8; 4], Option<u32>, HashMap<String, Vec<f32>>), ()>(&f));
        assert!(!ok::<([u8; 3], Option<i32>, HashMap<String, Vec<f32>>), ()>(&f));
        assert!(!ok::<([u8; 3], Option<u32>, HashMap<String, Vec<f64>>), ()>(&f));
        assert!(!ok::<([u8; 3], u32, HashMap<String, Vec<f64>>), ()>(&f));
        let f = work(&["BTreeMap<String, u32>"], "Vec<(u8, bool)>");
        assert!(ok::<(Vec<(&str, u32)>,), HashMap<u8, bool>>(&f));
        assert!(!ok::<(Vec<(&str, i32)>,), HashMap<u8, bool>>(&f));
        assert!(!ok::<(Vec<String>,), HashMap<u8, bool>>(&f));
    }

    #[test]
    fn what_is_not_known_matches() {
        struct Mine;
        let f = work(&["Point", "std::time::Duration"], "Result<Point, Error>");
        assert!(ok::<(Mine, u64), Result<Mine, String>>(&f));
        assert!(!ok::<(Mine, u64), Mine>(&work(&["u8", "u8"], "Mine")));
        assert!(ok::<(u8,), u8>(&work(&["dyn Fn(u8) -> u8"], "u8")));
    }

    #[test]
    fn plain_numbers_have_no_sign() {
        let kind = FunctionKind::Numeric {
            params: vec![Number::I32, Number::F64],
            result: None,
        };
        let f = FunctionInfo {
            name: "f".into(),
            export: 0,
            kind,
            docs: String::new(),
        };
        assert!(ok::<(i32, f64), ()>(&f));
        assert!(ok::<(u32, f64), ()>(&f));
        assert!(!ok::<(u64, f64), ()>(&f));
        assert!(!ok::<(u32, f32), ()>(&f));
        assert!(!ok::<(u32, f64), u8>(&f));
    }

    #[test]
    fn hostile_text_neither_panics_nor_recurses_for_ever() {
        for text in [
            "", "(", "((((", "Vec<", "[u8", "&", "&'", "a::", "::", "<>", "(,)", "é<ü>",
        ] {
            parse(text);
        }
        parse(&"Vec<".repeat(100_000));
        parse(&"&".repeat(100_000));
        parse(&"(".repeat(100_000));
    }
}
