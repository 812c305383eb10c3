//! Modules that cannot be run: each is refused by name, says why, and what to do.

use std::future::Future;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use stockade::{Error, Host, Interrupt, Module};
use stockade_tests::{BOUND, Scratch, alone, census, eventually, guest, host_of};

async fn refusal(module: Module) -> Error {
    host_of(module).build().await.map(|_: Host| ()).unwrap_err()
}

/// Refused as invalid, on one line that says each of `says`.
#[track_caller]
fn assert_invalid(error: &Error, says: &[&str]) {
    assert!(matches!(error, Error::InvalidModule { .. }), "{error:?}");
    assert_says(error, says);
}

#[track_caller]
fn assert_says(error: &Error, says: &[&str]) {
    let shown = error.to_string();
    assert!(!shown.contains('\n'), "{shown}");
    for text in says {
        assert!(shown.contains(text), "`{text}` is not in: {shown}");
    }
}

#[tokio::test]
async fn a_file_that_is_missing_or_unreadable_is_named() {
    let scratch = Scratch::new();
    let missing = scratch.join("no such file.wasm");
    let error = refusal(Module::from_file(&missing)).await;
    let Error::Io(io) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(io.kind(), ErrorKind::NotFound);
    assert_says(
        &error,
        &["cannot read the module", missing.to_str().unwrap()],
    );

    let error = refusal(Module::from_file(scratch.path())).await;
    assert!(matches!(error, Error::Io(_)), "{error:?}");
    assert_says(&error, &[scratch.path().to_str().unwrap(), "directory"]);
}

#[tokio::test]
async fn what_is_no_module_is_told_what_it_is() {
    let component = b"\0asm\x0d\0\x01\0";
    for (bytes, says) in [
        (&b""[..], &["empty"][..]),
        (
            b"hello",
            &["neither WebAssembly nor its text format", "hello"],
        ),
        (
            b"\x89PNG\r\n\x1a\n",
            &["neither WebAssembly nor its text format", "89"],
        ),
        (
            b"\x7fELF\x02\x01\x01",
            &["native executable", "wasm32-wasip1"],
        ),
        (b"PK\x03\x04", &["zip archive"]),
        (
            component,
            &["component", "cargo build --target wasm32-wasip1"],
        ),
        (
            b"(component)",
            &["component", "cargo build --target wasm32-wasip1"],
        ),
        (b"\0asm\x02\0\0\0", &["only version 1"]),
        (b"\0asm", &["cut off"]),
        (b"\0asm\x01\0\0\0\x01", &["not valid", "offset"]),
        (
            b"(module (func (export \"f\") (result i32)",
            &["WebAssembly text", "1:"],
        ),
        (
            b"(module\n(func i32.nonsense))",
            &["WebAssembly text", "2:7", "i32.nonsense"],
        ),
        (b"(module (func (result i32)))", &["not valid", "offset"]),
    ] {
        assert_invalid(&refusal(Module::from_bytes(bytes)).await, says);
    }
}

#[tokio::test]
async fn a_bad_file_is_named_whatever_is_wrong_with_it() {
    let scratch = Scratch::new();
    for (name, content) in [
        ("empty.wasm", &b""[..]),
        ("text.wasm", b"hello"),
        ("component.wasm", b"\0asm\x0d\0\x01\0"),
        ("bad.wat", b"(module"),
    ] {
        let path = scratch.file(name, content);
        assert_invalid(
            &refusal(Module::from_file(&path)).await,
            &[path.to_str().unwrap()],
        );
    }
}

#[tokio::test]
async fn a_damaged_module_is_refused() {
    let wasm = stockade::include_guest!("hello");
    for len in [8, 9, 100, wasm.len() / 2, wasm.len() - 1] {
        let cut = Module::from_bytes(&wasm[..len]);
        match host_of(cut).build().await {
            // Eight bytes are a module with nothing in it.
            Ok(host) => assert!(len == 8 && host.functions().is_empty(), "{len}"),
            Err(error) => assert_invalid(&error, &["not valid"]),
        }
    }
}

