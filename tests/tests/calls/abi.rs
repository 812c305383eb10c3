//! The guest's side of a call: constructors, panics, plain exports.

use stockade::{Cause, Error, Module, State};
use stockade_tests::{guest, host_of};

#[tokio::test]
async fn a_constructor_runs_once_per_instance() {
    for (state, counts) in [(State::Keep, [1, 2, 3]), (State::Fresh, [1, 1, 1])] {
        let host = host_of(guest::probe())
            .workers(1)
            .state(state)
            .build()
            .await
            .unwrap();
        for expected in counts {
            assert_eq!(
                host.run_sync(probe::state::constructor_runs, ())
                    .await
                    .unwrap(),
                1
            );
            // The same instance or a new one, as the state says.
            assert_eq!(
                host.run_sync(probe::state::count, ()).await.unwrap(),
                expected
            );
        }
    }
}

#[tokio::test]
async fn a_panic_brings_its_message_and_its_place_to_the_host() {
    let host = host_of(guest::probe()).workers(1).build().await.unwrap();
    let worker = host.stats().workers[0].clone();
    let message = "grün, \"quoted\"\nand on a second line".to_owned();
    let error = host
        .run_sync(probe::faults::panic_with, (message.clone(),))
        .await
        .unwrap_err();
    let Error::BrokenWorker(broken) = &error else {
        panic!("{error:?}")
    };
    let Cause::Panic {
        message: said,
        location,
    } = broken.cause()
    else {
        panic!("{broken:?}")
    };
    assert_eq!(*said, message);
    let (file, position) = location.split_once(".rs:").unwrap();
    assert!(
        file.ends_with("probe/src/faults") && position.contains(':'),
        "{location}"
    );
    assert_eq!(
        (broken.function(), broken.worker_id()),
        ("panic_with", worker.id)
    );
    assert_eq!(
        (broken.pid(), broken.process_died(), broken.exit()),
        (worker.pid, false, None)
    );
    let backtrace = broken.backtrace().unwrap();
    assert!(backtrace.contains("panic_with"), "{backtrace}");
    let shown = error.to_string();
    assert!(
        shown.contains("`panic_with`") && shown.contains(location.as_str()),
        "{shown}"
    );
    assert!(!shown.contains('\n') && !error.is_retryable(), "{shown}");
    // Only that call failed, and not even its process.
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
    assert_eq!(host.stats().workers[0].pid, worker.pid);
}

#[tokio::test]
async fn a_guest_that_forbids_unsafe_code_works() {
    let source = include_str!("../../../guests/hello/src/lib.rs");
    assert!(source.contains("#![forbid(unsafe_code)]"));
    let host = host_of(guest::hello()).build().await.unwrap();
    assert_eq!(host.run_sync(hello::fib, (20,)).await.unwrap(), 6765);
    assert_eq!(
        host.run_sync(hello::greet, ("Ada",)).await.unwrap(),
        "Hello, Ada!"
    );
}

const NUMERIC: &str = r#"
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "sub64") (param i64 i64) (result i64) local.get 0 local.get 1 i64.sub)
  (func (export "half32") (param f32) (result f32) local.get 0 f32.const 2 f32.div)
  (func (export "half64") (param f64) (result f64) local.get 0 f64.const 2 f64.div)
  (func (export "mixed") (param i32 i64 f32 f64) (result f64)
    local.get 0 f64.convert_i32_s local.get 1 f64.convert_i64_s f64.add
    local.get 2 f64.promote_f32 f64.add local.get 3 f64.add)
  (func (export "nothing"))
  (func (export "two_results") (result i32 i32) i32.const 1 i32.const 2)
  (func (export "takes_vector") (param v128))
"#;

#[tokio::test]
async fn plain_numeric_exports_need_neither_sdk_nor_memory() {
    for memory in ["", r#"(memory (export "memory") 1)"#] {
        let module = Module::from_wat(&format!("(module {memory} {NUMERIC})"));
        let host = host_of(module).build().await.unwrap();
        assert_eq!(
            host.run_sync::<_, _, i32>("add", (2i32, 3i32))
                .await
                .unwrap(),
            5
        );
        assert_eq!(
            host.run_sync::<_, _, i32>("add", (i32::MIN, -1i32))
                .await
                .unwrap(),
            i32::MAX
        );
        // WebAssembly's numbers have no sign: both of Rust's are served.
        assert_eq!(
            host.run_sync::<_, _, u32>("add", (u32::MAX, 0u32))
                .await
                .unwrap(),
            u32::MAX
        );
        assert_eq!(
            host.run_sync::<_, _, i64>("sub64", (1i64, i64::MAX))
                .await
                .unwrap(),
            1 - i64::MAX
        );
        assert_eq!(
            host.run_sync::<_, _, u64>("sub64", (0u64, 1u64))
                .await
                .unwrap(),
            u64::MAX
        );
        assert_eq!(
            host.run_sync::<_, _, f32>("half32", (-3f32,))
                .await
                .unwrap(),
            -1.5
        );
        assert_eq!(
            host.run_sync::<_, _, f64>("half64", (f64::INFINITY,))
                .await
                .unwrap(),
            f64::INFINITY
        );
        assert!(
            host.run_sync::<_, _, f64>("half64", (f64::NAN,))
                .await
                .unwrap()
                .is_nan()
        );
        assert_eq!(
            host.run_sync::<_, _, f64>("mixed", (1i32, -2i64, 0.5f32, 4f64))
                .await
                .unwrap(),
            3.5
        );
        let () = host.run_sync("nothing", ()).await.unwrap();
    }
}

