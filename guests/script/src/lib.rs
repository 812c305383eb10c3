//! Users' own scripts, in the language of jq.
//!
//! The language has recursion and loops without end, and holds as much as it is told to. Nothing here limits it:
//! time, memory and stack are the server's to say, and a script that takes too much has cost one call.
#![forbid(unsafe_code)]

mod host;
mod language;

use serde::{Deserialize, Serialize};
use stockade_guest::{emit, work};

/// Why a script gave no result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScriptError {
    /// The text is no script.
    Script {
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The input is not JSON.
    Input(String),
    /// The script failed, or said `error`.
    Failed(String),
    /// The script said `halt` or `halt_error`.
    Halted(i32),
}

/// Whether `script` is one: the first thing that is wrong with it, if any.
#[work]
pub fn check(script: &str) -> Result<(), ScriptError> {
    language::compile(script).map(drop)
}

/// All results of `script` for `input`. All three are JSON.
///
/// With `call("name")` a script hands its input to the server's function of that name, which takes and gives JSON
/// as a string and may refuse. `debug` makes a record in the server's log.
#[work]
pub fn run(script: &str, input: &str) -> Result<Vec<String>, ScriptError> {
    let mut results = Vec::new();
    language::run(script, input, |result| results.push(result))?;
    Ok(results)
}

/// The same for those who want each result as soon as it is there. Returns how many there were.
#[work]
pub fn each(script: &str, input: &str) -> Result<u64, ScriptError> {
    let mut count = 0;
    language::run(script, input, |result| {
        emit(&result);
        count += 1;
    })?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_gives_all_its_results() {
        let orders = r#"{"orders": [{"sum": 3}, {"sum": 4}]}"#;
        assert_eq!(run(".orders[].sum", orders).unwrap(), ["3", "4"]);
        assert_eq!(run("[.orders[].sum] | add", orders).unwrap(), ["7"]);
        assert_eq!(run("empty", "null").unwrap(), [""; 0]);
        assert_eq!(each("range(5)", "null").unwrap(), 5);
        assert_eq!(
            run(r#"test("^a+$"), @base64, (sqrt? // 1)"#, r#""aa""#).unwrap(),
            ["true", r#""YWE=""#, "1"]
        );
    }

    #[test]
    fn what_is_wrong_has_its_kind_and_its_place() {
        let place = |script: &str| match check(script) {
            Err(ScriptError::Script {
                line,
                column,
                reason,
            }) => (line, column, reason),
            other => panic!("{other:?}"),
        };
        let (line, column, reason) = place("map(.a) |\n  nosuch(1)");
        assert_eq!((line, column), (2, 3));
        assert_eq!(reason, "there is no filter `nosuch`");
        assert_eq!(place("\"é\" | (1 + ").0, 1);
        assert!(place("include \"a\"; .").2.contains("module"));
        assert!(place("[1").2.contains("expected"));
        check("def f: f; f").unwrap();

        assert!(matches!(run(".", "{"), Err(ScriptError::Input(_))));
        assert_eq!(
            run("1, error(\"no\")", "null"),
            Err(ScriptError::Failed("no".to_owned()))
        );
        assert!(matches!(
            run(".a", "[]"),
            Err(ScriptError::Failed(reason)) if reason.contains("index")
        ));
        assert_eq!(run("1, halt(3)", "null"), Err(ScriptError::Halted(3)));
    }

    #[test]
    fn without_a_server_its_functions_fail_and_a_script_can_catch_that() {
        let results = run(r#"try call("f") catch ("no: " + .)"#, "1").unwrap();
        assert!(results[0].starts_with("\"no: "), "{results:?}");
        run("debug", "1").unwrap();
    }
}
