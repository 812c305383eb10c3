//! How Wasmtime is set up: one description for the process that compiles and the one that runs.
//!
//! Both must agree in everything that shapes code, or a worker refuses the artifact. How instances are
//! allocated shapes no code, so only the worker pools.

use std::num::NonZeroUsize;
use std::os::fd::RawFd;

use stockade_wire::message::StopBy;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails, WasmFeatures,
};

/// What a module may use: WebAssembly 2.0 and three finished additions that need no run-time support.
///
/// Threads, shared and 64-bit and second memories, exceptions, stack switching and everything with a
/// collector stay off: most of Wasmtime's advisories are about them, and each is state that a worker would
/// have to limit.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL);

/// The most tables of a module. A toolchain makes one; several cost address space, and nothing asks for more.
pub(crate) const TABLES_MAX: u32 = 4;

/// The most bytes of native state (functions, globals, tables' headers) of an instance. Far above what real
/// modules need; a module that exceeds it fails to load.
const INSTANCE_BYTES_MAX: usize = 16 << 20;

/// Dirty memory up to this size is reset by overwriting it and stays resident, which avoids an `madvise` and the
/// page faults after it.
pub(crate) const KEEP_RESIDENT_BYTES: usize = 1 << 20;

/// The frames of a backtrace.
const FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// Native stack below the wasm stack, for our own imports. Wasmtime only checks that it is more.
const HOST_STACK_BYTES: usize = 1 << 20;

/// The ceilings of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceLimits {
    /// The most memory in bytes.
    pub memory_bytes: u64,
    /// How many tables the module has at most. Each is room in the pool.
    pub tables: u32,
    /// The most elements of all tables together.
    pub table_elements: u64,
    /// The stack of wasm code in bytes.
    pub stack_bytes: u64,
}

impl InstanceLimits {
    /// The most tables of any module that the compiler takes.
    pub const TABLES_MAX: u32 = TABLES_MAX;
}

/// How instances are reset whose memory is exported: by the map of this process's pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanning {
    /// Wasmtime's descriptor of the map.
    pub(crate) page_map: RawFd,
    /// Whether no table can have more elements than a page has room for.
    pub(crate) has_small_tables: bool,
}

impl Scanning {
    /// Elements of a table are so large at most.
    pub(crate) const ELEMENT_BYTES: u64 = size_of::<usize>() as u64;
}

/// Everything that shapes code.
pub(crate) fn for_compiler(stop: StopBy) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .epoch_interruption(stop == StopBy::Epoch)
        .gc_support(false)
        .wasm_features(FEATURES.complement(), false)
        .wasm_features(FEATURES, true)
        .relaxed_simd_deterministic(true)
        .wasm_backtrace_max_frames(Some(FRAMES_MAX))
        // Pinned: the default asks an environment variable.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // For native profilers, which cannot look into a sealed process.
        .native_unwind_info(false);
    config
}

/// The same, with room for exactly one instance.
pub(crate) fn for_worker(
    stop: StopBy,
    limits: InstanceLimits,
    scanning: Option<Scanning>,
) -> Config {
    let stack_bytes = usize::try_from(limits.stack_bytes).unwrap_or(usize::MAX);
    let table_elements = usize::try_from(limits.table_elements).unwrap_or(usize::MAX);
    let (scan, tables_resident) = match scanning {
        None => (Enabled::No, KEEP_RESIDENT_BYTES),
        // Wasmtime's own scan misses pages that are not in memory. Nobody but Wasmtime can put tables back, so they are not
        // scanned: where each fits in a page, that is overwritten, and otherwise none of them stays.
        Some(scanning) if scanning.has_small_tables => (Enabled::Auto, rustix::param::page_size()),
        Some(_) => (Enabled::Auto, 0),
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(1)
        .total_memories(1)
        .total_tables(limits.tables)
        .max_tables_per_module(limits.tables)
        // No collector, no component and no asynchronous function is ever run. Their pools would be made at
        // start: the stacks alone are 2 GiB in a thousand mappings, which every fork would copy.
        .total_gc_heaps(0)
        .total_component_instances(0)
        .total_stacks(0)
        .max_core_instance_size(INSTANCE_BYTES_MAX)
        // Address space only: what may be used is for the instance's own limiter to say, which can tell why.
        .max_memory_size(1 << 32)
        .table_elements(table_elements)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(tables_resident)
        .pagemap_scan(scan);
    let mut config = for_compiler(stop);
    config
        // A worker compiles nothing, and to set a compiler up is a part of its start.
        .enable_compiler(false)
        .max_wasm_stack(stack_bytes)
        .async_stack_size(stack_bytes.saturating_add(HOST_STACK_BYTES))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
