//! What a module is, as far as its compiler could see without running it.

use std::time::Duration;

use stockade_wire::module_info::{InitMode, ModuleInfo};

use crate::artifact::Origin;
use crate::functions::{Function, Functions};

/// A description of a module, made by [`crate::HostBuilder::inspect`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// What can be called, by name.
    pub functions: Vec<Function>,
    /// Whether it is a command: it exports `_start`.
    pub is_command: bool,
    /// What it imports, as `module::name`.
    pub imports: Vec<String>,
    /// Its memory, if it has one.
    pub memory: Option<MemorySize>,
    /// What becomes of its `#[init]` function, if it has one.
    pub init: Option<Init>,
    /// Whether it has a `#[retire]` function, which is asked under [`crate::State::Keep`].
    pub has_retire: bool,
    /// What its author would want to know.
    pub warnings: Vec<String>,
    /// Its length in bytes.
    pub module_bytes: usize,
    /// The length of the native code made of it, in bytes.
    pub artifact_bytes: usize,
    /// Whether that was in the cache, and nothing was compiled.
    pub from_cache: bool,
    /// What it took to get it: to compile it, or to find it in the cache.
    pub elapsed: Duration,
}

/// When a guest's `#[init]` function runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Init {
    /// It has run: each instance begins with the memory that it left, at no cost.
    Snapshot,
    /// In each instance, before its first call, because the memory that it leaves cannot be kept.
    PerInstance {
        /// Why.
        why: String,
    },
}

/// How large a memory is and may become, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemorySize {
    /// At first.
    pub initial: u64,
    /// At most, if the module says.
    pub maximum: Option<u64>,
}

impl Inspection {
    pub(crate) fn new(
        info: ModuleInfo,
        module_bytes: usize,
        artifact_bytes: usize,
        origin: Origin,
        elapsed: Duration,
    ) -> Self {
        Self {
            functions: Functions::new(&info).list(),
            is_command: info.command,
            imports: info.imports,
            memory: info
                .memory
                .map(|(initial, maximum)| MemorySize { initial, maximum }),
            init: info.init.map(|mode| match mode {
                InitMode::Snapshot => Init::Snapshot,
                InitMode::Instance { why } => Init::PerInstance { why },
            }),
            has_retire: info.retire,
            warnings: info.warnings,
            module_bytes,
            artifact_bytes,
            from_cache: origin == Origin::Cache,
            elapsed,
        }
    }
}