#[tokio::test]
async fn what_a_module_imports_must_exist() {
    for (import, says) in [
        (
            r#"(import "env" "f" (func))"#,
            &[
                "env::f",
                "not offered",
                "stockade::panic",
                "wasi_snapshot_preview1",
            ][..],
        ),
        (
            r#"(import "stockade" "unknown" (func))"#,
            &["stockade::unknown", "not offered"],
        ),
        (
            r#"(import "wasi_snapshot_preview1" "fd_unknown" (func))"#,
            &["wasi_snapshot_preview1::fd_unknown"],
        ),
        (
            r#"(import "wasi_unstable" "fd_write" (func))"#,
            &["wasi_unstable::fd_write", "old preview"],
        ),
        (
            r#"(import "__wbindgen_placeholder__" "x" (func))"#,
            &["wasm-bindgen"],
        ),
        (
            r#"(import "wasi:io/streams@0.2.0" "x" (func))"#,
            &["wasm32-wasip1"],
        ),
        (r#"(import "env" "g" (global i32))"#, &["env::g", "global"]),
        // Offered, but as something else.
        (
            r#"(import "stockade" "panic" (func (param i64)))"#,
            &["stockade::panic", "i64"],
        ),
    ] {
        let text = format!(r#"(module {import} (memory (export "memory") 1) (func (export "f")))"#);
        assert_invalid(&refusal(Module::from_wat(&text)).await, says);
    }
    // There is one memory, and it is the module's own.
    let text = r#"(module (import "env" "memory" (memory 1)) (export "memory" (memory 0)))"#;
    let says = ["env::memory", "only functions are offered"];
    assert_invalid(&refusal(Module::from_wat(text)).await, &says);
}

#[tokio::test]
async fn imports_and_work_functions_need_a_memory() {
    let abi = r#"(func (export "stockade_alloc") (param i32) (result i32) i32.const 0)
        (func (export "stockade_free") (param i32 i32))
        (func (export "stockade:f") (param i32 i32) (result i64) i64.const 0)"#;
    let wasi = r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))
        (func (export "f"))"#;
    for (body, needs) in [
        (abi, "stockade:f"),
        (wasi, "wasi_snapshot_preview1::sched_yield"),
    ] {
        let says = [needs, "exports no memory", "`memory`"];
        assert_invalid(
            &refusal(Module::from_wat(&format!("(module {body})"))).await,
            &says,
        );
        // One that nobody can reach, or under another name, is none.
        for memory in ["(memory 1)", r#"(memory (export "mem") 1)"#] {
            let text = format!("(module {body} {memory})");
            assert_invalid(&refusal(Module::from_wat(&text)).await, &says);
        }
        let text = format!(r#"(module {body} (memory (export "memory") 1))"#);
        assert!(host_of(Module::from_wat(&text)).build().await.is_ok());
    }
}

#[tokio::test]
async fn the_exports_of_the_abi_have_their_types() {
    let work = r#"(func (export "stockade:f") (param i32 i32) (result i64) i64.const 0)"#;
    let alloc = r#"(func (export "stockade_alloc") (param i32) (result i32) i32.const 0)"#;
    let free = r#"(func (export "stockade_free") (param i32 i32))"#;
    for (exports, says) in [
        (
            format!(
                r#"{alloc}{free}(func (export "stockade:f") (param i32) (result i64) i64.const 0)"#
            ),
            &["stockade:f", "(i32) -> (i64)", "(i32, i32) -> (i64)"][..],
        ),
        (
            format!(r#"{alloc}{free}(func (export "stockade:f") (param i32 i32))"#),
            &["stockade:f", "(i32, i32) -> ()"],
        ),
        (
            format!(
                r#"{work}{free}(func (export "stockade_alloc") (param i64) (result i32) i32.const 0)"#
            ),
            &["stockade_alloc", "(i64) -> (i32)", "(i32) -> (i32)"],
        ),
        (
            format!(r#"{work}{alloc}(func (export "stockade_free") (param i32))"#),
            &["stockade_free", "(i32) -> ()", "(i32, i32) -> ()"],
        ),
        (
            format!("{work}{free}"),
            &["stockade:f", "not `stockade_alloc`"],
        ),
        (
            format!("{work}{alloc}"),
            &["stockade:f", "not `stockade_free`"],
        ),
        (
            format!(r#"{work}{free}(global (export "stockade_alloc") i32 (i32.const 0))"#),
            &["stockade_alloc"],
        ),
        (
            r#"(func (export "_initialize") (param i32))"#.to_owned(),
            &["_initialize", "(i32) -> ()", "() -> ()"],
        ),
        (
            r#"(func (export "_initialize") (result i32) i32.const 0)"#.to_owned(),
            &["_initialize", "() -> (i32)"],
        ),
    ] {
        let text = format!(r#"(module (memory (export "memory") 1) {exports})"#);
        assert_invalid(&refusal(Module::from_wat(&text)).await, says);
    }
}

/// Start code of both kinds.
fn starting(body: &str) -> [Module; 2] {
    [
        Module::from_wat(&format!(
            r#"(module (func $s {body}) (start $s) (func (export "f")))"#
        )),
        Module::from_wat(&format!(
            r#"(module (func (export "_initialize") {body}) (func (export "f")))"#
        )),
    ]
}

#[tokio::test]
async fn start_code_that_traps_is_an_error_of_the_module() {
    for module in starting("unreachable") {
        let error = refusal(module).await;
        assert!(matches!(error, Error::Init { .. }), "{error:?}");
        assert_says(&error, &["start code failed", "trapped", "Unreachable"]);
    }
}

#[tokio::test]
async fn start_code_that_never_ends_is_stopped() {
    for (interrupt, timeout) in [
        (Interrupt::Epoch, Duration::from_secs(1)),
        (Interrupt::Signal, Duration::from_millis(300)),
        (Interrupt::KillOnly, Duration::from_millis(300)),
    ] {
        for module in starting("(loop $l (br $l))") {
            let begun = Instant::now();
            let builder = host_of(module).interrupt(interrupt).spawn_timeout(timeout);
            let error = builder.build().await.unwrap_err();
            assert!(matches!(error, Error::Init { .. }), "{error:?}");
            let limit = format!("{timeout:?}");
            assert_says(&error, &["start code", "spawn_timeout", &limit]);
            assert!(begun.elapsed() < timeout + BOUND);
        }
    }
}

#[tokio::test]
async fn start_code_that_ends_is_no_trouble() {
    for module in starting("nop") {
        let host = host_of(module).build().await.unwrap();
        let () = host.run_sync("f", ()).await.unwrap();
    }
}

#[tokio::test]
async fn a_module_that_offers_nothing_says_so_when_it_is_called() {
    let host = host_of(Module::from_wat("(module)")).build().await.unwrap();
    let error = host.run_sync::<_, _, ()>("f", ()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchFunction { .. }), "{error:?}");
    assert_says(&error, &["`f`", "exports none"]);
}

#[tokio::test]
async fn hostile_names_do_not_reach_the_terminal() {
    let text = "(module (func (export \"\\1b[31m\\0a\\u{202e}evil\")))";
    let host = host_of(Module::from_wat(text)).build().await.unwrap();
    let error = host.run_sync::<_, _, ()>("missing", ()).await.unwrap_err();
    let shown = error.to_string();
    assert!(
        shown.contains("evil") && !shown.chars().any(char::is_control),
        "{shown:?}"
    );
    assert!(!shown.contains('\u{202e}'), "{shown:?}");
}

#[tokio::test]
async fn a_refused_module_leaves_the_next_host_unharmed() {
    for _ in 0..3 {
        assert_invalid(&refusal(Module::from_bytes(*b"\0asm")).await, &[]);
        assert!(host_of(guest::hello()).build().await.is_ok());
    }
}

#[test]
fn a_host_that_is_not_built_leaves_nothing_behind() {
    alone(|| {
        let before = census();
        let looping = starting("(loop $l (br $l))");
        let trapping = starting("unreachable");
        let none = [
            Module::from_bytes(*b"none"),
            Module::from_file("/no/such/file"),
        ];
        for module in looping.into_iter().chain(trapping).chain(none) {
            let builder = host_of(module).no_cache();
            let timeout = Duration::from_millis(300);
            assert!(builder.spawn_timeout(timeout).build_blocking().is_err());
        }
        // The supervisor's thread ends after its last host.
        eventually(BOUND, || census().counts() == before.counts());
    });
}

#[test]
fn a_build_that_nobody_waits_for_leaves_nothing_behind() {
    alone(|| {
        let before = census();
        let mut build = Box::pin(host_of(guest::hello()).no_cache().build());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(build.as_mut().poll(&mut context).is_pending());
        eventually(BOUND, || !census().children.is_empty());
        drop(build);
        eventually(BOUND, || census().counts() == before.counts());
    });
}

/// A work function that returns nothing but a status, and a section that describes it.
fn described(section: &str) -> Module {
    let data: String = section
        .bytes()
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    Module::from_wat(&format!(
        r#"(module (@custom "stockade" "{data}") (memory (export "memory") 1)
        (func (export "stockade_alloc") (param i32) (result i32) i32.const 1024)
        (func (export "stockade_free") (param i32 i32))
        (func (export "stockade:f") (param i32 i32) (result i64) i64.const 0x2000000001))"#
    ))
}

#[tokio::test]
async fn a_guest_of_another_abi_is_refused() {
    let error = refusal(described(r#"{"abi":2,"functions":[]}"#)).await;
    assert_invalid(&error, &["version 2", "version 1", "stockade-guest"]);
}

#[tokio::test]
async fn a_description_that_cannot_be_read_costs_only_the_type_check() {
    for section in [
        "",
        "\0\0",
        "{",
        r#"{"abi":1}"#,
        r#"{"abi":1,"functions":[{"name":"g"}]}"#,
    ] {
        let host = host_of(described(section)).build().await.unwrap();
        assert_eq!(host.functions()[0].signature, "f(..) -> ..", "{section:?}");
        let () = host.run_sync("f", ("anything", 1u8)).await.unwrap();
    }
    // One that can be read is believed as far as types go, and no further.
    let section = r#"{"abi":1,"functions":[{"name":"f","params":[{"name":"n","type":"u8"}],"returns":"String"}]}"#;
    let host = host_of(described(section)).build().await.unwrap();
    assert_eq!(host.functions()[0].signature, "f(n: u8) -> String");
    let error = host.run_sync::<_, _, ()>("f", (1u8,)).await.unwrap_err();
    assert!(matches!(error, Error::Signature { .. }), "{error:?}");
    let error = host
        .run_sync::<_, _, String>("f", (1u8,))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DecodeResult { .. }), "{error:?}");
}
