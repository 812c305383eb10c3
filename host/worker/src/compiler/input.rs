//! Whether bytes are a module at all, and what to say when they are not.

use std::borrow::Cow;

use wasmparser::Parser;

use crate::text::{printable, printable_lines};

/// How much of a parser's message is shown.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The bytes as binary WebAssembly.
pub(super) fn wasm(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    if bytes.is_empty() {
        return Err("the module is empty (0 bytes)".to_owned());
    }
    let wasm = if bytes.starts_with(b"\0asm") {
        Cow::Borrowed(bytes)
    } else {
        Cow::Owned(parse_text(bytes)?)
    };
    if Parser::is_component(&wasm) {
        return Err(
            "this is a WebAssembly component; a core module is wanted: build with \
             `cargo build --target wasm32-wasip1`"
                .to_owned(),
        );
    }
    if !Parser::is_core_wasm(&wasm) {
        let version = wasm.get(4..8).map_or_else(
            || "is cut off".to_owned(),
            |version| format!("is {version:02x?}"),
        );
        return Err(format!(
            "this begins like a WebAssembly module, but its version {version}; only version 1 is known"
        ));
    }
    Ok(wasm)
}

fn parse_text(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| not_a_module(bytes))?;
    if !looks_like_text(text) {
        return Err(not_a_module(bytes));
    }
    wat::parse_str(text).map_err(|error| {
        format!(
            "the WebAssembly text has an error: {}",
            printable_lines(&error.to_string(), MESSAGE_BYTES_MAX)
        )
    })
}

/// WebAssembly text begins with a parenthesis, or with a comment.
fn looks_like_text(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    text.starts_with('(') || text.starts_with(";;")
}

fn not_a_module(bytes: &[u8]) -> String {
    let kind = match bytes {
        [0x7f, b'E', b'L', b'F', ..] => "a native executable or object (ELF)",
        [b'M', b'Z', ..] => "a Windows executable",
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => "a macOS executable",
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => "a library archive (.a or .rlib)",
        [0x1f, 0x8b, ..] => "gzip-compressed data",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [b'B', b'C', 0xc0, 0xde, ..] => "LLVM bitcode",
        [b'#', b'!', ..] => "a script",
        _ => {
            let first = &bytes[..bytes.len().min(16)];
            return format!(
                "this is neither WebAssembly nor its text format: it begins with {first:02x?} (`{}`)",
                printable(&String::from_utf8_lossy(first), 64)
            );
        }
    };
    format!(
        "this is {kind}, neither WebAssembly nor its text format; build the guest with \
         `cargo build --target wasm32-wasip1`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_input_has_its_own_message() {
        for (bytes, says) in [
            (&b""[..], "empty"),
            (b"\x7fELF\x02", "native executable"),
            (b"\0asm\x0d\0\x01\0", "wasm32-wasip1"),
            (b"\0asm\x02\0\0\0", "only version 1"),
            (b"\0asm", "cut off"),
            (b"hello", "`hello`"),
            (b"\xff\xfe\x1b[2J", "ff, fe"),
            (b"(module (func $f (result i32)", "-->"),
            (b"(component)", "component"),
            (b"#!/bin/sh", "script"),
        ] {
            let message = wasm(bytes).unwrap_err();
            assert!(message.contains(says), "{message}");
            assert!(!message.contains('\x1b'));
        }
    }

    #[test]
    fn text_becomes_binary_and_binary_stays() {
        let wasm_of = |text: &str| wasm(text.as_bytes()).unwrap().into_owned();
        let module = wasm_of("\n;; a comment\n(module)");
        assert_eq!(module, b"\0asm\x01\0\0\0");
        assert!(matches!(wasm(&module), Ok(Cow::Borrowed(_))));
    }
}
