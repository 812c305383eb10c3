//! The repository's own rules, where a test can see them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The crates in the dependency tree of `stockade`, one a line.
fn tree(features: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "-p",
            "stockade",
            "-e",
            "normal",
            "--prefix",
            "none",
        ])
        .args(features)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn without_default_features_the_host_needs_no_wasmtime() {
    let has = |tree: &str, name: &str| tree.lines().any(|line| line.starts_with(name));
    let lean = tree(&["--no-default-features"]);
    assert!(has(&lean, "stockade-wire"), "{lean}");
    for name in ["wasmtime", "wasmparser", "cranelift", "stockade-worker"] {
        assert!(!has(&lean, name), "{name}:\n{lean}");
    }
    // The same look finds them where they are.
    let full = tree(&[]);
    for name in ["wasmtime", "wasmparser", "cranelift", "stockade-worker"] {
        assert!(has(&full, name), "{name}:\n{full}");
    }
}

/// Files below `dir` for which `wanted` holds, outside build directories.
fn files(dir: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.is_dir() {
            if !hidden && path.file_name() != Some(OsStr::new("target")) {
                files(&path, wanted, found);
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(
        root(),
        &|path| path.extension().is_some_and(|extension| extension == "rs"),
        &mut found,
    );
    assert!(found.len() > 100);
    found
}

/// Lines of code that have `text`, with their files.
fn lines_with(text: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for path in sources() {
        for line in fs::read_to_string(&path).unwrap().lines() {
            if line.contains(text) && !line.trim_start().starts_with("//") {
                found.push((
                    path.strip_prefix(root()).unwrap().to_owned(),
                    line.trim().to_owned(),
                ));
            }
        }
    }
    found
}

#[test]
fn every_test_runs() {
    assert_eq!(lines_with(concat!("#[ig", "nore")), []);
    assert_eq!(lines_with(concat!("should_", "panic")), []);
}

#[test]
fn nothing_sleeps_to_wait_for_something_else() {
    /// The beginnings of paths, each with its reason.
    const REVIEWED: [&str; 10] = [
        // Between two looks at a condition that nothing announces.
        "tests/src/wait.rs",
        // A kill comes at a random moment; and between two looks at what nothing announces.
        "tests/src/orphans.rs",
        "tests/src/storm/",
        // Until the process is killed; and a span of time in which nothing is to happen.
        "tests/tests/lifecycle/processes.rs",
        // A program that is slow or stuck on purpose.
        "tests/src/bin/hostile/",
        // Between two tries to lock a file of another process.
        "host/src/artifact/cache.rs",
        // A guest's own sleep, which is what the function is for.
        "guests/prepared/src/lib.rs",
        "guests/probe/src/wasi.rs",
        "host/worker/src/guest/world.rs",
        // What a benchmark measures with.
        "benches/",
    ];
    let sleeps = lines_with(concat!("thread::sl", "eep("));
    let is_reviewed = |path: &Path| {
        REVIEWED
            .iter()
            .any(|known| path.to_str().unwrap().starts_with(known))
    };
    let new: Vec<_> = sleeps
        .iter()
        .filter(|(path, _)| !is_reviewed(path))
        .collect();
    assert!(new.is_empty(), "{new:#?}");
}

#[test]
fn every_crate_takes_the_lints_of_its_workspace() {
    let mut manifests = Vec::new();
    files(
        root(),
        &|path| path.file_name() == Some(OsStr::new("Cargo.toml")),
        &mut manifests,
    );
    assert!(manifests.len() >= 12);
    for path in manifests {
        let manifest = fs::read_to_string(&path).unwrap();
        if manifest.contains("[package]") {
            assert!(
                manifest.contains("[lints]\nworkspace = true"),
                "{}",
                path.display()
            );
        }
    }
}

/// What a page links to in this repository: the targets of `[text](target)`, without fragments.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap())
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut pages = Vec::new();
    files(
        root(),
        &|path| path.extension().is_some_and(|extension| extension == "md"),
        &mut pages,
    );
    pages.retain(|path| {
        !path
            .components()
            .any(|part| part.as_os_str() == "node_modules")
    });
    let mut count = 0;
    for path in pages {
        let page = fs::read_to_string(&path).unwrap();
        for target in links(&page) {
            count += 1;
            let file = path.parent().unwrap().join(target);
            assert!(file.exists(), "{}: {target}", path.display());
        }
    }
    assert!(count > 50, "{count}");
}
