//! The language: from text to results.

use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, unwrap_valr};
use jaq_json::{Val, read};

use crate::{ScriptError, host};

/// What native filters see: values, and nothing of a surrounding.
pub(crate) type Data = JustLut<Val>;
type Filter = jaq_core::Filter<Data>;

pub(crate) fn compile(script: &str) -> Result<Filter, ScriptError> {
    let core = jaq_core::defs().chain(jaq_std::defs());
    // No loader of modules is given: `include` and `import` find nothing.
    let loader = Loader::new(core.chain(jaq_json::defs()));
    let arena = Arena::default();
    let file = File {
        code: script,
        path: (),
    };
    let modules = loader.load(&arena, file).map_err(|errors| {
        let first = errors.first().map(|(_, error)| error);
        let (place, reason) = first.map_or((script, "not a script".into()), |e| unreadable(e));
        wrong(script, place, reason)
    })?;
    // Two of them are written anew here: records of the log.
    let standard = jaq_std::funs().filter(|(name, ..)| !host::NAMES.contains(name));
    let functions = jaq_core::funs().chain(standard).chain(jaq_json::funs());
    Compiler::default()
        .with_funs(functions.chain(host::functions()))
        .compile(modules)
        .map_err(|errors| {
            let first = errors.first().and_then(|(_, undefined)| undefined.first());
            let (place, kind) =
                first.map_or((script, "name"), |(name, what)| (*name, what.as_str()));
            wrong(script, place, format!("there is no {kind} `{place}`"))
        })
}

/// Gives every result of the script to `take`, as JSON.
pub(crate) fn run(
    script: &str,
    input: &str,
    mut take: impl FnMut(String),
) -> Result<(), ScriptError> {
    let filter = compile(script)?;
    let input =
        read::parse_single(input.as_bytes()).map_err(|e| ScriptError::Input(e.to_string()))?;
    let context = Ctx::<Data>::new(&filter.lut, Vars::new([]));
    for result in filter.id.run((context, input)) {
        match result {
            Ok(value) => take(value.to_string()),
            Err(exception) => {
                return Err(match exception.get_halt() {
                    Ok(code) => ScriptError::Halted(code),
                    Err(exception) => failed(exception),
                });
            }
        }
    }
    Ok(())
}

fn failed(exception: jaq_core::Exn<'_, Val>) -> ScriptError {
    let error: jaq_json::ValR = unwrap_valr(Err(exception));
    ScriptError::Failed(match error.map_err(jaq_json::Error::into_val) {
        // As the script wrote it, not as JSON.
        Err(Val::TStr(text)) => String::from_utf8_lossy(&text).into_owned(),
        Ok(other) | Err(other) => other.to_string(),
    })
}

/// Where a script cannot be read, and why.
fn unreadable<'s>(error: &load::Error<&'s str>) -> (&'s str, String) {
    let unexpected = |expected: &str, found: &'s str| {
        let found_text: String = found.chars().take(20).collect();
        let found_text = if found.is_empty() {
            "its end".to_owned()
        } else {
            format!("`{found_text}`")
        };
        (found, format!("expected {expected}, not {found_text}"))
    };
    let nothing = || ("", "not a script".to_owned());
    match error {
        load::Error::Io(errors) => errors.first().map_or_else(nothing, |(place, _)| {
            (*place, "there are no modules here".to_owned())
        }),
        load::Error::Lex(errors) => errors.first().map_or_else(nothing, |(expected, found)| {
            unexpected(expected.as_str(), found)
        }),
        load::Error::Parse(errors) => errors.first().map_or_else(nothing, |(expected, found)| {
            unexpected(expected.as_str(), found)
        }),
    }
}

fn wrong(script: &str, place: &str, reason: String) -> ScriptError {
    let before = script
        .get(..load::span(script, place).start)
        .unwrap_or(script);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ScriptError::Script {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        reason,
    }
}
