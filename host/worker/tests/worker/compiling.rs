//! What a compiler accepts, and what it says about the rest.

use stockade_wire::message::{CompileRefusal, Seal, StopBy};
use stockade_wire::module_info::{FunctionKind, Number};

use crate::guests::{NUMBERS, WORK};
use crate::tiny_host::{Options, compile};

#[test]
fn a_module_is_described() {
    for seal in [Seal::Required, Seal::None] {
        let options = Options {
            seal,
            ..Options::default()
        };
        let info = compile(NUMBERS.as_bytes(), &options).unwrap().info;
        let names: Vec<_> = info
            .functions
            .iter()
            .map(|f| (&*f.name, f.export))
            .collect();
        let expected = [
            ("add", 0),
            ("mix", 1),
            ("nothing", 2),
            ("twice_f32", 3),
            ("many", 4),
        ];
        assert_eq!(names, expected);
        let numeric = FunctionKind::Numeric {
            params: vec![Number::I64, Number::F32, Number::F64],
            result: Some(Number::F64),
        };
        assert_eq!(info.functions[1].kind, numeric);
        assert_eq!(info.memory, None);
        let info = compile(WORK.as_bytes(), &options).unwrap().info;
        assert_eq!(info.memory, Some((2 << 16, None)));
        assert!(info.functions.iter().all(|f| f.name != "stockade_alloc"));
    }
}

#[test]
fn the_identity_is_the_programs_and_not_the_modules() {
    let of = |wat: &str, stop| {
        let options = Options {
            stop,
            ..Options::default()
        };
        compile(wat.as_bytes(), &options).unwrap().identity
    };
    assert_eq!(of(NUMBERS, StopBy::Epoch), of(WORK, StopBy::Epoch));
    assert_ne!(of(NUMBERS, StopBy::Epoch), of(NUMBERS, StopBy::Kill));
}

#[test]
fn bad_input_is_refused_by_a_sealed_compiler_with_a_reason() {
    for (module, says) in [
        (&b""[..], "empty"),
        (b"\x7fELF", "native"),
        (b"(module (func", "-->"),
        (b"(component)", "wasm32-wasip1"),
        (b"(module (func (result i32)))", "not valid"),
        (b"(module (memory i64 1))", "memory64"),
        (b"(module (import \"env\" \"f\" (func)))", "env::f"),
    ] {
        let (why, message) = compile(module, &Options::default()).unwrap_err();
        assert_eq!(why, CompileRefusal::Invalid);
        assert!(message.contains(says), "{message}");
    }
}
