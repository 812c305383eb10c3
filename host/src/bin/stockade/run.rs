//! `stockade run`

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use stockade::{Limits, Wasi};

use crate::options::{HostOptions, print};

/// The most of each output stream that is kept until the program ends.
const OUTPUT_BYTES: usize = 64 << 20;

/// Run a WASI command module. Standard input is read to its end first, unless it is a terminal; what the program
/// writes is shown when it ends.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  stockade run wc.wasm -- -l < README.md\n\nExits with the program's exit code, or with 1 and the error on stderr."
)]
pub(crate) struct Run {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// The program's arguments
    #[arg(last = true)]
    arguments: Vec<String>,
    /// Stop it if it takes longer
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    host: HostOptions,
}

impl Run {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let mut stdin = Vec::new();
        if !std::io::stdin().is_terminal() {
            std::io::stdin()
                .read_to_end(&mut stdin)
                .context("cannot read standard input")?;
        }
        let name = self
            .module
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let host = self
            .host
            .builder(&self.module)
            .workers(1)
            .wasi(Wasi::new().arg(name))
            .limits(Limits {
                output_bytes: OUTPUT_BYTES,
                ..Limits::default()
            })
            .build_blocking()?;
        let mut command = host.run_command(self.arguments).stdin(stdin);
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let output = runtime.block_on(async { command.await })?;
        std::io::stderr().write_all(&output.stderr)?;
        print(&output.stdout)?;
        // As a shell shows it: the lowest byte.
        Ok(ExitCode::from(output.exit_code.to_le_bytes()[0]))
    }
}
