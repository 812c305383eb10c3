//! Text that a guest chose, made safe for logs and terminals.

/// The same text with control and direction-changing characters escaped, and cut to `bytes_max`.
pub(crate) fn printable(text: &str, bytes_max: usize) -> String {
    escape(text, bytes_max, |_| false)
}

/// As [`printable`], but line breaks and tabs stay: for messages that people laid out.
pub(crate) fn printable_lines(text: &str, bytes_max: usize) -> String {
    escape(text, bytes_max, |c| matches!(c, '\n' | '\t'))
}

fn escape(text: &str, bytes_max: usize, keep: fn(char) -> bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= bytes_max {
            break;
        }
        if !keep(c) && (c.is_control() || changes_direction(c)) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out.truncate(out.floor_char_boundary(bytes_max));
    out
}

/// Characters that make a terminal show text in another order than it has.
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_guest_says_moves_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\n", 100), "a\\u{1b}[2Jb\\n");
        assert_eq!(printable("\u{202e}x", 100), "\\u{202e}x");
        assert_eq!(printable_lines("a\n\tb\x07", 100), "a\n\tb\\u{7}");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(printable("éé", 3), "é");
        assert_eq!(printable("abc", 0), "");
        assert!(printable(&"\x01".repeat(100), 10).len() <= 10);
    }
}
