//! The instruction that a signal moves a guest to, so that it traps.
//!
//! It is a function that does nothing else, behind all others of the module, which nobody calls. The compiler adds it,
//! and a worker finds it in what was compiled.

use std::ops::Range;

use wasm_encoder::{CustomSection, Encode, Section, SectionId};
use wasmparser::{BinaryReaderError, Parser, Payload};
use wasmtime::Module;

/// By how many bytes the function shifts the code of its module: always by as many, so that a backtrace can give offsets
/// in the module that its author has.
pub(crate) const SHIFT: usize = 32;

/// The type of the function. A body that never returns has any type, and a module with functions has a first one.
const TYPE: u8 = 0;

/// Its length, no locals, `unreachable`, `end`.
const BODY: [u8; 4] = [3, 0, 0x00, 0x0b];

/// What an `unreachable` becomes.
const TRAP: &[u8] = if cfg!(target_arch = "aarch64") {
    &[0x1f, 0xc1, 0, 0] // udf #0xc11f
} else {
    &[0x0f, 0x0b] // ud2
};

/// Adds the function to a valid module, if it has any.
///
/// # Errors
/// None, if the module is valid.
pub(crate) fn add(wasm: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
    let mut made = Vec::with_capacity(wasm.len() + 2 * SHIFT);
    // How much of the module is in there, and where the section begins that is being looked at.
    let (mut copied, mut begins) = (0, 0);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let range = match &payload {
            Payload::Version { range, .. } => range.clone(),
            _ => match payload.as_section() {
                Some((_, range)) => range,
                None => continue,
            },
        };
        match payload {
            Payload::FunctionSection(functions) if functions.count() > 0 => {
                made.extend(&wasm[copied..begins]);
                let section = Longer::new(&wasm[range.clone()], functions.count(), &[TYPE]);
                section.write(SectionId::Function, &mut made);
                copied = range.end;
            }
            Payload::CodeSectionStart { count, .. } if count > 0 => {
                made.extend(&wasm[copied..begins]);
                let section = Longer::new(&wasm[range.clone()], count, &BODY);
                let was = range.end - section.entries.len();
                let is = made.len() + section.header(SectionId::Code).len();
                push_padding(was + SHIFT - is, &mut made);
                section.write(SectionId::Code, &mut made);
                copied = range.end;
            }
            _ => {}
        }
        begins = range.end;
    }
    made.extend(&wasm[copied..]);
    Ok(made)
}

/// A section with one more entry.
struct Longer<'a> {
    count: u32,
    /// Of the count, as it was written.
    digits: usize,
    entries: &'a [u8],
    entry: &'a [u8],
}

impl<'a> Longer<'a> {
    /// `content` begins with the count.
    fn new(content: &'a [u8], count: u32, entry: &'a [u8]) -> Self {
        // A number ends with the first byte whose highest bit is clear, and may be longer than it has to be.
        let digits = content.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        Self {
            count: count + 1,
            digits,
            entries: &content[digits..],
            entry,
        }
    }

    /// All that is before the entries.
    fn header(&self, id: SectionId) -> Vec<u8> {
        let mut count = Vec::new();
        self.count.encode(&mut count);
        // As long as it was, if it can be: lines of source code are told by the distance from here. With 128 or 16 384
        // functions it cannot, and lines are those of the next byte.
        while count.len() < self.digits {
            *count.last_mut().expect("a number has a digit") |= 0x80;
            count.push(0);
        }
        let mut header = vec![id.into()];
        (count.len() + self.entries.len() + self.entry.len()).encode(&mut header);
        header.extend(count);
        header
    }

    fn write(&self, id: SectionId, to: &mut Vec<u8>) {
        to.extend(self.header(id));
        to.extend(self.entries);
        to.extend(self.entry);
    }
}

/// A section without a meaning, of this many bytes altogether.
fn push_padding(bytes: usize, to: &mut Vec<u8>) {
    /// What one takes that has neither a name nor content.
    const EMPTY: usize = 3;
    let padding = CustomSection {
        name: "".into(),
        data: (&[0; 2 * SHIFT][..bytes - EMPTY]).into(),
    };
    padding.append_to(to);
}

/// Where the code of a module lies in this process, and where in it the trap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StopPoint {
    /// The functions of the module, and nothing that belongs to their host.
    code: Range<usize>,
    trap: usize,
}

