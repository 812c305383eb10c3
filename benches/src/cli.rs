//! The command line.

use std::fmt::Write;
use std::path::PathBuf;

use crate::suites::{SUITES, Suite};

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) suite: &'static Suite,
    pub(crate) json: Option<PathBuf>,
    /// The directory for the suite's picture.
    pub(crate) plot: Option<PathBuf>,
    pub(crate) quick: bool,
}

/// Reads the arguments; the error is what to tell the user.
pub(crate) fn parse(arguments: &[String]) -> Result<Request, String> {
    let (mut suite, mut json, mut plot, mut quick) = (None, None, None, false);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => match arguments.next() {
                Some(path) => json = Some(PathBuf::from(path)),
                None => return Err(usage("--json wants the name of a file")),
            },
            "--plot" => match arguments.next() {
                Some(path) => plot = Some(PathBuf::from(path)),
                None => return Err(usage("--plot wants the name of a directory")),
            },
            "--help" | "-h" => return Err(usage("measures stockade")),
            option if option.starts_with('-') => {
                return Err(usage(&format!("there is no option {option}")));
            }
            name if suite.is_none() => match SUITES.iter().find(|suite| suite.name == name) {
                Some(found) => suite = Some(found),
                None => return Err(usage(&format!("there is no suite {name}"))),
            },
            more => return Err(usage(&format!("one suite at a time: what is {more}?"))),
        }
    }
    let suite = match suite {
        Some(suite) if plot.is_some() && suite.draws.is_none() => {
            let refusal = format!("the suite {} has nothing to draw", suite.name);
            return Err(usage(&refusal));
        }
        Some(suite) => suite,
        None => return Err(usage("which suite?")),
    };
    Ok(Request {
        suite,
        json,
        plot,
        quick,
    })
}

fn usage(problem: &str) -> String {
    let mut text = format!(
        "stockade-bench: {problem}\n\nusage: stockade-bench SUITE [--json FILE] [--plot DIR] [--quick]\n\nsuites:\n"
    );
    // Writing to a string cannot fail.
    for Suite { name, about, .. } in SUITES {
        let _ = writeln!(text, "  {name:<10} {about}");
    }
    text.push_str("\n--plot DIR writes SUITE.svg, for these suites:\n");
    for Suite { name, draws, .. } in SUITES {
        if let Some(draws) = draws {
            let _ = writeln!(text, "  {name:<10} {draws}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &str) -> Result<Request, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn a_suite_and_options_are_understood_in_any_order() {
        let request = parse_words("--quick latency --json out.json --plot dir").unwrap();
        assert_eq!((request.suite.name, request.quick), ("latency", true));
        assert_eq!(request.json, Some(PathBuf::from("out.json")));
        assert_eq!(request.plot, Some(PathBuf::from("dir")));
    }

    #[test]
    fn anything_else_is_refused_with_the_list_of_suites() {
        for words in [
            "",
            "no-such",
            "latency density",
            "--json",
            "latency --plot",
            "latency --fast",
        ] {
            let refusal = parse_words(words).unwrap_err();
            for suite in SUITES {
                assert!(refusal.contains(suite.name), "{refusal}");
            }
        }
    }

    #[test]
    fn a_suite_without_a_picture_says_so_before_it_measures() {
        for suite in SUITES {
            let parsed = parse_words(&format!("--plot dir {}", suite.name));
            match suite.draws {
                Some(_) => assert_eq!(parsed.unwrap().plot, Some(PathBuf::from("dir"))),
                None => {
                    let refusal = parsed.unwrap_err();
                    assert!(refusal.contains("nothing to draw"), "{refusal}");
                    assert!(parse_words(suite.name).unwrap().plot.is_none());
                }
            }
        }
    }
}
