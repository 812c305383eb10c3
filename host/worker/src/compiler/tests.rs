//! What is accepted, and what is said about the rest.

use stockade_wire::module_info::{FunctionKind, ModuleInfo, Number};

use super::*;

fn info(wat: &str) -> ModuleInfo {
    compile(wat.as_bytes(), StopBy::Epoch)
        .unwrap_or_else(|(_, message)| panic!("{message}"))
        .info()
        .clone()
}

fn refusal(wat: &str) -> String {
    let (why, message) = compile(wat.as_bytes(), StopBy::Epoch).unwrap_err();
    assert_eq!(why, CompileRefusal::Invalid, "{message}");
    message
}

const ABI: &str = r#"
    (memory (export "memory") 1 4)
    (func (export "stockade_alloc") (param i32) (result i32) unreachable)
    (func (export "stockade_free") (param i32 i32))"#;

fn with_abi(rest: &str) -> String {
    format!("(module {rest} {ABI})")
}

const F: &str = r#"(func (export "stockade:f") (param i32 i32) (result i64) unreachable)"#;

#[test]
fn functions_are_found_with_their_positions_types_and_docs() {
    let metadata = r#"(@custom "stockade" "{\"abi\":1,\"functions\":[{\"name\":\"f\",\"params\":[{\"name\":\"n\",\"type\":\"u32\"}],\"returns\":\"u64\",\"docs\":\"Does.\"}]}\n{\"abi\":1}")"#;
    let info = info(&with_abi(&format!(
        r#"{metadata} (global (export "g") i32 (i32.const 0)) {F}
           (func (export "stockade:plain name") (param i32 i32) (result i64) unreachable)
           (func (export "add") (param f32) (result f64) unreachable)
           (func (export "_initialize"))
           (func (export "__internal"))
           (func (export "cabi_realloc"))
           (func (export "two") (result i32 i32) unreachable)
           (func (export "vector") (param v128))"#
    )));
    let names: Vec<_> = info
        .functions
        .iter()
        .map(|f| (&*f.name, f.export))
        .collect();
    assert_eq!(names, [("f", 1), ("plain name", 2), ("add", 3)]);
    let FunctionKind::Work {
        signature: Some(signature),
    } = &info.functions[0].kind
    else {
        panic!("f is described");
    };
    assert_eq!(
        (&*signature.params[0].name, &*signature.returns),
        ("n", "u64")
    );
    assert_eq!(info.functions[0].docs, "Does.");
    assert_eq!(
        info.functions[1].kind,
        FunctionKind::Work { signature: None }
    );
    let numeric = FunctionKind::Numeric {
        params: vec![Number::F32],
        result: Some(Number::F64),
    };
    assert_eq!(info.functions[2].kind, numeric);
    assert_eq!(info.memory, Some((1 << 16, Some(4 << 16))));
    assert!(!info.command && info.warnings.is_empty() && info.imports.is_empty());
}

#[test]
fn positions_are_those_of_the_loaded_module() {
    let wat = with_abi(F);
    let info = info(&wat);
    let engine = engine(StopBy::Epoch).unwrap();
    let module = wasmtime::Module::new(&engine, wat::parse_str(&wat).unwrap()).unwrap();
    let position = module
        .exports()
        .position(|export| export.name() == "stockade:f");
    assert_eq!(position, Some(info.functions[0].export as usize));
}

