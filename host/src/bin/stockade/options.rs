//! What commands share: options about the host.

use std::path::{Path, PathBuf};

use anyhow::Result;
use stockade::{Codec, Host, HostBuilder, Module};

use crate::terminal::{Progress, file_name};

/// What each command says about its exit code at the end of its help.
macro_rules! exit_codes {
    () => {
        "Exit codes:\n  0  done\n  1  it failed; the error is on stderr\n  2  the command line is wrong"
    };
}
pub(crate) use exit_codes;

/// How the host is to be.
#[derive(Debug, clap::Args)]
pub(crate) struct HostOptions {
    /// Keep compiled modules here instead of the user's cache directory
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    cache_dir: Option<PathBuf>,
    /// Compile anew, and keep nothing
    #[arg(long)]
    no_cache: bool,
}

impl HostOptions {
    /// Settings for `module`, a file of WebAssembly or of its text form.
    pub(crate) fn builder(&self, module: &Path) -> HostBuilder {
        let builder = Host::builder(Module::from_file(module)).codec(Codec::Json);
        match &self.cache_dir {
            _ if self.no_cache => builder.no_cache(),
            Some(dir) => builder.cache_dir(dir),
            None => builder,
        }
    }
}

/// The host, with progress on a terminal while its module is compiled.
pub(crate) fn build(builder: HostBuilder, module: &Path) -> Result<Host> {
    let _progress = compiling(module);
    Ok(builder.build_blocking()?)
}

/// While a module is compiled.
pub(crate) fn compiling(module: &Path) -> Progress {
    Progress::of(format!("compiling {}", file_name(module)))
}
