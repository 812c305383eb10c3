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
fn what_is_missing_has_advice_about_this_machine() {
    let said = says(&["doctor"]);
    let (walls, advice) = said.split_once("\n\nTo have the missing ones:\n").unwrap();
    let (advice, _) = advice.split_once("\n\n").unwrap();
    let missing = walls.lines().filter(|line| line.contains(" missing "));
    for wall in missing.map(|line| line[..20].trim()) {
        let lines = advice.lines().collect::<Vec<_>>();
        let named = lines.chunks(2).find(|lines| {
            let names = lines[0].trim().split(", ").collect::<Vec<_>>();
            names.contains(&wall)
        });
        let named = named.unwrap_or_else(|| panic!("no advice about {wall}: {said}"));
        assert!(named[1].trim().len() > 20, "{said}");
    }
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
    for wall in walls {
        assert_eq!(wall["advice"].is_string(), wall["state"] == "missing");
    }
    assert!(found["strict"]["available"].is_boolean());
}
