//! The repository's guests, as modules and as hosts.

use std::path::{Path, PathBuf};

use stockade::{Host, HostBuilder, Limiter, Module, WorkerType};

/// The guest of the README.
#[must_use]
pub fn hello() -> Module {
    Module::from_bytes(stockade::include_guest!("hello"))
}

/// What the guides show.
#[must_use]
pub fn guides() -> Module {
    Module::from_bytes(stockade::include_guest!("guides"))
}

/// One function for each behaviour that tests need.
#[must_use]
pub fn probe() -> Module {
    Module::from_bytes(stockade::include_guest!("probe"))
}

/// Markdown to HTML.
#[must_use]
pub fn markdown() -> Module {
    Module::from_bytes(stockade::include_guest!("markdown"))
}

/// A guest with `#[init]` and `#[retire]`.
#[must_use]
pub fn prepared() -> Module {
    Module::from_bytes(stockade::include_guest!("prepared"))
}

/// Images to thumbnails.
#[must_use]
pub fn thumbnail() -> Module {
    Module::from_bytes(stockade::include_guest!("thumbnail"))
}

/// The compressor `brotli`, a command that nobody here wrote.
#[must_use]
pub fn brotli() -> Module {
    Module::from_bytes(stockade::include_guest!("brotli"))
}

/// The interpreter `jaq` of scripts about JSON, another one.
#[must_use]
pub fn jaq() -> Module {
    Module::from_bytes(stockade::include_guest!("jaq"))
}

/// Searches that backtrack.
#[must_use]
pub fn regex() -> Module {
    Module::from_bytes(stockade::include_guest!("regex"))
}

/// Users' scripts.
#[must_use]
pub fn script() -> Module {
    Module::from_bytes(stockade::include_guest!("script"))
}

/// Zip archives.
#[must_use]
pub fn archive() -> Module {
    Module::from_bytes(stockade::include_guest!("archive"))
}

/// When this environment variable says `fork-server`, tests that do not say how workers are made have forked ones.
const WORKER_TYPE: &str = "STOCKADE_TEST_WORKER_TYPE";

/// A host of `module` that shares compiled guests with all other tests, and permits with none.
pub fn host_of(module: Module) -> HostBuilder {
    let worker_type = match std::env::var_os(WORKER_TYPE) {
        Some(name) if name == "fork-server" => WorkerType::ForkServer,
        _ => WorkerType::default(),
    };
    Host::builder(module)
        .cache_dir(shared_cache())
        .limiter(Limiter::new(64))
        .worker_type(worker_type)
}

/// Where tests keep artifacts that do not test the cache: each guest is compiled once.
#[must_use]
pub fn shared_cache() -> PathBuf {
    Path::new(env!("OUT_DIR")).join("cache")
}
