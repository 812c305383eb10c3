//! Arguments as JSON: one word of the command line for each.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde::ser::{Error, SerializeTuple, Serializer};
use serde_json::Value;
use stockade::{FunctionInfo, Parameter};

use crate::terminal::harmless;

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
        if let Some(parameters) = &function.parameters {
            let (takes, given) = (parameters.len(), words.len());
            ensure!(
                takes == given,
                "`{}` takes {takes} argument{}, not {given}",
                harmless(&function.signature),
                if takes == 1 { "" } else { "s" }
            );
        }
        let parameter = |at: usize| function.parameters.as_ref().and_then(|all| all.get(at));
        let arguments = words.iter().enumerate().map(|(at, word)| {
            let read = match parameter(at) {
                Some(parameter) if function.is_numeric => number(word, &parameter.ty),
                _ => value(word).map(Argument::Value),
            };
            read.with_context(|| format!("argument {}", place(at, parameter(at))))
        });
        arguments.collect::<Result<_>>().map(Self)
    }
}

/// Which argument it is, for a message.
fn place(at: usize, parameter: Option<&Parameter>) -> String {
    match parameter {
        Some(Parameter { name, ty, .. }) if name.is_empty() => format!("{} ({ty})", at + 1),
        Some(Parameter { name, ty, .. }) => {
            format!("{} ({}: {})", at + 1, harmless(name), harmless(ty))
        }
        None => (at + 1).to_string(),
    }
}

fn value(word: &str) -> Result<Value> {
    serde_json::from_str(word).map_err(|error| {
        let quoted = Value::from(word).to_string();
        anyhow::anyhow!(
            "`{}` is not JSON: {error}; as a text it is written '{}'",
            harmless(word),
            harmless(&quoted)
        )
    })
}

fn number(word: &str, ty: &str) -> Result<Argument> {
    let wrong = || format!("`{}` is not a number that fits {ty}", harmless(word));
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
