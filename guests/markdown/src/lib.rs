//! Markdown that somebody else wrote, as HTML that can be shown.
#![forbid(unsafe_code)]

use pulldown_cmark::{Options, Parser, html};
use stockade_guest::work;

/// CommonMark, with tables, footnotes, strikethrough and task lists, as HTML without anything that
/// runs or tracks.
#[work]
pub fn render(text: &str) -> String {
    let extensions = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS;
    let mut page = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut page, Parser::new_ext(text, extensions));
    ammonia::clean(&page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html() {
        assert_eq!(
            render("# Title\n\nSome *text*."),
            "<h1>Title</h1>\n<p>Some <em>text</em>.</p>\n"
        );
        assert!(render("| a |\n|---|\n| b |").contains("<td>b</td>"));
        assert!(render("~~gone~~").contains("<del>gone</del>"));
    }

    #[test]
    fn what_runs_is_removed() {
        for (text, evil) in [
            ("<script>alert(1)</script>", "script"),
            ("[a](javascript:alert(1))", "javascript"),
            ("<img src=x onerror=alert(1)>", "onerror"),
            ("a <iframe src=x></iframe>", "iframe"),
        ] {
            let html = render(text);
            assert!(!html.contains(evil), "{html}");
        }
    }
}
