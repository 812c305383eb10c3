//! `stockade run`

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use stockade::{Error, Limits, Wasi};

use crate::options::{HostOptions, build};
use crate::terminal::{file_name, print};

/// The most of each output stream that is kept until the program ends.
const OUTPUT_BYTES: usize = 64 << 20;

/// Run a WASI command module.
///
/// That is a whole program, a module that exports `_start`. Its standard input is read to its end before it starts, unless that is a terminal: then it has none. What it
/// writes is shown when it ends, of each stream the last 64 MiB. It has no files, no network and no environment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stockade run wc.wasm -- -l < README.md
  stockade run python.wasm --timeout 10s -- -c 'print(6 * 7)'

Exit codes:
  the program's own, its lowest eight bits
  1  it trapped, took too long or could not be run; the error is on stderr
  2  the command line is wrong")]
pub(crate) struct Run {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// The program's arguments
    #[arg(last = true)]
    arguments: Vec<String>,
    /// Stop it if it takes longer, such as 500ms or 10s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    host: HostOptions,
}

impl Run {
    /// That there is no `_start` says little to whoever did not write the module.
    fn explained(module: &Path, error: Error) -> anyhow::Error {
        match error {
            Error::NoSuchFunction { .. } => {
                let name = file_name(module);
                anyhow!(
                    "{name} is no program: it exports no `_start`; `stockade inspect {name}` says what \
                     `stockade call` can call in it"
                )
            }
            other => other.into(),
        }
    }

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
        let limits = Limits {
            output_bytes: OUTPUT_BYTES,
            ..Limits::default()
        };
        let builder = self.host.builder(&self.module).workers(1);
        let builder = builder.wasi(Wasi::new().arg(name)).limits(limits);
        let host = build(builder, &self.module)?;
        let mut command = host.run_command(self.arguments).stdin(stdin);
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let output = runtime
            .block_on(async { command.await })
            .map_err(|error| Self::explained(&self.module, error))?;
        for (name, lost) in [
            ("stdout", output.stdout_lost),
            ("stderr", output.stderr_lost),
        ] {
            if lost > 0 {
                eprintln!("stockade: the first {lost} bytes of {name} were not kept");
            }
        }
        std::io::stderr().write_all(&output.stderr)?;
        print(&output.stdout)?;
        // As a shell shows it: the lowest byte.
        Ok(ExitCode::from(output.exit_code.to_le_bytes()[0]))
    }
}
