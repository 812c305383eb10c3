//! What the compiler adds to a module: entries behind all others, so that no index in it changes.
//!
//! They are found again in what was compiled, by the process that runs it.

use wasm_encoder::{CustomSection, Encode, Section, SectionId};
use wasmparser::{BinaryReaderError, Parser, Payload};

use crate::abi;

/// By how many bytes additions shift the code of a module: always by as many, so that a backtrace can give offsets in the
/// module that its author has.
pub(crate) const SHIFT: usize = 2048;

/// The most globals that are exported: with all of them there is room for the padding.
pub(crate) const GLOBALS_MAX: usize = 64;

/// The type of a function that is added. A body that never returns has any type, and a module with functions has a first
/// one.
const TYPE: u8 = 0;

/// Its length, no locals, `unreachable`, `end`.
const BODY: [u8; 4] = [3, 0, 0x00, 0x0b];

/// The kinds of exports.
const MEMORY: u8 = 2;
const GLOBAL: u8 = 3;

/// What is to be added.
#[derive(Debug)]
pub(crate) struct Additions {
    /// A function that traps, if there are any functions.
    pub(crate) stop_point: bool,
    /// An export of the memory, if there are any exports.
    pub(crate) memory: bool,
    /// With that, exports of these globals, and that they are the whole state: no more than [`GLOBALS_MAX`].
    pub(crate) state: Option<Vec<u32>>,
}

impl Additions {
    /// Adds them to a valid module.
    ///
    /// # Errors
    /// None, if the module is valid.
    pub(crate) fn add_to(&self, wasm: &[u8]) -> Result<Vec<u8>, BinaryReaderError> {
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
            let content = &wasm[range.clone()];
            let longer = match payload {
                Payload::FunctionSection(functions) if functions.count() > 0 => {
                    let entries = self.stop_point.then_some(vec![TYPE]);
                    Some(Longer::new(
                        SectionId::Function,
                        content,
                        functions.count(),
                        entries,
                    ))
                }
                Payload::ExportSection(exports) if exports.count() > 0 => Some(Longer::new(
                    SectionId::Export,
                    content,
                    exports.count(),
                    self.exports(),
                )),
                Payload::CodeSectionStart { count, .. } if count > 0 => {
                    let entries = self.stop_point.then_some(BODY.to_vec());
                    Some(Longer::new(SectionId::Code, content, count, entries))
                }
                _ => None,
            };
            if let Some(longer) = longer {
                made.extend(&wasm[copied..begins]);
                if longer.id == SectionId::Code {
                    let was = range.end - longer.entries.len();
                    let is = made.len() + longer.header().len();
                    push_padding(was + SHIFT - is, &mut made);
                }
                longer.write(&mut made);
                copied = range.end;
            }
            begins = range.end;
        }
        made.extend(&wasm[copied..]);
        Ok(made)
    }

    fn exports(&self) -> impl IntoIterator<Item = Vec<u8>> {
        let state = self.state.iter().filter(|_| self.memory);
        let globals = state.clone().flatten().enumerate();
        let globals =
            globals.map(|(place, index)| export(&abi::state_global(place), GLOBAL, *index));
        let whole = state.map(|_| export(abi::STATE_WHOLE, MEMORY, 0));
        let memory = self.memory.then(|| export(abi::STATE_MEMORY, MEMORY, 0));
        memory.into_iter().chain(whole).chain(globals)
    }
}

fn export(name: &str, kind: u8, index: u32) -> Vec<u8> {
    let mut entry = Vec::new();
    name.encode(&mut entry);
    entry.push(kind);
    index.encode(&mut entry);
    entry
}

/// A section with more entries.
struct Longer<'a> {
    id: SectionId,
    count: u32,
    /// Of the count, as it was written.
    digits: usize,
    entries: &'a [u8],
    added: Vec<u8>,
}

impl<'a> Longer<'a> {
    /// `content` begins with the count.
    fn new(
        id: SectionId,
        content: &'a [u8],
        mut count: u32,
        entries: impl IntoIterator<Item = Vec<u8>>,
    ) -> Self {
        let mut added = Vec::new();
        for entry in entries {
            added.extend(entry);
            count += 1;
        }
        // A number ends with the first byte whose highest bit is clear, and may be longer than it has to be.
        let digits = content.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        Self {
            id,
            count,
            digits,
            entries: &content[digits..],
            added,
        }
    }

