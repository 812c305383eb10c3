//! What a module may import.

use wasmparser::{FuncType, ValType};

use crate::abi::{IMPORTS, MODULE as STOCKADE, Ty};
use crate::wasi::{FUNCTIONS, MODULE as WASI};

/// Whether a function with this name and type is offered; the error says what is instead.
pub(super) fn check(module: &str, name: &str, ty: &FuncType) -> Result<(), String> {
    let Some((params, results)) = offered(module, name) else {
        let ours: String = IMPORTS
            .iter()
            .map(|import| format!("{STOCKADE}::{}, ", import.name))
            .collect();
        return Err(format!(
            "it imports {module}::{name}, which is not offered{}; offered are {ours}and the functions of {WASI}",
            hint(module),
        ));
    };
    if ty.params() == params && ty.results() == results {
        return Ok(());
    }
    Err(format!(
        "it imports {module}::{name} as {}, but it is {}",
        shown(ty.params(), ty.results()),
        shown(&params, &results)
    ))
}

type Types = Vec<ValType>;

fn offered(module: &str, name: &str) -> Option<(Types, Types)> {
    match module {
        STOCKADE => {
            let import = IMPORTS.iter().find(|import| import.name == name)?;
            Some((types(import.params), types(import.results)))
        }
        WASI => {
            let function = FUNCTIONS.iter().find(|function| function.name == name)?;
            let results = vec![ValType::I32; usize::from(function.returns)];
            Some((types(function.params), results))
        }
        _ => None,
    }
}

fn types(types: &[Ty]) -> Types {
    let types = types.iter().map(|ty| match ty {
        Ty::I32 => ValType::I32,
        Ty::I64 => ValType::I64,
    });
    types.collect()
}

fn hint(module: &str) -> &'static str {
    match module {
        "__wbindgen_placeholder__" | "__wbindgen_externref_xform__" | "wbg" => {
            " (it was built for JavaScript by wasm-bindgen; build for wasm32-wasip1, without it)"
        }
        "wasi_unstable" => " (it was built for an old preview of WASI; rebuild it)",
        "wasi" => " (threads are not offered; build for wasm32-wasip1)",
        "env" => " (a function that no library defined when the guest was linked)",
        module if module.starts_with("wasi:") => {
            " (it belongs to a component; build for wasm32-wasip1)"
        }
        _ => "",
    }
}

/// A type, as text.
pub(super) fn shown(params: &[ValType], results: &[ValType]) -> String {
    let list = |types: &[ValType]| {
        let names: Vec<_> = types.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    format!("({}) -> ({})", list(params), list(results))
}
