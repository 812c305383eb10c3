//! `stockade inspect` and `stockade compile`

use expect_test::expect;

use crate::{GUEST, empty, fails, says, says_json, timeless};

/// The size of native code is the processor's.
fn without_code_size(text: &str) -> String {
    let mut shown = String::new();
    for line in text.split_inclusive('\n') {
        match line.split_once(" KiB") {
            Some((before, after)) if after.contains("[time]") => {
                let label = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
                shown.push_str(&format!("{label}[size]{after}"));
            }
            _ => shown.push_str(line),
        }
    }
    shown
}

#[test]
fn a_module_is_described_for_people() {
    let said = timeless(&says(&["inspect", GUEST, "--no-cache"]));
    expect![[r#"
        Functions
          any(..) -> ..
          echo(all: Json) -> Json
              Gives its arguments back\u{1b}[31m, as a list.

              Not \u{202e}reversed.

        Plain numeric exports
          add(i32, i32) -> i32
          half(f64) -> f64
          spin()

        Module
          memory    64.0 KiB, no limit of its own
          imports   none
          size      1.3 KiB
          native    [size], compiled in [time]
    "#]]
    .assert_eq(&without_code_size(&said));
    let said = timeless(&says(&["inspect", "tests/cli/command.wat", "--no-cache"]));
    expect![[r#"
        Module
          command   yes: `stockade run` runs it
          memory    64.0 KiB, no limit of its own
          imports   wasi_snapshot_preview1: args_get, args_sizes_get, fd_read, fd_write, proc_exit
          size      1.6 KiB
          native    [size], compiled in [time]
    "#]]
    .assert_eq(&without_code_size(&said));
}

#[test]
fn a_module_is_one_json_object_for_programs() {
    let said = says(&["inspect", GUEST, "--json", "--no-cache"]);
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(found["compile_ms"].as_f64().unwrap() > 0.0);
    assert!(found["artifact_bytes"].as_u64().unwrap() > 1000);
    // As it is written: what would steer a terminal is escaped.
    let is_figure = |line: &&str| line.contains("compile_ms") || line.contains("artifact_bytes");
    let lines = said.split_inclusive('\n').filter(|line| !is_figure(line));
    expect![[r#"
        {
          "command": false,
          "from_cache": false,
          "functions": [
            {
              "docs": "",
              "name": "add",
              "numeric": true,
              "parameters": [
                {
                  "name": null,
                  "type": "i32"
                },
                {
                  "name": null,
                  "type": "i32"
                }
              ],
              "returns": "i32",
              "signature": "add(i32, i32) -> i32"
            },
            {
              "docs": "",
              "name": "any",
              "numeric": false,
              "parameters": null,
              "returns": null,
              "signature": "any(..) -> .."
            },
            {
              "docs": "Gives its arguments back\u001b[31m, as a list.\n\nNot \u202ereversed.",
              "name": "echo",
              "numeric": false,
              "parameters": [
                {
                  "name": "all",
                  "type": "Json"
                }
              ],
              "returns": "Json",
              "signature": "echo(all: Json) -> Json"
            },
            {
              "docs": "",
              "name": "half",
              "numeric": true,
              "parameters": [
                {
                  "name": null,
                  "type": "f64"
                }
              ],
              "returns": "f64",
              "signature": "half(f64) -> f64"
            },
            {
              "docs": "",
              "name": "spin",
              "numeric": true,
              "parameters": [],
              "returns": "()",
              "signature": "spin()"
            }
          ],
          "imports": [],
          "init": null,
          "memory": {
            "initial_bytes": 65536,
            "maximum_bytes": null
          },
          "module_bytes": 1296,
          "retire": false,
          "warnings": []
        }
    "#]]
    .assert_eq(&lines.collect::<String>());
}

#[test]
fn what_a_module_prepares_is_said() {
    let inspected = |module: &str| {
        let path = format!("tests/cli/{module}.wat");
        let json = says_json(&["inspect", &path, "--json", "--no-cache"]);
        let text = says(&["inspect", &path, "--no-cache"]);
        let is_about_it = |line: &&str| line.contains("init ") || line.contains("retire ");
        let lines: Vec<_> = text.lines().filter(is_about_it).map(str::trim).collect();
        (json, lines.join("\n"))
    };
    let (json, text) = inspected("prepared");
    assert_eq!(json["init"]["runs"], "once");
    assert_eq!(json["retire"], true);
    expect![[r#"
        init      has run: each instance begins with what it left
        retire    asked after each call, with State::Keep"#]]
    .assert_eq(&text);
    let (json, text) = inspected("unprepared");
    assert_eq!(json["init"]["runs"], "per_instance");
    assert_eq!(json["retire"], false);
    expect!["init      in each instance: unsupported `table.set` instruction"].assert_eq(&text);
    let call = ["call", "tests/cli/prepared.wat", "prepared", "--no-cache"];
    assert_eq!(says(&call), "7\n");
}

#[test]
fn a_module_that_does_not_compile_says_why() {
    expect![[r#"
        stockade: the module cannot be run: Cargo.toml: this is neither WebAssembly nor its text format: it begins with [5b, 70, 61, 63, 6b, 61, 67, 65, 5d, 0a, 6e, 61, 6d, 65, 20, 3d] (`[package]\nname =`)
    "#]].assert_eq(&fails(&["inspect", "Cargo.toml"]));
}

#[test]
fn compile_fills_the_cache() {
    let dir = empty("compile-cache");
    let cache = ["--cache-dir", dir.to_str().unwrap()];
    let said = says(&[&["compile", GUEST][..], &cache].concat());
    expect![[r#"
        tests/cli/guest.wat: [size] of native code, compiled in [time]
    "#]]
    .assert_eq(&without_code_size(&timeless(&said)));
    let said = says(&[&["compile", GUEST][..], &cache].concat());
    expect![[r#"
        tests/cli/guest.wat: [size] of native code, in the cache already, found in [time]
    "#]]
    .assert_eq(&without_code_size(&timeless(&said)));
    let found = says_json(&[&["compile", GUEST, "--json"][..], &cache].concat());
    assert_eq!(found["from_cache"], true);
    assert!(found["artifact_bytes"].as_u64().unwrap() > 1000);
    let call = [&["call", GUEST, "add", "1", "1"][..], &cache].concat();
    assert_eq!(says(&call), "2\n");
}