    /// All that is before the entries.
    fn header(&self) -> Vec<u8> {
        let mut count = Vec::new();
        self.count.encode(&mut count);
        // As long as it was, if it can be: lines of source code are told by the distance from here. With 128 or 16 384
        // functions it cannot, and lines are those of the next byte.
        while count.len() < self.digits {
            *count.last_mut().expect("a number has a digit") |= 0x80;
            count.push(0);
        }
        let mut header = vec![self.id.into()];
        (count.len() + self.entries.len() + self.added.len()).encode(&mut header);
        header.extend(count);
        header
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend(self.header());
        to.extend(self.entries);
        to.extend(&self.added);
    }
}

/// A section without a meaning, of this many bytes altogether.
fn push_padding(bytes: usize, to: &mut Vec<u8>) {
    /// What one takes that has no name, besides what it holds. That is long enough for two digits of its length.
    const EMPTY: usize = 4;
    let padding = CustomSection {
        name: "".into(),
        data: (&[0; 2 * SHIFT][..bytes - EMPTY]).into(),
    };
    padding.append_to(to);
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::Validator;

    const ALL: [fn() -> Additions; 3] = [
        || Additions {
            stop_point: true,
            memory: false,
            state: None,
        },
        || Additions {
            stop_point: false,
            memory: true,
            state: Some(vec![0]),
        },
        || Additions {
            stop_point: true,
            memory: true,
            state: Some(vec![0; GLOBALS_MAX]),
        },
    ];

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

    fn add(additions: &Additions, wasm: &[u8]) -> Vec<u8> {
        let made = additions.add_to(wasm).unwrap();
        Validator::new().validate_all(&made).unwrap();
        made
    }

    #[test]
    fn every_function_is_shifted_by_the_same_whatever_numbers_become_longer() {
        for count in [
            1, 2, 60, 125, 126, 127, 128, 129, 2000, 16_382, 16_383, 16_384,
        ] {
            let wasm = module(count);
            let (was, before) = bodies(&wasm);
            for additions in ALL {
                let additions = additions();
                let (is, after) = bodies(&add(&additions, &wasm));
                let one_more = usize::from(additions.stop_point);
                assert_eq!((was.len(), is.len()), (count, count + one_more));
                for (was, is) in was.iter().zip(&is) {
                    assert_eq!(*is, was + SHIFT, "of {count}");
                }
                // What lines of source code are told by.
                let longer = one_more * usize::from([127, 16_383].contains(&count));
                assert_eq!(is[0] - after, was[0] - before + longer, "of {count}");
            }
        }
    }

    /// Linkers write numbers in more digits than they need, to fill them in later.
    #[test]
    fn numbers_that_are_longer_than_they_have_to_be_stay_so_where_it_matters() {
        let long = |number: u8| [number | 0x80, 0x80, 0x80, 0x80, 0x00];
        let mut wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0".to_vec();
        for (id, entry) in [
            (3, &[0][..]),
            (5, &[0, 1]),
            (6, &[0x7f, 1, 0x41, 0, 0x0b]),
            (7, &[1, b'f', 0, 0]),
            (10, &[2, 0, 0x0b]),
        ] {
            wasm.push(id);
            wasm.extend(long(5 + entry.len() as u8));
            wasm.extend(long(1));
            wasm.extend(entry);
        }
        let (was, before) = bodies(&wasm);
        for additions in ALL {
            let additions = additions();
            let Some(globals) = additions.state.as_ref().map(Vec::len) else {
                continue;
            };
            let made = add(&additions, &wasm);
            let (is, after) = bodies(&made);
            assert_eq!(is[0], was[0] + SHIFT);
            assert_eq!(is[0] - after, was[0] - before);
            assert_eq!(is.len(), 1 + usize::from(additions.stop_point));
            let exports = wasmtime::Module::new(&wasmtime::Engine::default(), &made).unwrap();
            assert_eq!(exports.exports().count(), 3 + globals);
        }
    }

    #[test]
    fn a_module_without_functions_stays_as_it_is() {
        let [stop_point, ..] = ALL;
        for text in ["(module)", r#"(module (import "a" "b" (func)) (memory 1))"#] {
            let wasm = wat::parse_str(text).unwrap();
            assert_eq!(add(&stop_point(), &wasm), wasm);
        }
        // Sections that are there and empty.
        let empty = b"\0asm\x01\0\0\0\x03\x01\0\x0a\x01\0";
        assert_eq!(add(&stop_point(), empty), empty);
    }
}