#[test]
fn a_command_is_known_as_one() {
    assert!(info(r#"(module (func (export "_start")))"#).command);
}

#[test]
fn breaches_of_the_abi_are_named() {
    let memory = r#"(memory (export "memory") 1)"#;
    for (wat, says) in [
        (
            with_abi(r#"(func (export "stockade:f") (param i32) (result i64) unreachable)"#),
            "`stockade:f` is (i32) -> (i64), but must be (i32, i32) -> (i64)",
        ),
        (format!("(module {F} {memory})"), "not `stockade_alloc`"),
        (
            format!(
                r#"(module {F} {memory} (func (export "stockade_alloc") (result i32) unreachable))"#
            ),
            "`stockade_alloc` is () -> (i32)",
        ),
        (
            format!(
                r#"(module {F}
                    (func (export "stockade_alloc") (param i32) (result i32) unreachable)
                    (func (export "stockade_free") (param i32 i32)))"#
            ),
            "no memory under the name `memory`",
        ),
        (
            r#"(module (func (export "_initialize") (param i32)))"#.to_owned(),
            "`_initialize` is (i32) -> ()",
        ),
        (
            with_abi(r#"(@custom "stockade" "{\"abi\":2}")"#),
            "version 2",
        ),
    ] {
        let message = refusal(&wat);
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn imports_must_be_offered_and_of_the_right_type() {
    let wasi = "wasi_snapshot_preview1";
    for (import, says) in [
        (
            r#""env" "f" (func)"#.to_owned(),
            "offered are stockade::panic",
        ),
        (r#""stockade" "emit" (func)"#.to_owned(), "stockade::emit"),
        (r#""wbg" "f" (func)"#.to_owned(), "wasm-bindgen"),
        (r#""wasi:cli/run" "f" (func)"#.to_owned(), "component"),
        (
            r#""env" "memory" (memory 1)"#.to_owned(),
            "the memory env::memory",
        ),
        (
            r#""env" "t" (table 1 funcref)"#.to_owned(),
            "the table env::t",
        ),
        (r#""env" "g" (global i32)"#.to_owned(), "the global env::g"),
        (
            format!(r#""{wasi}" "fd_write" (func)"#),
            "as () -> (), but it is (i32, i32, i32, i32) -> (i32)",
        ),
        (format!(r#""{wasi}" "thread_spawn" (func)"#), "thread_spawn"),
    ] {
        let message = refusal(&format!("(module (import {import}))"));
        assert!(message.contains(says), "{message}");
    }
    let import = format!(r#"(import "{wasi}" "sched_yield" (func (result i32)))"#);
    assert!(refusal(&format!("(module {import})")).contains("no memory"));
    let found = info(&with_abi(&import)).imports;
    assert_eq!(found, [format!("{wasi}::sched_yield")]);
}

#[test]
fn a_feature_that_is_off_is_named() {
    for (wat, name) in [
        ("(module (memory i64 1))", "memory64"),
        ("(module (memory 1) (memory 1))", "multi-memory"),
        ("(module (memory 1 1 shared))", "threads"),
        ("(module (tag))", "exceptions"),
        ("(module (func (param externref)))", "gc-types"),
        ("(module (type (struct)))", "gc"),
    ] {
        let message = refusal(wat);
        assert!(message.contains(&format!("needs {name}")), "{message}");
    }
    let message = refusal("(module (func (result i32)))");
    assert!(
        message.contains("offset 0x") && !message.contains("needs"),
        "{message}"
    );
}

#[test]
fn finished_features_are_on() {
    info(
        r#"(module
            (table 1 funcref) (table 1 funcref) (memory (export "memory") 1)
            (func (result i32 i64) i32.const 0 i32.extend8_s i64.const 0)
            (func (param f32) (result i32) local.get 0 i32.trunc_sat_f32_s)
            (func (param v128) (result v128) local.get 0 local.get 0 i32x4.add)
            (func (param v128) (result v128) local.get 0 local.get 0 i8x16.relaxed_swizzle)
            (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))
            (func $t (return_call $t))
            (global i32 (i32.add (i32.const 1) (i32.const 2))))"#,
    );
}

#[test]
fn a_module_beyond_a_limit_is_refused_before_it_is_compiled() {
    let locals = format!("(module (func (local {})))", "i32 ".repeat(20_001));
    assert!(refusal(&locals).contains("20001 locals"));
    let tables = "(table 0 funcref)".repeat(5);
    assert!(refusal(&format!("(module {tables})")).contains("5 tables"));
}

#[test]
fn a_module_is_described_with_its_tables() {
    assert_eq!(info("(module)").tables, 0);
    let tables = "(table 2 funcref)".repeat(4);
    assert_eq!(info(&format!("(module {tables})")).tables, 4);
    let largest = |tables: &str| info(&format!("(module {tables})")).largest_table;
    assert_eq!(largest(""), Some(0));
    assert_eq!(
        largest("(table 2 5 funcref) (table 1 9 funcref) (table 0 3 funcref)"),
        Some(9)
    );
    // One that may grow as it likes.
    assert_eq!(largest("(table 1 9 funcref) (table 2 funcref)"), None);
}

#[test]
fn names_of_the_compiler_are_not_a_modules() {
    for module in [
        r#"(memory (export "stockade_state_memory") 1)"#,
        r#"(memory (export "memory") 1) (global (export "stockade_state_0") i32 (i32.const 1))"#,
        r#"(func (export "stockade_state_whole"))"#,
    ] {
        let message = refusal(&format!("(module {module})"));
        assert!(message.contains("kept for the compiler"), "{message}");
    }
}

#[test]
fn wrapped_exports_and_unreadable_metadata_are_warnings() {
    let warnings = info(&with_abi(r#"(func $f.command_export)"#)).warnings;
    assert!(warnings[0].contains("constructors"), "{warnings:?}");
    let warnings = info(&with_abi(r#"(@custom "stockade" "{\"abi\":")"#)).warnings;
    assert!(warnings[0].contains("cannot be read"), "{warnings:?}");
    let both = with_abi(&format!(r#"{F} (func (export "f"))"#));
    assert!(info(&both).warnings[0].contains("hidden"));
}
