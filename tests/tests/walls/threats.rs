//! The threat model names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The cells of each row: attack, wall, second wall, tests.
fn rows(page: &str) -> Vec<[String; 4]> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("| "));
    lines
        .filter_map(|line| {
            let cells: Vec<_> = line.trim_end_matches('|').split('|').collect();
            let cells: [&str; 4] = cells.try_into().ok()?;
            Some(cells.map(|cell| cell.trim().to_owned()))
        })
        .skip(1)
        .collect()
}

fn file_of(path: &str) -> PathBuf {
    match path.split_once('/') {
        Some(("worker", rest)) => root().join("host/worker").join(rest),
        _ => root().join("tests/tests").join(path),
    }
}

/// Whether the file has a test of this name: a function under an attribute of tests.
fn is_test(source: &str, name: &str) -> bool {
    let declared = [format!("fn {name}("), format!("async fn {name}(")];
    let mut tested = false;
    source.lines().map(str::trim).any(|line| {
        if line.starts_with("#[") {
            tested |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            return false;
        }
        std::mem::take(&mut tested) && declared.iter().any(|start| line.starts_with(start))
    })
}

#[test]
fn every_row_of_the_threat_model_has_a_wall_and_a_test_that_exists() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let rows = rows(&page);
    assert!(rows.len() >= 25, "{}", rows.len());
    for [attack, wall, _, tests] in rows {
        assert!(!attack.is_empty() && !wall.is_empty(), "{attack}");
        let named: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{attack}: nothing proves it");
        for test in named {
            let (path, name) = test.split_once("::").expect("a file and a name");
            let source = fs::read_to_string(file_of(path))
                .unwrap_or_else(|error| panic!("{attack}: {path}: {error}"));
            assert!(is_test(&source, name), "{attack}: there is no test {test}");
        }
    }
}

#[test]
fn every_advisory_says_whether_it_is_reachable_and_what_holds_it() {
    let page = fs::read_to_string(root().join("docs/advisories.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| 20"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() >= 59, "{}", rows.len());
    for row in rows {
        let [date, id, _, _, reachable, held] = row[..] else {
            panic!("{row:?}")
        };
        assert!(id.contains("GHSA-"), "{date}");
        let known = ["yes", "no: ", "only with granted directories"];
        assert!(
            known.iter().any(|word| reachable.starts_with(word)),
            "{id}: {reachable}"
        );
        assert!(!held.is_empty(), "{id}");
    }
}
