//! The command line, as a process. What it says is kept here as it is; `UPDATE_EXPECT=1` writes what it says now.
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

mod bench;
mod call;
mod doctor;
mod help;
mod inspect;
mod new;
mod run;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Plain numbers, functions that give their JSON arguments back, an endless loop, and a description that tries to
/// colour the terminal.
const GUEST: &str = "tests/cli/guest.wat";

/// The program, in this crate's directory, with a cache of the tests' own.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockade"));
    for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
        .env("XDG_CACHE_HOME", scratch("cli-cache"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null());
    command
}

/// A path that these tests may use.
fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A directory of this name without anything in it.
fn empty(name: &str) -> PathBuf {
    let dir = scratch(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn stockade(words: &[&str]) -> Output {
    program().args(words).output().unwrap()
}

/// What it says on stdout when all is well.
#[track_caller]
fn says(words: &[&str]) -> String {
    let output = stockade(words);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {stderr}");
    assert_eq!(stderr, "", "{words:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The same for programs.
#[track_caller]
fn says_json(words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&says(words)).unwrap()
}

/// What it says on stderr when it fails, which is one line.
#[track_caller]
fn fails(words: &[&str]) -> String {
    let output = stockade(words);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words:?}: {stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{words:?}");
    assert!(
        stderr.starts_with("stockade: ") && stderr.ends_with('\n'),
        "{stderr:?}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

/// The same text with each time as `[time]`.
fn timeless(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        let end = number.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (digits, after) = number.split_at(end.unwrap_or(number.len()));
        let unit = ["ns", "µs", "ms", "s"].into_iter().find(|unit| {
            let next = after.strip_prefix(unit).map(|rest| rest.chars().next());
            next.is_some_and(|next| !next.is_some_and(char::is_alphanumeric))
        });
        out.push_str(before);
        match unit {
            Some(unit) => {
                out.push_str("[time]");
                rest = &after[unit.len()..];
            }
            None => {
                out.push_str(digits);
                rest = after;
            }
        }
    }
    out + rest
}

#[test]
fn times_are_left_out_and_other_numbers_stay() {
    assert_eq!(
        timeless("10 calls in 1.5ms, 3s; f32 3sums 12µs"),
        "10 calls in [time], [time]; f32 3sums [time]"
    );
}
