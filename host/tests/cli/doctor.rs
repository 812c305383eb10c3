//! `stockade doctor`

use crate::{says, says_json};

#[test]
fn each_wall_has_its_line() {
    let said = says(&["doctor"]);
    assert!(
        said.contains("system call filter   required  verified"),
        "{said}"
    );
    assert!(said.contains("Hardening::Strict is "), "{said}");
}

#[test]
fn walls_are_one_json_object_for_programs() {
    let found = says_json(&["doctor", "--json"]);
    let walls = found["walls"].as_array().unwrap();
    assert!(
        walls
            .iter()
            .all(|wall| wall["required"] == false || wall["state"] != "missing")
    );
    assert!(found["strict"]["available"].is_boolean());
}
