//! What a module offers and needs: whether a worker could run it, and the description that its host keeps.

use std::collections::HashSet;

use stockade_wire::module_info::{FunctionInfo, FunctionKind, InitMode, ModuleInfo, Number};
use wasmparser::types::{CoreTypeId, EntityType, Types};
use wasmparser::{
    FuncType, KnownCustom, MemoryType, Name, Parser, Payload, ValType, Validator, WasmFeatures,
};

use super::metadata::Metadata;
use super::offer;
use crate::abi;
use crate::config::{FEATURES, TABLES_MAX};
use crate::text::printable;

/// The most functions of a module. Large interpreters have some twenty thousand.
const FUNCTIONS_MAX: u32 = 200_000;
/// The most locals of one function: compile time grows faster than they do.
const LOCALS_MAX: u32 = 20_000;
/// The most imports. Some eighty functions are offered, and a module needs each once.
const IMPORTS_MAX: u32 = 20_000;
/// The most exports: a worker keeps some hundred bytes for each.
const EXPORTS_MAX: u32 = 100_000;
/// The most globals. Each is state of an instance, which is reset for every call.
const GLOBALS_MAX: u32 = 100_000;
/// The most segments of data, and of elements: each is walked when an instance is made.
const SEGMENTS_MAX: u32 = 20_000;
/// The most functions that can be called. A description must fit in a host's memory many times over.
const CALLABLE_MAX: usize = 10_000;
/// The longest name of anything.
const NAME_BYTES_MAX: usize = 1024;

/// Reads a binary module.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(super) fn inspect(wasm: &[u8]) -> Result<ModuleInfo, String> {
    let types = Validator::new_with_features(FEATURES)
        .validate_all(wasm)
        .map_err(|error| invalid(wasm, &error))?;
    let mut module = ModuleFacts::default();
    for payload in Parser::new(0).parse_all(wasm) {
        // Validation has read every section but the custom ones.
        module.see(payload.map_err(|error| invalid(wasm, &error))?)?;
    }
    module.check_imports(&types)?;
    let exports = Exports::read(&types)?;
    module.check_abi(&exports)?;
    module.describe(&exports)
}

/// The validator's message, and which feature would have made the module valid.
fn invalid(wasm: &[u8], error: &wasmparser::BinaryReaderError) -> String {
    let message = format!(
        "the module is not valid: {} (at offset {:#x})",
        printable(error.message(), NAME_BYTES_MAX),
        error.offset()
    );
    match needed_features(wasm) {
        names if names.is_empty() => message,
        names => format!(
            "{message}; it needs {}, which workers do not offer",
            names.join(", ")
        ),
    }
}

fn needed_features(wasm: &[u8]) -> Vec<String> {
    let valid = |features| {
        Validator::new_with_features(features)
            .validate_all(wasm)
            .is_ok()
    };
    let mut features = WasmFeatures::all();
    if !valid(features) {
        return Vec::new();
    }
    let mut names = Vec::new();
    for (name, feature) in WasmFeatures::all().difference(FEATURES).iter_names() {
        if valid(features.difference(feature)) {
            features = features.difference(feature);
        } else {
            names.push(name.to_lowercase().replace('_', "-"));
        }
    }
    names
}

/// What is collected on the way through a module.
#[derive(Default)]
struct ModuleFacts {
    imports: Vec<String>,
    memory: Option<MemoryType>,
    tables: u32,
    largest_table: Option<u64>,
    metadata: Metadata,
    functions: u32,
    wrapped: bool,
}

