//! `stockade new`

use std::path::Path;
use std::process::{Command, Output};

use expect_test::expect;

use crate::{empty, program};

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn new(dir: &Path, words: &[&str]) -> Output {
    let mut command = program();
    command.arg("new").args(words).current_dir(dir);
    command.output().unwrap()
}

fn made(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
    String::from_utf8(output.stdout).unwrap()
}

/// In this workspace's target directory, where all that it depends on is built already.
fn cargo(project: &Path, words: &[&str]) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    for variable in [
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "RUSTC_WORKSPACE_WRAPPER",
    ] {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_TERM_COLOR", "never").current_dir(project);
    cargo
        .args(words)
        .args(["--offline", "--target-dir"])
        .arg(target);
    // Stockade's own crates are built once more. To optimise them would take most of this test's time.
    for ours in [
        "stockade",
        "stockade-worker",
        "stockade-wire",
        "stockade-guest",
    ] {
        cargo.arg("--config");
        cargo.arg(format!("profile.dev.package.{ours}.opt-level=0"));
    }
    let output = cargo.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("warning"), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_made_builds_runs_and_passes_its_tests_offline() {
    let dir = empty("new-builds");
    let tree = tree().to_str().unwrap();
    let said = made(new(&dir, &["demo", "--path", tree]));
    expect![[r#"
        Made the crates demo-guest and demo-host. Next:

          cd demo
          cargo run
    "#]]
    .assert_eq(&said);
    let project = dir.join("demo");
    let said = cargo(&project, &["run", "--quiet"]);
    let said = said.lines().collect::<Vec<_>>();
    assert_eq!(said[..2], ["Hello, Ada!", "fib(30) = 832040"]);
    assert!(
        said[2].starts_with("fib(90): the call timed out after "),
        "{said:?}"
    );
    let said = cargo(&project, &["test", "--quiet", "--workspace"]);
    assert!(said.contains("1 passed"), "{said}");
}

#[test]
fn a_working_tree_around_it_is_found_and_elsewhere_the_published_crates_are_used() {
    let source = |dir: &Path| {
        let manifest = std::fs::read_to_string(dir.join("demo/host/Cargo.toml")).unwrap();
        let line = manifest
            .lines()
            .find(|line| line.starts_with("stockade = "));
        line.unwrap().to_owned()
    };
    // `target/tmp` lies in the tree, unless cargo was told of another target directory.
    let inside = tree().join("target").join("new-inside");
    let _ = std::fs::remove_dir_all(&inside);
    std::fs::create_dir_all(&inside).unwrap();
    made(new(&inside, &["demo"]));
    let host = tree().join("host");
    assert_eq!(source(&inside), format!("stockade = {{ path = {host:?} }}"));
    assert!(inside.join("demo/Cargo.lock").is_file());

    let outside = std::env::temp_dir().join(format!("stockade-new-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&outside);
    std::fs::create_dir_all(&outside).unwrap();
    made(new(&outside, &["demo"]));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(source(&outside), format!("stockade = \"{version}\""));
    assert!(!outside.join("demo/Cargo.lock").exists());
    std::fs::remove_dir_all(&outside).unwrap();
}

#[test]
fn what_is_there_and_what_is_no_name_is_refused_and_nothing_is_made() {
    let dir = empty("new-refused");
    std::fs::create_dir(dir.join("taken")).unwrap();
    let refused = |words: &[&str]| {
        let output = new(&dir, words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert_eq!(output.stdout, b"");
        String::from_utf8(output.stderr).unwrap()
    };
    expect![[r#"
        stockade: `taken` exists already: choose another name, or remove it
    "#]]
    .assert_eq(&refused(&["taken"]));
    expect![[r#"
        stockade: `2 crates` is no name for a crate: use ASCII letters, digits, `-` and `_`, a letter first
    "#]].assert_eq(&refused(&["2 crates"]));
    expect![[r#"
        stockade: `../up` is no name for a crate: use ASCII letters, digits, `-` and `_`, a letter first
    "#]].assert_eq(&refused(&["../up"]));
    expect![[r#"
        stockade: `stockade` would make a crate `stockade-guest`, which exists: choose another name
    "#]]
    .assert_eq(&refused(&["stockade"]));
    expect![[r#"
        stockade: --path .: that is no working tree of Stockade; it would have host/Cargo.toml and guest-sdk/Cargo.toml
    "#]].assert_eq(&refused(&["demo", "--path", "."]));
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
