//! `stockade run`

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Output, Stdio};

use expect_test::expect;

use crate::{GUEST, fails, program, says_json, timeless};

/// Writes its arguments to stdout and its input to stderr, and exits with the number of its arguments.
const COMMAND: &str = "tests/cli/command.wat";
/// Writes some lines, and never ends.
const WAITS: &str = "tests/cli/waits.wat";
/// Never ends to write.
const YES: &str = "tests/cli/yes.wat";

fn start(module: &str, words: &[&str]) -> Child {
    program()
        .args(["run", module])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn run(words: &[&str], input: &str) -> Output {
    let mut child = start(COMMAND, words);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[test]
fn arguments_input_output_and_exit_code_pass_through() {
    let input = "what it is given\n".repeat(500);
    let output = run(&["--", "one", "--two"], &input);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "command.wat\0one\0--two\0"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), input);
    assert_eq!(output.status.code(), Some(3));
    let output = run(&["--timeout", "10s"], "");
    assert_eq!((output.status.code(), &*output.stderr), (Some(1), &b""[..]));
}

/// More than is on its way at once.
#[test]
fn long_output_arrives_whole() {
    let input: String = (0..600_000).map(|n| format!("{n}\n")).collect();
    let output = run(&[], &input);
    assert!(output.stderr == input.as_bytes(), "{}", output.stderr.len());
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn output_is_shown_while_the_program_runs() {
    let mut child = start(WAITS, &[]);
    drop(child.stdin.take());
    let mut line = Vec::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_until(b'\n', &mut line).unwrap();
    assert_eq!(line, b"ready\n");
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "working\n");
    assert_eq!(child.try_wait().unwrap(), None);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_a_stopped_program_wrote_is_shown_before_the_error() {
    let mut child = start(WAITS, &["--timeout", "1s"]);
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"ready\n\xff\n");
    assert_eq!(output.status.code(), Some(1));
    expect![[r#"
        working
        stockade: the call timed out after [time] of running
    "#]]
    .assert_eq(&timeless(&String::from_utf8(output.stderr).unwrap()));
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program() {
    let mut child = start(YES, &[]);
    drop(child.stdin.take());
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "y\n");
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
}

#[test]
fn a_program_is_one_json_object_for_programs() {
    let mut found = says_json(&["run", "tests/cli/exits.wat", "--json", "--", "x"]);
    assert!(found["elapsed_ms"].as_f64().unwrap() > 0.0);
    found["elapsed_ms"] = "[time]".into();
    expect![[r#"
        {
          "elapsed_ms": "[time]",
          "exit_code": 0,
          "stderr": "",
          "stderr_lost_bytes": 0,
          "stdout": "y\n�\n",
          "stdout_lost_bytes": 0
        }"#]]
    .assert_eq(&format!("{found:#}"));
    // Its exit code is the program's all the same.
    let output = run(&["--json", "--", "a"], "input");
    assert_eq!((output.status.code(), &*output.stderr), (Some(2), &b""[..]));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["exit_code"], 2);
    assert_eq!(found["stdout"], "command.wat\0a\0");
    assert_eq!(found["stderr"], "input");
}

#[test]
fn what_is_no_program_says_so() {
    expect![[r#"
        stockade: guest.wat is no program: it exports no `_start`; `stockade inspect guest.wat` says what `stockade call` can call in it
    "#]]
    .assert_eq(&fails(&["run", GUEST]));
}
