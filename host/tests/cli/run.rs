//! `stockade run`

use std::io::Write;
use std::process::{Output, Stdio};

use expect_test::expect;

use crate::{GUEST, fails, program};

fn run(words: &[&str], input: &str) -> Output {
    let mut child = program()
        .args(["run", "tests/cli/command.wat"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
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

#[test]
fn what_is_no_program_says_so() {
    expect![[r#"
        stockade: guest.wat is no program: it exports no `_start`; `stockade inspect guest.wat` says what `stockade call` can call in it
    "#]]
    .assert_eq(&fails(&["run", GUEST]));
}
