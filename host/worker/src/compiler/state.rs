//! What the code of a module can change in an instance, and whether that can all be put back from outside.

use wasmparser::{BinaryReaderError, Operator, Parser, Payload};

use crate::additions::GLOBALS_MAX;

/// The globals that are put back together with the memory of an instance, which is exported, to make it what it was when
/// it was made. `None` if that takes more: a new instance then.
///
/// An instance is functions, tables, memories, globals, and segments that may have been dropped (WebAssembly 2.0, 4.2.6).
/// Whoever allows modules more ([`FEATURES`](crate::config::FEATURES)) has to look here.
///
/// # Errors
/// None, if the module is valid.
pub(super) fn changeable(wasm: &[u8]) -> Result<Option<Vec<u32>>, BinaryReaderError> {
    // Of those that are imported, which none may be, there are no places.
    let mut globals = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            // It runs again in each instance.
            Payload::StartSection { .. } => return Ok(None),
            Payload::GlobalSection(section) => {
                for (index, global) in (0..).zip(section) {
                    if global?.ty.mutable {
                        globals.push(index);
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                for operator in body.get_operators_reader()? {
                    if changes_more(&operator?) {
                        return Ok(None);
                    }
                }
            }
            _ => {}
        }
    }
    Ok((globals.len() <= GLOBALS_MAX).then_some(globals))
}

/// Whether it changes something else than a memory or a global.
fn changes_more(operator: &Operator<'_>) -> bool {
    use Operator::*;
    matches!(
        operator,
        TableSet { .. }
            | TableGrow { .. }
            | TableFill { .. }
            | TableCopy { .. }
            | TableInit { .. }
            | ElemDrop { .. }
            | DataDrop { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FEATURES;
    use wasmparser::WasmFeatures;

    fn of(text: &str) -> Option<Vec<u32>> {
        changeable(&wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn all_mutable_globals_are_put_back_and_no_others() {
        let globals = "(global i32 (i32.const 1)) (global (mut i64) (i64.const 2))";
        let module = format!("(module (memory 1) {globals} {globals} (func (nop)))");
        assert_eq!(of(&module), Some(vec![1, 3]));
        assert_eq!(of("(module (memory 1))"), Some(vec![]));
        let many = |count| "(global (mut i32) (i32.const 0))".repeat(count);
        assert!(of(&format!("(module {})", many(GLOBALS_MAX))).is_some());
        assert!(of(&format!("(module {})", many(GLOBALS_MAX + 1))).is_none());
    }

    #[test]
    fn what_changes_more_takes_a_new_instance() {
        for code in [
            "(table.set 0 (i32.const 0) (ref.null func))",
            "(drop (table.grow 0 (ref.null func) (i32.const 1)))",
            "(table.fill 0 (i32.const 0) (ref.null func) (i32.const 1))",
            "(table.copy 0 0 (i32.const 0) (i32.const 1) (i32.const 1))",
            "(table.init 0 $e (i32.const 0) (i32.const 0) (i32.const 1))",
            "(elem.drop $e)",
            "(data.drop $d)",
        ] {
            let module = |code| {
                format!(
                    r#"(module (memory 1) (table 2 funcref) (elem $e func 0) (data $d "data")
                    (func (block {code})))"#
                )
            };
            assert!(of(&module("")).is_some());
            assert!(of(&module(code)).is_none(), "{code}");
        }
        assert!(of("(module (func) (start 0))").is_none());
    }

    /// Each of these has been looked through for what its instructions change.
    #[test]
    fn no_feature_has_been_added_unseen() {
        let seen = WasmFeatures::MUTABLE_GLOBAL
            | WasmFeatures::SATURATING_FLOAT_TO_INT
            | WasmFeatures::SIGN_EXTENSION
            | WasmFeatures::REFERENCE_TYPES
            | WasmFeatures::MULTI_VALUE
            | WasmFeatures::BULK_MEMORY
            | WasmFeatures::BULK_MEMORY_OPT
            | WasmFeatures::CALL_INDIRECT_OVERLONG
            | WasmFeatures::SIMD
            | WasmFeatures::FLOATS
            | WasmFeatures::RELAXED_SIMD
            | WasmFeatures::EXTENDED_CONST
            | WasmFeatures::TAIL_CALL;
        assert_eq!(FEATURES, seen);
    }
}
