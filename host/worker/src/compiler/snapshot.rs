//! A module whose initialisation runs once: first one that shows its state, then one that begins with it.
//!
//! The state in between comes from a process that ran the guest, so it is as hostile as the module itself;
//! what it can do here is to make that module's own artifact a bad one.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime_wizer::Wizer;

use crate::abi;
use crate::init::dump::Dump;
use crate::text::printable;

/// The longest reason.
const REASON_BYTES_MAX: usize = 400;

fn wizer() -> Wizer {
    let mut wizer = Wizer::new();
    // It is taken out of the result, and so is `_initialize`: both have run.
    wizer.init_func(abi::INIT);
    wizer
}

/// The module with its state exported.
///
/// # Errors
/// Why the module's state cannot be kept.
pub(super) fn instrument(wasm: &[u8]) -> Result<Vec<u8>, String> {
    let (_, instrumented) = wizer().instrument(wasm).map_err(reason)?;
    Ok(instrumented)
}

/// The module as it is after its initialisation, which left `dump`. Its memory, if it has one, has this initial
/// and this greatest size in bytes.
///
/// # Errors
/// What is wrong with the dump.
pub(super) fn apply(
    wasm: &[u8],
    memory: Option<(u64, Option<u64>)>,
    dump: &[u8],
) -> Result<Vec<u8>, String> {
    let damaged = |what| format!("what its initialisation left is damaged: {what}");
    let mut dump = Dump::read(dump).map_err(damaged)?;
    let (least, most) = memory.unwrap_or((0, Some(0)));
    if !(least..=most.unwrap_or(u64::MAX)).contains(&dump.memory_bytes()) {
        return Err(damaged("its memory has a size that the module forbids"));
    }
    let wizer = wizer();
    let (context, _) = wizer.instrument(wasm).map_err(reason)?;
    let made = {
        let snapshot = pin!(wizer.snapshot(&context, &mut dump));
        // Nothing in it waits.
        match snapshot.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(made) => made.map_err(reason)?,
            Poll::Pending => return Err(damaged("it is not there")),
        }
    };
    if !dump.was_whole() {
        return Err(damaged("a part of it is missing"));
    }
    Ok(made)
}

fn reason(error: wasmtime::Error) -> String {
    printable(&format!("{error:#}"), REASON_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 65_536;

    fn module() -> Vec<u8> {
        let text = r#"(module
            (memory (export "memory") 1 3)
            (global (mut i32) (i32.const 1))
            (global i32 (i32.const 2))
            (global (mut f64) (f64.const 3))
            (func (export "_initialize"))
            (func (export "stockade_init"))
            (func (export "f")))"#;
        wat::parse_str(text).unwrap()
    }

    fn dump(memory_bytes: u64, globals: &[u32], run: Option<(u64, &[u8])>) -> Vec<u8> {
        let mut bytes = b"STKDDUM1".to_vec();
        bytes.extend(memory_bytes.to_le_bytes());
        bytes.extend((globals.len() as u32).to_le_bytes());
        for global in globals {
            bytes.extend(global.to_le_bytes());
            bytes.extend(u128::MAX.to_le_bytes());
        }
        if let Some((offset, run)) = run {
            bytes.extend(offset.to_le_bytes());
            bytes.extend((run.len() as u64).to_le_bytes());
            bytes.extend(run);
        }
        bytes
    }

    fn apply_to_module(dump: &[u8]) -> Result<Vec<u8>, String> {
        apply(&module(), Some((PAGE, Some(3 * PAGE))), dump)
    }

    #[test]
    fn a_module_begins_with_its_state_and_without_what_made_it() {
        assert!(instrument(&module()).is_ok());
        let made = apply_to_module(&dump(2 * PAGE, &[0, 2], Some((2 * PAGE - 2, b"ab")))).unwrap();
        let has = |text: &str| {
            made.windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        assert!(has("ab") && has("memory"));
        assert!(!has("_initialize") && !has(abi::INIT) && !has("__wizer"));
    }

    #[test]
    fn a_dump_that_does_not_fit_its_module_is_refused() {
        for (dump, says) in [
            (dump(0, &[0, 2], None), "forbids"),
            (dump(4 * PAGE, &[0, 2], None), "forbids"),
            (dump(PAGE, &[0], None), "missing"),
            (dump(PAGE, &[1], None), "missing"),
            (dump(PAGE, &[0, 2], Some((PAGE - 1, b"ab"))), "outside"),
            (dump(PAGE, &[0, 2], Some((u64::MAX, b"ab"))), "outside"),
            (b"STKDDUM1".to_vec(), "cut off"),
            (Vec::new(), "cut off"),
            (vec![0; 64], "does not begin"),
        ] {
            let refused = apply_to_module(&dump).unwrap_err();
            assert!(refused.contains(says), "{says}: {refused}");
        }
        // More than it asks for does no harm.
        assert!(apply_to_module(&dump(PAGE, &[0, 1, 2, 77], None)).is_ok());
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        for (body, says) in [
            ("(table.set (i32.const 0) (ref.null func))", "table.set"),
            (
                "(drop (table.grow (ref.null func) (i32.const 1)))",
                "table.grow",
            ),
            ("(data.drop 0)", "data.drop"),
        ] {
            let text = format!(
                r#"(module (memory 1) (table 1 funcref) (data "x") (func (export "stockade_init") {body}))"#
            );
            let refused = instrument(&wat::parse_str(text).unwrap()).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
