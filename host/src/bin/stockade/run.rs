//! `stockade run`

use std::future::{IntoFuture, poll_fn};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::json;
use stockade::{Command, CommandOutput, Error, Limits, OutputStream, Wasi};
use tokio::sync::oneshot;

use crate::options::{HostOptions, build};
use crate::terminal::{file_name, print_json};

/// The most of each output stream that `--json` keeps.
const CAPTURED_BYTES: usize = 64 << 20;

/// The most of each output stream that is on its way to ours.
const PASSING_BYTES: usize = 1 << 20;

/// Run a WASI command module.
///
/// That is a whole program, a module that exports `_start`. What it writes is shown while it runs. Its standard input is read to its end before it starts, unless that is a terminal: then it has none. It has no files, no network and no environment.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  stockade run wc.wasm -- -l < README.md
  stockade run python.wasm --timeout 10s -- -c 'print(6 * 7)'
  stockade run tool.wasm --json | jq -r .stderr

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
    /// Print one JSON object when it ends, with what it wrote, the last 64 MiB of each stream
    #[arg(long)]
    json: bool,
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
        if !io::stdin().is_terminal() {
            io::stdin()
                .read_to_end(&mut stdin)
                .context("cannot read standard input")?;
        }
        let name = self
            .module
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let limits = Limits {
            output_bytes: if self.json {
                CAPTURED_BYTES
            } else {
                PASSING_BYTES
            },
            ..Limits::default()
        };
        let builder = self.host.builder(&self.module).workers(1);
        let builder = builder.wasi(Wasi::new().arg(name)).limits(limits);
        let host = build(builder, &self.module)?;
        let mut command = host.run_command(self.arguments).stdin(stdin);
        if let Some(timeout) = self.timeout {
            command = command.timeout(timeout);
        }
        let explained = |error| Self::explained(&self.module, error);
        let begun = Instant::now();
        let output = if self.json {
            let output = block_on(command.into_future())?.map_err(explained)?;
            print_json(&as_json(&output, begun.elapsed()))?;
            output
        } else {
            passing_through(command)?.map_err(explained)?
        };
        // As a shell shows it: the lowest byte.
        Ok(ExitCode::from(output.exit_code.to_le_bytes()[0]))
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(future))
}

/// Runs it with its output on ours. If that cannot be written, as to a `head` that has seen enough, it is stopped.
fn passing_through(command: Command) -> Result<Result<CommandOutput, Error>> {
    let (failed, mut failure) = oneshot::channel();
    let mut failed = Some(failed);
    let command = command.on_output(move |stream, bytes| {
        if let Err(error) = pass_on(stream, bytes)
            && let Some(failed) = failed.take()
        {
            // Who would hear it has ended with the run.
            let _ = failed.send(error);
        }
    });
    block_on(async {
        let mut run = pin!(command.into_future());
        poll_fn(|cx| {
            let run = run.as_mut().poll(cx);
            match pin!(&mut failure).poll(cx) {
                Poll::Ready(Ok(error)) => Poll::Ready(Err(error.into())),
                _ => run.map(Ok),
            }
        })
        .await
    })?
}

fn pass_on(stream: OutputStream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        OutputStream::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        OutputStream::Stderr => io::stderr().write_all(bytes),
    }
}

/// What is no UTF-8 is shown as replacement characters: JSON has no bytes.
fn as_json(output: &CommandOutput, elapsed: Duration) -> serde_json::Value {
    json!({
        "exit_code": output.exit_code,
        "stdout": String::from_utf8_lossy(&output.stdout),
        "stderr": String::from_utf8_lossy(&output.stderr),
        "stdout_lost_bytes": output.stdout_lost,
        "stderr_lost_bytes": output.stderr_lost,
        "elapsed_ms": elapsed.as_secs_f64() * 1e3,
    })
}
