//! A type as text: as it was written, with the spaces that rustfmt would leave.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use quote::ToTokens;
use syn::Type;

pub(crate) fn type_text(ty: &Type) -> String {
    let mut text = Text::default();
    text.tokens(ty.to_token_stream());
    text.written
}

#[derive(Default)]
struct Text {
    written: String,
    /// Whether a word was written last: two words need a space between them.
    after_word: bool,
}

impl Text {
    fn tokens(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        let mut angles = 0;
        let mut commas = 0;
        while let Some(token) = tokens.next() {
            match token {
                TokenTree::Group(group) => self.group(group.delimiter(), group.stream()),
                TokenTree::Ident(ident) => self.word(&ident.to_string()),
                TokenTree::Literal(literal) => self.word(&literal.to_string()),
                TokenTree::Punct(punct) => {
                    let is_arrow = punct.as_char() == '>' && self.written.ends_with(" -");
                    match (punct.as_char(), tokens.peek()) {
                        // A trailing comma says nothing, except in a tuple of one.
                        (',', None) if commas > 0 => continue,
                        (',', Some(TokenTree::Punct(next))) if next.as_char() == '>' => continue,
                        (',', next) => {
                            commas += usize::from(angles == 0);
                            self.symbol(if next.is_some() { ", " } else { "," });
                            continue;
                        }
                        ('<', _) => angles += 1,
                        ('>', _) if !is_arrow => angles -= 1,
                        _ => {}
                    }
                    self.punct(punct.as_char(), punct.spacing());
                }
            }
        }
    }

    fn group(&mut self, delimiter: Delimiter, tokens: TokenStream) {
        let (open, close) = match delimiter {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        self.symbol(open);
        self.tokens(tokens);
        self.written.push_str(close);
        self.after_word = self.after_word && close.is_empty();
    }

    fn word(&mut self, word: &str) {
        if self.after_word {
            self.written.push(' ');
        }
        self.written.push_str(word);
        self.after_word = true;
    }

    fn symbol(&mut self, symbol: &str) {
        self.written.push_str(symbol);
        self.after_word = self.after_word && symbol.is_empty();
    }

    fn punct(&mut self, character: char, spacing: Spacing) {
        match character {
            ';' => self.symbol("; "),
            '+' | '=' => self.symbol(&format!(" {character} ")),
            '-' if spacing == Spacing::Joint => self.symbol(" -"),
            // A lifetime's name follows its quote, and a word may follow the lifetime.
            '\'' if self.after_word => self.symbol(" '"),
            '>' if self.written.ends_with(" -") => self.symbol("> "),
            _ => self.symbol(&character.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_rustfmt_would() {
        for ty in [
            "u32",
            "()",
            "(u32,)",
            "(u32, String)",
            "Vec<u8>",
            "&str",
            "&[u8]",
            "[u8; 4]",
            "[[f32; 2]; N]",
            "Option<(u32, String)>",
            "Result<Vec<Option<u8>>, std::string::String>",
            "std::collections::HashMap<String, Vec<(u8, char)>>",
            "&'static str",
            "&'a mut T",
            "Cow<'_, str>",
            "Box<dyn Shape + Send>",
            "fn(u8, &str) -> u8",
            "<T as Trait>::Item",
            "impl Iterator<Item = u8>",
        ] {
            assert_eq!(type_text(&syn::parse_str(ty).unwrap()), ty);
        }
    }

    #[test]
    fn spaces_and_line_breaks_in_the_source_do_not_show() {
        for (written, text) in [
            (
                "Option < (\n u32 ,\n Map < String , u8 , > ,\n) >",
                "Option<(u32, Map<String, u8>)>",
            ),
            ("(Map<String, u8>,)", "(Map<String, u8>,)"),
            ("Vec<fn(u8)->u8,>", "Vec<fn(u8) -> u8>"),
        ] {
            assert_eq!(type_text(&syn::parse_str(written).unwrap()), text);
        }
    }
}
