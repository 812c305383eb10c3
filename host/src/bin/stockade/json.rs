//! Arguments as JSON: one word of the command line for each.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::ser::{Error, SerializeTuple, Serializer};
use serde_json::Value;
use stockade::FunctionInfo;

/// The arguments of a call.
#[derive(Debug, Clone)]
pub(crate) struct Arguments(Vec<Argument>);

#[derive(Debug, Clone)]
enum Argument {
    /// For a function that reads JSON.
    Value(Value),
    /// For an export of plain numbers.
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
}

impl Arguments {
    /// Reads them, as the function wants them.
    pub(crate) fn parse(function: &FunctionInfo, words: &[String]) -> Result<Self> {
        if !function.is_numeric {
            return words
                .iter()
                .map(|word| value(word).map(Argument::Value))
                .collect::<Result<_>>()
                .map(Self);
        }
        let types = parameter_types(&function.signature);
        ensure!(
            types.len() == words.len(),
            "{} takes {} arguments, not {}",
            function.signature,
            types.len(),
            words.len()
        );
        let pairs = words.iter().zip(types);
        pairs
            .map(|(word, ty)| number(word, ty))
            .collect::<Result<_>>()
            .map(Self)
    }
}

fn value(word: &str) -> Result<Value> {
    serde_json::from_str(word).with_context(|| {
        format!("`{word}` is not JSON: a text is written with quotes, such as '\"text\"'")
    })
}

fn number(word: &str, ty: &str) -> Result<Argument> {
    let wrong = || format!("`{word}` is not a number that fits {ty}");
    Ok(match ty {
        // WebAssembly's integers have no sign: both readings of them are taken.
        "i32" => match word.parse::<u32>() {
            Ok(unsigned) => Argument::I32(unsigned.cast_signed()),
            Err(_) => Argument::I32(word.parse().with_context(wrong)?),
        },
        "i64" => match word.parse::<u64>() {
            Ok(unsigned) => Argument::I64(unsigned.cast_signed()),
            Err(_) => Argument::I64(word.parse().with_context(wrong)?),
        },
        "f32" => Argument::F32(word.parse().with_context(wrong)?),
        "f64" => Argument::F64(word.parse().with_context(wrong)?),
        other => bail!("{other} is no number"),
    })
}

/// The types of `name(type, type) -> type`.
fn parameter_types(signature: &str) -> Vec<&str> {
    let parameters = signature
        .rsplit_once(')')
        .and_then(|(before, _)| before.rsplit_once('('))
        .map_or("", |(_, parameters)| parameters);
    parameters.split(", ").filter(|ty| !ty.is_empty()).collect()
}

impl Serialize for Arguments {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for argument in &self.0 {
            match argument {
                Argument::Value(value) => tuple.serialize_element(value)?,
                Argument::I32(n) => tuple.serialize_element(n)?,
                Argument::I64(n) => tuple.serialize_element(n)?,
                Argument::F32(n) => tuple.serialize_element(n)?,
                Argument::F64(n) => tuple.serialize_element(n)?,
            }
        }
        tuple.end().map_err(S::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_off_a_signature() {
        assert_eq!(parameter_types("add(i32, f64) -> i64"), ["i32", "f64"]);
        assert_eq!(parameter_types("odd(name)(i32)"), ["i32"]);
        assert!(parameter_types("none()").is_empty());
    }
}
