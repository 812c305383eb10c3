//! What a compiler process says about a module: the host's only knowledge of it.
//!
//! JSON, because it is kept in the cache and shown by tools. It was made by a process that parsed a hostile
//! module, so every name in it is the module's word.

use serde::{Deserialize, Serialize};

/// The longest description, as JSON. A host decodes it into some ten times as much memory.
pub const INFO_BYTES_MAX: usize = 8 << 20;

/// The description of a module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleInfo {
    /// What can be called, in the order of the module's exports.
    pub functions: Vec<FunctionInfo>,
    /// Whether the module is a command (it exports `_start`).
    pub command: bool,
    /// Which of its exports is `_start`, if it is a command.
    #[serde(default)]
    pub command_export: Option<u32>,
    /// What the module imports, as `module::name`.
    pub imports: Vec<String>,
    /// Initial and greatest size of its memory in bytes, if it has one.
    pub memory: Option<(u64, Option<u64>)>,
    /// How many tables it has.
    pub tables: u32,
    /// The most elements that one of them may ever have, if each says so.
    #[serde(default)]
    pub largest_table: Option<u64>,
    /// What an author would want to know, each a sentence.
    pub warnings: Vec<String>,
    /// What becomes of its `stockade_init`, if it exports one.
    #[serde(default)]
    pub init: Option<InitMode>,
    /// Whether it exports `stockade_retire`.
    #[serde(default)]
    pub retire: bool,
}

/// When a module's `stockade_init` runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitMode {
    /// It has run already: instances begin with the memory that it left.
    Snapshot,
    /// In each instance.
    Instance {
        /// Why the memory that it leaves cannot be kept.
        why: String,
    },
}

/// One function of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionInfo {
    /// The name that callers use.
    pub name: String,
    /// Which of the module's exports it is.
    pub export: u32,
    /// How it is called.
    pub kind: FunctionKind,
    /// Its documentation, as written in the guest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
}

/// How a function is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionKind {
    /// With encoded arguments, by the guest ABI.
    Work {
        /// Its parameters and result, when the module says.
        #[serde(default)]
        signature: Option<Signature>,
    },
    /// With plain numbers.
    Numeric {
        /// The types of its parameters.
        params: Vec<Number>,
        /// The type of its result, if it has one.
        result: Option<Number>,
    },
    /// A whole program: with arguments and standard input, once per instance. The result is its exit code.
    Command,
}

/// Types as the guest's source has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The parameters, in order.
    pub params: Vec<Param>,
    /// The result.
    pub returns: String,
}

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
}

/// The plain numbers of WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Number {
    /// 32 bits, signed or not.
    I32,
    /// 64 bits, signed or not.
    I64,
    /// A single-precision float.
    F32,
    /// A double-precision float.
    F64,
}

impl Number {
    /// Its name in WebAssembly.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}
