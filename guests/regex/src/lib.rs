//! Searches whose patterns somebody else wrote.
//!
//! Patterns with back-references and look-around are matched by trying, and some take longer than the world will
//! stand. The engine's own limit on that is off: how long a search may take is the server's to say, in time, and a
//! search that is stopped has cost one call.
#![forbid(unsafe_code)]

use fancy_regex::{Captures, Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use stockade_guest::work;

/// Where a pattern matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// The first byte of the text that belongs to it.
    pub start: usize,
    /// The first byte behind it.
    pub end: usize,
    /// The whole match, and what each group took, if it took part.
    pub groups: Vec<Option<String>>,
}

/// Every match of `pattern` in `text`, from left to right, none in another.
#[work]
pub fn search(pattern: &str, text: &str) -> Result<Vec<Match>, String> {
    let regex = compile(pattern)?;
    regex
        .captures_iter(text)
        .map(|found| found.map(|found| described(&found)).map_err(refused))
        .collect()
}

/// `text` with every match of `pattern` replaced; `$1` and `${name}` in `replacement` stand for groups.
#[work]
pub fn replace(pattern: &str, text: &str, replacement: &str) -> Result<String, String> {
    let regex = compile(pattern)?;
    let replaced = regex.try_replacen(text, 0, replacement).map_err(refused)?;
    Ok(replaced.into_owned())
}

fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .backtrack_limit(usize::MAX)
        .build()
        .map_err(refused)
}

fn described(found: &Captures<'_, str>) -> Match {
    let whole = found.get(0).map_or(0..0, |whole| whole.range());
    Match {
        start: whole.start,
        end: whole.end,
        groups: found
            .iter()
            .map(|group| Some(group?.as_str().to_owned()))
            .collect(),
    }
}

fn refused(error: fancy_regex::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_have_their_place_and_their_groups() {
        let found = search(r"(\w)(\w)?\1", "abba xax").unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|m| (m.start, m.end, m.groups[2].as_deref()))
            .collect();
        assert_eq!(shown, [(1, 3, None), (5, 8, Some("a"))]);
        assert_eq!(search("(?<=é)x", "éxx").unwrap()[0].start, 2);
        assert_eq!(search("z", "").unwrap(), []);
    }

    #[test]
    fn a_replacement_can_name_groups() {
        assert_eq!(
            replace(r"(?<a>\w)-(\w)", "a-b c-d", "$2${a}").unwrap(),
            "ba dc"
        );
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_the_place() {
        let error = search("a(b", "").unwrap_err();
        assert!(error.contains("position"), "{error}");
        assert!(replace(r"\2(a)", "", "").is_err());
    }
}