/// What the processor does, and what the specification's deterministic profile says, differ in both.
#[tokio::test]
async fn relaxed_vector_instructions_answer_the_same_on_every_processor() {
    let text = r#"(module
        (func (export "out_of_range") (result i32)
            (i8x16.extract_lane_u 0 (i8x16.relaxed_swizzle
                (v128.const i8x16 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7 7)
                (v128.const i8x16 16 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0))))
        (func (export "no_number") (result i32)
            (i32x4.extract_lane 0 (i32x4.relaxed_trunc_f32x4_s
                (v128.const f32x4 nan 0 0 0)))))"#;
    let host = host_of(Module::from_wat(text)).build().await.unwrap();
    for function in ["out_of_range", "no_number"] {
        let lane: i32 = host.run_sync(function, ()).await.unwrap();
        assert_eq!(lane, 0, "{function}");
    }
}

#[tokio::test]
async fn a_plain_export_takes_only_its_own_numbers() {
    let host = host_of(Module::from_wat(&format!("(module {NUMERIC})")))
        .build()
        .await
        .unwrap();
    for error in [
        host.run_sync::<_, _, i32>("add", (2i64, 3i64))
            .await
            .unwrap_err(),
        host.run_sync::<_, _, i32>("add", (2i32,))
            .await
            .unwrap_err(),
        host.run_sync::<_, _, i32>("add", (2i32, 3i32, 4i32))
            .await
            .unwrap_err(),
        host.run_sync::<_, _, i32>("add", (2u8, 3u8))
            .await
            .unwrap_err(),
        host.run_sync::<_, _, i32>("add", ("2", "3"))
            .await
            .unwrap_err(),
        host.run_sync::<_, _, i64>("add", (2i32, 3i32))
            .await
            .unwrap_err(),
        host.run_sync::<_, _, ()>("add", (2i32, 3i32))
            .await
            .unwrap_err(),
    ] {
        let Error::Signature {
            function, expected, ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!((&**function, &**expected), ("add", "add(i32, i32) -> i32"));
    }
    let error = host
        .run_sync::<_, _, f64>("half64", (1f32,))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Signature { .. }), "{error:?}");
    // What is not a plain function cannot be called at all.
    for name in ["two_results", "takes_vector"] {
        let error = host.run_sync::<_, _, ()>(name, ()).await.unwrap_err();
        assert!(matches!(error, Error::NoSuchFunction { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn the_functions_of_a_module_are_listed_with_types_and_docs() {
    let host = host_of(guest::hello()).build().await.unwrap();
    let functions = host.functions();
    let listed: Vec<_> = functions
        .iter()
        .map(|f| (&*f.name, &*f.signature, f.is_numeric))
        .collect();
    assert_eq!(
        listed,
        [
            ("add", "add(a: u32, b: u32) -> u64", false),
            ("empty", "empty()", false),
            ("fib", "fib(n: u32) -> u64", false),
            ("greet", "greet(name: &str) -> String", false),
        ]
    );
    assert_eq!(functions[0].docs, "The sum of two numbers.");

    let host = host_of(Module::from_wat(&format!("(module {NUMERIC})")))
        .build()
        .await
        .unwrap();
    let functions = host.functions();
    let add = functions.iter().find(|f| f.name == "add").unwrap();
    assert_eq!(
        (&*add.signature, add.is_numeric),
        ("add(i32, i32) -> i32", true)
    );
    assert!(!functions.iter().any(|f| f.name == "two_results"));
}

#[tokio::test]
async fn a_module_comes_from_bytes_text_or_a_file() {
    let scratch = stockade_tests::Scratch::new();
    let text = format!("(module {NUMERIC})");
    let wasm = stockade::include_guest!("hello");
    for module in [
        Module::from_wat(&text),
        Module::from_bytes(text.as_bytes()),
        Module::from_bytes(text.clone()),
        Module::from_file(scratch.file("numbers.wat", &text)),
        Module::from_bytes(wasm),
        Module::from_bytes(wasm.to_vec()),
        Module::from_file(scratch.file("hello.wasm", wasm)),
    ] {
        let host = host_of(module).build().await.unwrap();
        assert!(
            host.functions()
                .iter()
                .any(|function| function.name == "add")
        );
    }
}
