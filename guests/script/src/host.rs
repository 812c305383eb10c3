//! What a script can ask of the server.

use jaq_core::native::{Filter, Fun, run, unary, v};
use jaq_core::{Cv, Error, RunPtr, ValXs};
use jaq_json::{Val, read};
use jaq_std::ValT;
use stockade_guest::{Level, host_call, log};

use crate::language::Data;

/// What [`functions`] has.
pub(crate) const NAMES: [&str; 3] = ["call", "debug_empty", "stderr_empty"];

pub(crate) fn functions() -> impl Iterator<Item = Fun<Data>> {
    let [call_name, debug, stderr] = NAMES;
    let functions: [Filter<RunPtr<Data>>; 3] = [
        (call_name, v(1), call),
        (debug, v(0), |cv| record(Level::Debug, &cv)),
        (stderr, v(0), |cv| record(Level::Warn, &cv)),
    ];
    functions.map(run::<Data>).into_iter()
}

/// `call("name")`: the server's function of that name, on the filter's input. A refusal is an error that the
/// script can catch.
fn call(cv: Cv<'_, Data>) -> ValXs<'_, Val> {
    unary(cv, |input, name| {
        let name = str::from_utf8(name.try_as_utf8_bytes()?).map_err(Error::str)?;
        let answer: Result<String, String> =
            host_call(name, (input.to_string(),)).map_err(Error::str)?;
        let answer = answer.map_err(Error::str)?;
        read::parse_single(answer.as_bytes()).map_err(Error::str)
    })
}

/// Makes a record of the input, and gives nothing.
fn record<'a>(level: Level, (_, input): &Cv<'a, Data>) -> ValXs<'a, Val> {
    log(level, input.to_string());
    Box::new(std::iter::empty())
}