impl StopPoint {
    /// That of a module to which it was added; `None` when there is no code.
    ///
    /// # Errors
    /// When its code does not look like that of such a module.
    pub(crate) fn of(module: &Module) -> wasmtime::Result<Option<Self>> {
        let unlike = |what| wasmtime::format_err!("the code has no point to stop at: {what}");
        let mut functions = module.functions();
        let Some(first) = functions.next() else {
            return Ok(None);
        };
        let (mut at, mut end) = (first.offset, first.offset + first.len);
        for function in functions {
            at = function.offset;
            // What belongs to Wasmtime comes after all of them.
            if at < end {
                return Err(unlike("its functions are in another order"));
            }
            end = at + function.len;
        }
        let text = module.text();
        let last = text.get(at..end).unwrap_or_default();
        let mut traps = (0..last.len()).filter(|&at| last[at..].starts_with(TRAP));
        let (Some(trap), None) = (traps.next(), traps.next()) else {
            return Err(unlike("its last function is another one"));
        };
        let text = text.as_ptr().expose_provenance();
        Ok(Some(Self {
            code: text + first.offset..text + end,
            trap: text + at + trap,
        }))
    }

    /// The trap, for a guest at `counter`; `None` when that is not in its own code.
    #[inline]
    pub(crate) fn trap_from(&self, counter: usize) -> Option<usize> {
        self.code.contains(&counter).then_some(self.trap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::Validator;

    /// Where the function bodies of a module begin, and where the section that they are in.
    fn bodies(wasm: &[u8]) -> (Vec<usize>, usize) {
        let (mut bodies, mut section) = (Vec::new(), 0);
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::CodeSectionStart { range, .. } => section = range.start,
                Payload::CodeSectionEntry(body) => bodies.push(body.range().start),
                _ => {}
            }
        }
        (bodies, section)
    }

    /// A module of `count` functions, with sections of every kind.
    fn module(count: usize) -> Vec<u8> {
        let functions = "(func (param i32) (result i32) (local.get 0))".repeat(count);
        let text = format!(
            r#"(module
                (type (func (param i32 i32) (result i64)))
                (import "a" "b" (func))
                (table 1 funcref) (memory 1) (global (mut i32) (i32.const 1))
                (export "first" (func 1))
                (@custom "before" (before code) "anything")
                (elem (i32.const 0) func 1)
                {functions}
                (data (i32.const 0) "data"))"#
        );
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn every_function_is_shifted_by_the_same_whatever_numbers_become_longer() {
        for count in [
            1, 2, 60, 125, 126, 127, 128, 129, 2000, 16_382, 16_383, 16_384,
        ] {
            let wasm = module(count);
            let made = add(&wasm).unwrap();
            Validator::new().validate_all(&made).unwrap();
            let ((was, before), (is, after)) = (bodies(&wasm), bodies(&made));
            assert_eq!((was.len(), is.len()), (count, count + 1));
            for (was, is) in was.iter().zip(&is) {
                assert_eq!(*is, was + SHIFT, "of {count}");
            }
            // What lines of source code are told by.
            let longer = usize::from([127, 16_383].contains(&count));
            assert_eq!(is[0] - after, was[0] - before + longer, "of {count}");
        }
    }

    /// Linkers write numbers in more digits than they need, to fill them in later.
    #[test]
    fn numbers_that_are_longer_than_they_have_to_be_stay_so_where_it_matters() {
        let long = |number: u8| [number | 0x80, 0x80, 0x80, 0x80, 0x00];
        let mut wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0".to_vec();
        for (id, entry) in [(3, &[0][..]), (10, &[2, 0, 0x0b][..])] {
            wasm.push(id);
            wasm.extend(long(5 + entry.len() as u8));
            wasm.extend(long(1));
            wasm.extend(entry);
        }
        let made = add(&wasm).unwrap();
        Validator::new().validate_all(&made).unwrap();
        let ((was, before), (is, after)) = (bodies(&wasm), bodies(&made));
        assert_eq!(is[0], was[0] + SHIFT);
        assert_eq!(is[0] - after, was[0] - before);
        assert_eq!((was.len(), is.len()), (1, 2));
    }

    #[test]
    fn a_module_without_functions_stays_as_it_is() {
        for text in ["(module)", r#"(module (import "a" "b" (func)) (memory 1))"#] {
            let wasm = wat::parse_str(text).unwrap();
            assert_eq!(add(&wasm).unwrap(), wasm);
        }
        // Sections that are there and empty.
        let empty = b"\0asm\x01\0\0\0\x03\x01\0\x0a\x01\0";
        assert_eq!(add(empty).unwrap(), empty);
    }
}
