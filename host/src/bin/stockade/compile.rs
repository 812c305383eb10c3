//! `stockade compile`

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;
use stockade::{Host, Module};

use crate::options::{compiling, exit_codes};
use crate::terminal::{harmless, print_json, show, size};

/// Compile a module into the cache.
///
/// The first host that wants it then starts at once.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "Examples:\n  \
       stockade compile guest.wasm\n  \
       stockade compile guest.wasm --cache-dir /var/cache/my-server\n\n",
    exit_codes!()
))]
pub(crate) struct Compile {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Keep it here instead of the user's cache directory
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

impl Compile {
    pub(crate) fn run(self) -> Result<()> {
        let builder = Host::builder(Module::from_file(&self.module));
        let builder = match &self.cache_dir {
            Some(dir) => builder.cache_dir(dir),
            None => builder,
        };
        let found = {
            let _progress = compiling(&self.module);
            builder.inspect_blocking()?
        };
        if self.json {
            return print_json(&json!({
                "module_bytes": found.module_bytes,
                "artifact_bytes": found.artifact_bytes,
                "from_cache": found.from_cache,
                "compile_ms": found.elapsed.as_secs_f64() * 1e3,
            }));
        }
        let how = if found.from_cache {
            "in the cache already, found"
        } else {
            "compiled"
        };
        show(&format!(
            "{}: {} of native code, {how} in {:.1?}\n",
            harmless(&self.module.display().to_string()),
            size(found.artifact_bytes as u64),
            found.elapsed
        ))
    }
}
