//! The command line, as a process.
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Plain numbers, a function that gives its JSON arguments back, an endless loop, and a description that tries to
/// colour the terminal.
const GUEST: &str = "tests/cli/guest.wat";

fn stockade(words: &[&str]) -> Output {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-cache");
    Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(words)
        .env("XDG_CACHE_HOME", cache)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn says(words: &[&str]) -> String {
    let output = stockade(words);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{words:?}: {stderr}");
    assert_eq!(stderr, "", "{words:?}");
    String::from_utf8(output.stdout).unwrap()
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
    stderr
}

#[test]
fn call_prints_the_json_result() {
    assert_eq!(says(&["call", GUEST, "add", "2", "3"]), "5\n");
    assert_eq!(says(&["call", GUEST, "add", "-1", "0"]), "-1\n");
    assert_eq!(says(&["call", GUEST, "half", "3"]), "1.5\n");
    let arguments = ["1", r#""two""#, "[3, null]", r#"{"four": 4.5}"#];
    let words = [&["call", GUEST, "echo"][..], &arguments].concat();
    assert_eq!(says(&words), "[1,\"two\",[3,null],{\"four\":4.5}]\n");
}

#[test]
fn call_repeats_and_is_quiet_when_told() {
    assert_eq!(
        says(&["call", GUEST, "add", "2", "3", "--repeat", "3"]),
        "5\n5\n5\n"
    );
    assert_eq!(says(&["call", GUEST, "add", "2", "3", "--quiet"]), "");
}

#[test]
fn call_stops_what_takes_too_long() {
    let said = fails(&["call", GUEST, "spin", "--timeout", "50ms"]);
    assert!(
        said.contains("time limit") || said.contains("timed out"),
        "{said}"
    );
}

#[test]
fn errors_say_what_is_wrong_and_what_there_is() {
    let said = fails(&["call", GUEST, "no_such"]);
    assert!(said.contains("no_such") && said.contains("add"), "{said}");
    let said = fails(&["call", GUEST, "add", "2"]);
    assert!(said.contains("takes 2 arguments, not 1"), "{said}");
    let said = fails(&["call", GUEST, "add", "2", "x"]);
    assert!(said.contains("`x`") && said.contains("i32"), "{said}");
    let said = fails(&["call", GUEST, "echo", "two"]);
    assert!(
        said.contains("`two` is not JSON") && said.contains("quotes"),
        "{said}"
    );
    let said = fails(&["call", "no/such.wasm", "f"]);
    assert!(said.contains("no/such.wasm"), "{said}");
    let said = fails(&["call", "Cargo.toml", "f"]);
    assert!(said.contains("Cargo.toml"), "{said}");
    let said = fails(&["bench", GUEST, "add", "1", "2", "--concurrency", "0"]);
    assert!(said.contains("at least 1"), "{said}");
}

#[test]
fn a_wrong_command_line_is_refused_with_advice() {
    for words in [
        &["cal"][..],
        &["call"],
        &["call", GUEST, "add", "--timeout", "soon"],
        &[],
    ] {
        let output = stockade(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains("Usage") || stderr.contains("--help"),
            "{stderr}"
        );
        assert!(
            !stderr.contains('\u{1b}'),
            "no colour in a pipe: {stderr:?}"
        );
    }
}

#[test]
fn inspect_says_what_a_person_wants_to_know() {
    let said = says(&["inspect", GUEST]);
    let (timeless, _) = said.rsplit_once("size ").unwrap();
    let expected = "add(i32, i32) -> i32\n\
                    echo(all: Json) -> Json\n    Gives its arguments back\u{fffd}[31m.\n\
                    half(f64) -> f64\n\
                    spin()\n\n\
                    memory    64.0 KiB, at most no limit of its own\n\
                    imports   none\n";
    assert_eq!(timeless, expected);
    assert!(said.contains("of native code, in "), "{said}");
}

#[test]
fn inspect_is_one_json_object_for_programs() {
    let said = says(&["inspect", GUEST, "--json", "--no-cache"]);
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found["functions"][0]["signature"], "add(i32, i32) -> i32");
    assert_eq!(found["functions"][0]["numeric"], true);
    assert_eq!(found["memory"]["initial_bytes"], 65536);
    assert_eq!(found["command"], false);
    assert!(found["compile_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn compile_fills_the_cache() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("compile-cache");
    let _ = std::fs::remove_dir_all(&dir);
    let said = says(&["compile", GUEST, "--cache-dir", dir.to_str().unwrap()]);
    assert!(
        said.starts_with(GUEST) && said.contains("of native code"),
        "{said}"
    );
    assert!(std::fs::read_dir(&dir).unwrap().count() > 0);
    let words = [
        "call",
        GUEST,
        "add",
        "1",
        "1",
        "--cache-dir",
        dir.to_str().unwrap(),
    ];
    assert_eq!(says(&words), "2\n");
}

#[test]
fn bench_measures() {
    let words = [
        "bench",
        GUEST,
        "add",
        "1",
        "2",
        "--duration",
        "100ms",
        "--concurrency",
        "3",
    ];
    let said = says(&words);
    assert!(
        said.contains("a second") && said.contains("p99.9") && said.contains('#'),
        "{said}"
    );
    let said = says(&[&words[..], &["--json", "--keep"]].concat());
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(found["calls"].as_u64().unwrap() > 0);
    assert!(found["latency_us"]["p50"].as_f64().unwrap() > 0.0);
}

#[test]
fn run_passes_arguments_input_output_and_exit_code_through() {
    use std::io::Write;
    let mut child = Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(["run", "tests/cli/command.wat", "--", "one", "--two"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = "what it is given\n".repeat(500);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "command.wat\0one\0--two\0"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), input);
    assert_eq!(output.status.code(), Some(3));
    let said = fails(&["run", GUEST]);
    assert!(said.contains("_start"), "{said}");
}

#[test]
fn doctor_says_which_walls_stand() {
    let said = says(&["doctor"]);
    assert!(
        said.contains("system call filter   required  verified"),
        "{said}"
    );
    assert!(said.contains("Hardening::Strict is "), "{said}");
    let found: serde_json::Value = serde_json::from_str(&says(&["doctor", "--json"])).unwrap();
    let walls = found["walls"].as_array().unwrap();
    assert!(
        walls
            .iter()
            .all(|wall| wall["required"] == false || wall["state"] != "missing")
    );
    assert!(found["strict"]["available"].is_boolean());
}

#[test]
fn help_shows_examples_and_completions_name_the_commands() {
    assert!(says(&["call", "--help"]).contains("stockade call guest.wasm fib 32"));
    for shell in ["bash", "zsh", "fish"] {
        let script = says(&["completions", shell]);
        assert!(
            script.contains("inspect") && script.contains("--timeout")
                || script.contains("timeout")
        );
    }
    assert!(says(&["--version"]).starts_with("stockade "));
}

/// `stockade … | head -1` is no failure.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stockade"))
        .args(["call", GUEST, "add", "1", "2", "--repeat", "100000"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(output.status.success());
}