impl ModuleFacts {
    fn see(&mut self, payload: Payload<'_>) -> Result<(), String> {
        match payload {
            Payload::FunctionSection(section) => {
                self.functions = section.count();
                at_most("functions", section.count(), FUNCTIONS_MAX)?;
            }
            Payload::ImportSection(section) => at_most("imports", section.count(), IMPORTS_MAX)?,
            Payload::ExportSection(section) => at_most("exports", section.count(), EXPORTS_MAX)?,
            Payload::GlobalSection(section) => at_most("globals", section.count(), GLOBALS_MAX)?,
            Payload::DataSection(section) => {
                at_most("data segments", section.count(), SEGMENTS_MAX)?;
            }
            Payload::ElementSection(section) => {
                at_most("element segments", section.count(), SEGMENTS_MAX)?;
            }
            Payload::TableSection(section) => {
                self.tables = section.count();
                let each = section.clone().into_iter();
                let most = each.map(|table| table.ok().and_then(|table| table.ty.maximum));
                // None if one of them has no limit.
                self.largest_table = most
                    .reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b)))
                    .flatten();
                at_most("tables", section.count(), TABLES_MAX)?;
            }
            Payload::MemorySection(section) => {
                self.memory = section.into_iter().next().and_then(Result::ok);
            }
            Payload::CodeSectionEntry(body) => {
                let mut locals = 0u32;
                for local in body.get_locals_reader().map_err(|e| e.to_string())? {
                    let (count, _) = local.map_err(|error| error.to_string())?;
                    locals = locals.saturating_add(count);
                }
                at_most("locals in one function", locals, LOCALS_MAX)?;
            }
            Payload::CustomSection(section) if section.name() == abi::METADATA_SECTION => {
                self.metadata.read(section.data())?;
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    self.wrapped |= names.into_iter().flatten().any(|name| is_wrapped(&name));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_imports(&mut self, types: &Types) -> Result<(), String> {
        let imports = types.as_ref().core_imports().into_iter().flatten();
        for (module, name, ty) in imports {
            let (module, name) = (
                printable(module, NAME_BYTES_MAX),
                printable(name, NAME_BYTES_MAX),
            );
            match ty {
                EntityType::Func(id) => offer::check(&module, &name, function_type(types, id))?,
                other => {
                    return Err(format!(
                        "it imports the {} {module}::{name}; only functions are offered",
                        kind_name(&other)
                    ));
                }
            }
            self.imports.push(format!("{module}::{name}"));
        }
        Ok(())
    }

    fn check_abi(&self, exports: &Exports<'_>) -> Result<(), String> {
        let i32 = ValType::I32;
        for export in exports.functions().filter(|e| is_work(e)) {
            export.must_be(&[i32, i32], &[ValType::I64])?;
        }
        for name in [abi::INITIALIZE, abi::START, abi::INIT] {
            if let Some(export) = exports.function(name) {
                export.must_be(&[], &[])?;
            }
        }
        if let Some(export) = exports.function(abi::RETIRE) {
            export.must_be(&[], &[i32])?;
        }
        if let Some(work) = exports.functions().find(|export| is_work(export)) {
            let required: [(_, &[_], &[_]); 2] =
                [(abi::ALLOC, &[i32], &[i32]), (abi::FREE, &[i32, i32], &[])];
            for (name, params, results) in required {
                exports
                    .function(name)
                    .ok_or_else(|| {
                        format!(
                            "it exports `{}`, but not `{name}`, which that needs",
                            work.name
                        )
                    })?
                    .must_be(params, results)?;
            }
        }
        if !exports.has_memory {
            let needs = exports
                .functions()
                .find(|export| is_work(export))
                .map(|work| format!("exports `{}`", work.name))
                .or_else(|| self.imports.first().map(|name| format!("imports {name}")));
            if let Some(needs) = needs {
                return Err(format!(
                    "it {needs}, but exports no memory under the name `{}`",
                    abi::MEMORY
                ));
            }
        }
        Ok(())
    }

    fn describe(mut self, exports: &Exports<'_>) -> Result<ModuleInfo, String> {
        let mut warnings = std::mem::take(&mut self.metadata.warnings);
        if self.wrapped {
            warnings.push(
                "its static constructors run again at every call, which is slow and undoes what calls \
                 leave: it exports no `_initialize` that calls `__wasm_call_ctors` (stockade-guest does; C \
                 guests are built with -mexec-model=reactor)"
                    .to_owned(),
            );
        }
        let work: HashSet<&str> = exports.functions().filter_map(|e| e.work_name()).collect();
        let mut functions = Vec::new();
        for export in exports.functions() {
            let info = match export.work_name() {
                Some(name) => self.work(name, export),
                None if work.contains(export.name) => {
                    warnings.push(format!(
                        "its numeric export `{0}` is hidden by the work function `{0}`",
                        printable(export.name, NAME_BYTES_MAX)
                    ));
                    continue;
                }
                None => match numeric(export) {
                    Some(info) => info,
                    None => continue,
                },
            };
            functions.push(info);
        }
        at_most(
            "functions that can be called",
            functions.len() as u32,
            CALLABLE_MAX as u32,
        )?;
        Ok(ModuleInfo {
            functions,
            command: exports.function(abi::START).is_some(),
            command_export: exports.function(abi::START).map(|start| start.index),
            imports: self.imports,
            memory: self.memory.map(|memory| {
                // 32-bit memories have at most 65 536 pages.
                let bytes = |pages: u64| pages.saturating_mul(65_536);
                (bytes(memory.initial), memory.maximum.map(bytes))
            }),
            tables: self.tables,
            largest_table: match self.tables {
                0 => Some(0),
                _ => self.largest_table,
            },
            warnings,
            init: exports.function(abi::INIT).map(|_| InitMode::Instance {
                why: "it has not been run yet".to_owned(),
            }),
            retire: exports.function(abi::RETIRE).is_some(),
        })
    }

    fn work(&self, name: &str, export: &FunctionExport<'_>) -> FunctionInfo {
        let described = self.metadata.functions.get(name);
        FunctionInfo {
            name: name.to_owned(),
            export: export.index,
            kind: FunctionKind::Work {
                signature: described.map(|described| described.signature.clone()),
            },
            docs: described.map_or_else(String::new, |described| described.docs.clone()),
        }
    }
}

