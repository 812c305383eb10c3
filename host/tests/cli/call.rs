//! `stockade call`

use std::process::Stdio;

use expect_test::{Expect, expect};

use crate::{GUEST, fails, program, says, timeless};

#[test]
fn the_json_result_is_printed() {
    assert_eq!(says(&["call", GUEST, "add", "2", "3"]), "5\n");
    assert_eq!(says(&["call", GUEST, "add", "-1", "0"]), "-1\n");
    assert_eq!(says(&["call", GUEST, "add", "4294967295", "0"]), "-1\n");
    assert_eq!(says(&["call", GUEST, "half", "3"]), "1.5\n");
    assert_eq!(says(&["call", GUEST, "echo", "null"]), "[null]\n");
    let arguments = ["1", r#""two""#, "[3, null]", r#"{"four": 4.5}"#];
    let words = [&["call", GUEST, "any"][..], &arguments].concat();
    assert_eq!(says(&words), "[1,\"two\",[3,null],{\"four\":4.5}]\n");
}

#[test]
fn a_result_cannot_steer_the_terminal() {
    // CSI in one character, which JSON does not escape, and one that turns the direction of writing.
    let said = says(&["call", GUEST, "echo", "\"\u{9b}2J\u{202e}ü\""]);
    assert_eq!(said, "[\"\\u009b2J\\u202eü\"]\n");
}

#[test]
fn a_call_repeats_and_is_quiet_when_told() {
    let words = ["call", GUEST, "add", "2", "3", "--repeat", "3"];
    assert_eq!(says(&words), "5\n5\n5\n");
    let quiet = [&words[..], &["--quiet", "--timeout", "50s"]].concat();
    assert_eq!(says(&quiet), "");
}

#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let check = |words: &[&str], expected: Expect| {
        let words = [&["call"], words].concat();
        expected.assert_eq(&timeless(&fails(&words)));
    };
    check(
        &[GUEST, "no_such"],
        expect![[r#"
        stockade: no function `no_such`: the module has `add`, `any`, `echo`, `half`, `spin`; `stockade inspect guest.wat` describes them
    "#]],
    );
    check(
        &[GUEST, "add", "2"],
        expect![[r#"
        stockade: `add(i32, i32) -> i32` takes 2 arguments, not 1
    "#]],
    );
    check(
        &[GUEST, "echo"],
        expect![[r#"
        stockade: `echo(all: Json) -> Json` takes 1 argument, not 0
    "#]],
    );
    check(
        &[GUEST, "add", "2", "x"],
        expect![[r#"
        stockade: argument 2 (i32): `x` is not a number that fits i32: invalid digit found in string
    "#]],
    );
    check(
        &[GUEST, "add", "4294967296", "1"],
        expect![[r#"
        stockade: argument 1 (i32): `4294967296` is not a number that fits i32: number too large to fit in target type
    "#]],
    );
    check(
        &[GUEST, "echo", "two"],
        expect![[r#"
        stockade: argument 1 (all: Json): `two` is not JSON: expected ident at line 1 column 2; as a text it is written '"two"'
    "#]],
    );
    check(
        &[GUEST, "any", "1", "{"],
        expect![[r#"
        stockade: argument 2: `{` is not JSON: EOF while parsing an object at line 1 column 1; as a text it is written '"{"'
    "#]],
    );
    check(
        &["no/such.wasm", "f"],
        expect![[r#"
            stockade: cannot read the module no/such.wasm: No such file or directory (os error 2)
        "#]],
    );
    check(
        &["Cargo.toml", "f"],
        expect![[r#"
        stockade: the module cannot be run: Cargo.toml: this is neither WebAssembly nor its text format: it begins with [5b, 70, 61, 63, 6b, 61, 67, 65, 5d, 0a, 6e, 61, 6d, 65, 20, 3d] (`[package]\nname =`)
    "#]],
    );
    check(
        &[GUEST, "spin", "--timeout", "50ms"],
        expect![[r#"
        stockade: the call timed out after [time] of running
    "#]],
    );
}

/// `stockade … | head -1` is no failure.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = program()
        .args(["call", GUEST, "add", "1", "2", "--repeat", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
}
