//! `stockade bench`

use expect_test::expect;

use crate::{GUEST, empty, fails, says, says_json, timeless};

const ADD: [&str; 7] = ["bench", GUEST, "add", "1", "2", "--duration", "100ms"];

#[test]
fn latencies_are_shown_as_a_histogram() {
    let said = timeless(&says(&[&ADD[..], &["--concurrency", "3"]].concat()));
    let (summary, bars) = said.split_once("\n\n").unwrap();
    assert!(
        summary.contains(" calls in [time]: ") && summary.ends_with(" a second"),
        "{summary}"
    );
    let (quantiles, bars) = bars.split_once("\n\n").unwrap();
    expect![[r#"
        p50    [time]
        p90    [time]
        p99    [time]
        p99.9  [time]
        max    [time]"#]]
    .assert_eq(quantiles);
    let calls = |line: &str| line.split_whitespace().last().unwrap().parse::<u64>();
    let drawn: u64 = bars.lines().map(|line| calls(line).unwrap()).sum();
    let counted = summary.split(' ').next().unwrap();
    assert_eq!(drawn.to_string(), counted, "each call is in one bar");
    assert!(bars.contains('#'), "{bars}");
}

#[test]
fn a_measurement_is_one_json_object_for_programs() {
    let found = says_json(&[&ADD[..], &["--json", "--keep"]].concat());
    let keys: Vec<_> = found.as_object().unwrap().keys().collect();
    expect![[
        r#"["calls", "calls_per_second", "concurrency", "function", "latency_us", "seconds"]"#
    ]]
    .assert_eq(&format!("{keys:?}"));
    assert!(found["calls"].as_u64().unwrap() > 0);
    let latency = |name| found["latency_us"][name].as_f64().unwrap();
    assert!(0.0 < latency("p50") && latency("p50") <= latency("p99"));
}

#[test]
fn a_plot_is_an_svg_with_its_marks() {
    let file = empty("plot").join("out.svg");
    let file = file.to_str().unwrap();
    says(&[&ADD[..], &["--plot", file]].concat());
    let svg = std::fs::read_to_string(file).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    for text in ["add in guest.wat", "p50 ", "p99 ", "latency in ", "calls"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let said = fails(&["bench", GUEST, "add", "1", "2", "--concurrency", "0"]);
    expect![[r#"
        stockade: --concurrency 0 would call nothing: give at least 1
    "#]]
    .assert_eq(&said);
    let said = fails(&[&ADD[..], &["--plot", "no/such/dir/out.svg"]].concat());
    expect![[r#"
        stockade: cannot write no/such/dir/out.svg: No such file or directory (os error 2)
    "#]]
    .assert_eq(&said);
}