fn at_most(what: &str, found: u32, most: u32) -> Result<(), String> {
    if found <= most {
        return Ok(());
    }
    Err(format!(
        "it has {found} {what}, more than the {most} that are accepted"
    ))
}

/// Whether a linker wrapped an export in constructors and destructors.
fn is_wrapped(name: &Name<'_>) -> bool {
    let Name::Function(names) = name else {
        return false;
    };
    names
        .clone()
        .into_iter()
        .flatten()
        .any(|naming| naming.name.ends_with(".command_export"))
}

/// What a module exports, in its order.
struct Exports<'a> {
    functions: Vec<FunctionExport<'a>>,
    has_memory: bool,
}

struct FunctionExport<'a> {
    index: u32,
    name: &'a str,
    ty: &'a FuncType,
}

impl<'a> Exports<'a> {
    fn read(types: &'a Types) -> Result<Self, String> {
        let mut functions = Vec::new();
        let mut has_memory = false;
        let exports = types.as_ref().core_exports().into_iter().flatten();
        for (index, (name, ty)) in exports.enumerate() {
            if name.len() > NAME_BYTES_MAX {
                return Err(format!(
                    "an export's name is {} bytes long, more than the {NAME_BYTES_MAX} that are accepted",
                    name.len()
                ));
            }
            if name.starts_with(abi::STATE) {
                return Err(format!(
                    "it exports `{}`, but names that begin with `{}` are kept for the compiler",
                    printable(name, NAME_BYTES_MAX),
                    abi::STATE
                ));
            }
            match ty {
                EntityType::Func(id) => functions.push(FunctionExport {
                    index: index as u32,
                    name,
                    ty: function_type(types, id),
                }),
                EntityType::Memory(_) => has_memory |= name == abi::MEMORY,
                _ => {}
            }
        }
        Ok(Self {
            functions,
            has_memory,
        })
    }

    fn functions(&self) -> impl Iterator<Item = &FunctionExport<'a>> {
        self.functions.iter()
    }

    fn function(&self, name: &str) -> Option<&FunctionExport<'a>> {
        self.functions().find(|export| export.name == name)
    }
}

fn is_work(export: &FunctionExport<'_>) -> bool {
    export.work_name().is_some()
}

impl<'a> FunctionExport<'a> {
    /// The name that callers use, if it is a work function.
    fn work_name(&self) -> Option<&'a str> {
        self.name.strip_prefix(abi::WORK_PREFIX)
    }

    fn must_be(&self, params: &[ValType], results: &[ValType]) -> Result<(), String> {
        if self.ty.params() == params && self.ty.results() == results {
            return Ok(());
        }
        Err(format!(
            "its export `{}` is {}, but must be {}",
            printable(self.name, NAME_BYTES_MAX),
            offer::shown(self.ty.params(), self.ty.results()),
            offer::shown(params, results)
        ))
    }
}

fn numeric(export: &FunctionExport<'_>) -> Option<FunctionInfo> {
    let reserved = ["stockade_", "cabi_", "__"];
    if [abi::INITIALIZE, abi::START].contains(&export.name)
        || reserved
            .iter()
            .any(|prefix| export.name.starts_with(prefix))
    {
        return None;
    }
    let result = match export.ty.results() {
        [] => None,
        [one] => Some(number(*one)?),
        _ => return None,
    };
    let params = export.ty.params().iter().map(|&ty| number(ty));
    Some(FunctionInfo {
        name: export.name.to_owned(),
        export: export.index,
        kind: FunctionKind::Numeric {
            params: params.collect::<Option<_>>()?,
            result,
        },
        docs: String::new(),
    })
}

fn number(ty: ValType) -> Option<Number> {
    match ty {
        ValType::I32 => Some(Number::I32),
        ValType::I64 => Some(Number::I64),
        ValType::F32 => Some(Number::F32),
        ValType::F64 => Some(Number::F64),
        ValType::V128 | ValType::Ref(_) => None,
    }
}

fn function_type(types: &Types, id: CoreTypeId) -> &FuncType {
    types[id].unwrap_func()
}

fn kind_name(ty: &EntityType) -> &'static str {
    match ty {
        EntityType::Func(_) | EntityType::FuncExact(_) => "function",
        EntityType::Table(_) => "table",
        EntityType::Memory(_) => "memory",
        EntityType::Global(_) => "global",
        EntityType::Tag(_) => "tag",
    }
}
