//! The ledger of parity names tests that exist.

use std::fs;
use std::path::{Path, PathBuf};

/// Rows of each kind, by their letter.
const ROWS: [(&str, usize); 4] = [("S", 66), ("T", 48), ("H", 7), ("L", 20)];

fn ledger() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("PARITY.md")).unwrap()
}

/// The cells of each row.
fn rows(ledger: &str) -> Vec<[&str; 3]> {
    let lines = ledger.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = lines.map(|line| line.trim_end_matches(" |").splitn(3, " | "));
    cells
        .filter_map(|cells| cells.collect::<Vec<_>>().try_into().ok())
        .filter(|[id, ..]: &[&str; 3]| id.ends_with(|c: char| c.is_ascii_digit()))
        .collect()
}

fn file_of(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    match path.split_once('/') {
        Some(("calls" | "lifecycle", _)) => root.join("tests/tests").join(path),
        Some(("worker", _)) => root.join("host/worker/tests").join(path),
        _ => root.join("guest-sdk").join(path),
    }
}

/// Whether the file has a test of this name: a function under an attribute that ends in `test`.
fn is_test(source: &str, name: &str) -> bool {
    let mut lines = source.lines().map(str::trim);
    let mut tested = false;
    lines.any(|line| {
        if line.starts_with("#[") {
            tested |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            return false;
        }
        let declared = line
            .strip_prefix("async ")
            .unwrap_or(line)
            .strip_prefix("fn ");
        let found = declared.and_then(|rest| rest.strip_prefix(name));
        let found = tested && found.is_some_and(|rest| rest.starts_with('('));
        tested = false;
        found
    })
}

#[test]
fn every_row_of_the_parity_ledger_names_a_test_or_a_reason() {
    let ledger = ledger();
    let rows = rows(&ledger);
    let mut expected = ROWS
        .iter()
        .flat_map(|(kind, count)| (1..=*count).map(move |n| format!("{kind}{n}")));
    for [id, behaviour, ours] in &rows {
        assert_eq!(
            Some(*id),
            expected.next().as_deref(),
            "in order, none twice"
        );
        assert!(!behaviour.is_empty());
        let named: Vec<_> = ours
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| code.contains("::"))
            .collect();
        for test in &named {
            let (path, name) = test.split_once("::").unwrap();
            let source =
                fs::read_to_string(file_of(path)).unwrap_or_else(|e| panic!("{id}: {path}: {e}"));
            assert!(is_test(&source, name), "{id}: there is no test {test}");
        }
        let reason = ["does not apply: ", "open: "]
            .iter()
            .find_map(|why| ours.strip_prefix(why));
        assert!(
            reason.map_or(!named.is_empty(), |reason| reason.len() > 15),
            "{id}: {ours}"
        );
    }
    assert_eq!(expected.next(), None, "rows are missing");
}

#[test]
fn a_function_without_the_attribute_is_no_test() {
    let source =
        "#[test]\nfn yes() {}\nfn no() {}\n#[tokio::test(flavor = \"x\")]\nasync fn also() {}";
    assert!(is_test(source, "yes") && is_test(source, "also"));
    assert!(!is_test(source, "no") && !is_test(source, "ye"));
}
