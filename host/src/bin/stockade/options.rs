//! What commands share: options about the host, and output that survives a closed pipe.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use stockade::{Codec, Host, HostBuilder, Module};

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
    pub(crate) fn builder(&self, module: &PathBuf) -> HostBuilder {
        let builder = Host::builder(Module::from_file(module)).codec(Codec::Json);
        match &self.cache_dir {
            _ if self.no_cache => builder.no_cache(),
            Some(dir) => builder.cache_dir(dir),
            None => builder,
        }
    }
}

/// Writes to stdout.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Whether the reader of our output has gone away, which is no failure.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Text of a module that nobody trusts, made harmless for a terminal.
pub(crate) fn harmless(text: &str) -> String {
    let shown = |c: char| c == '\n' || c == '\t' || !c.is_control();
    text.chars()
        .map(|c| if shown(c) { c } else { '\u{fffd}' })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_of_a_hostile_module_do_not_reach_the_terminal() {
        assert_eq!(super::harmless("a\u{1b}[31mb\n"), "a\u{fffd}[31mb\n");
    }
}
