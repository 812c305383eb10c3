//! `stockade call`

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use stockade::{Error, FunctionInfo, Host};

use crate::json::Arguments;
use crate::options::{HostOptions, build, exit_codes};
use crate::terminal::{file_name, print, safe_json};

/// Call a function with JSON arguments and print its JSON result.
///
/// Each argument is one JSON value, so a text has its own quotes inside those of the shell: '"text"'. An export
/// of plain numbers takes numbers.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "Examples:\n  \
       stockade call guest.wasm fib 32\n  \
       stockade call guest.wasm greet '\"Ada\"' --timeout 50ms\n  \
       stockade call guest.wasm sum '[1, 2, 3]' --repeat 1000 --quiet\n\n",
    exit_codes!()
))]
pub(crate) struct Call {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// The function's name; `stockade inspect` lists them
    function: String,
    /// Its arguments, each a JSON value
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Stop a call that takes longer, such as 50ms or 2s
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Call so many times, and print each result
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u64,
    /// Print no result
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    host: HostOptions,
}

/// The function of this name.
pub(crate) fn find(host: &Host, module: &Path, name: &str) -> Result<FunctionInfo> {
    let functions = host.functions();
    let available = functions.iter().map(|f| f.name.clone()).collect();
    let found = functions.into_iter().find(|function| function.name == name);
    found.ok_or_else(|| {
        let error = Error::NoSuchFunction {
            name: name.to_owned(),
            available,
        };
        anyhow::anyhow!(
            "{error}; `stockade inspect {}` describes them",
            file_name(module)
        )
    })
}

impl Call {
    pub(crate) fn run(self) -> Result<()> {
        let host = build(self.host.builder(&self.module).workers(1), &self.module)?;
        let function = find(&host, &self.module, &self.function)?;
        let arguments = Arguments::parse(&function, &self.arguments)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        runtime.block_on(async {
            for _ in 0..self.repeat {
                let mut call = host.call(&self.function, arguments.clone());
                if let Some(timeout) = self.timeout {
                    call = call.timeout(timeout);
                }
                let result: Value = call.await?;
                if !self.quiet {
                    print(format!("{}\n", safe_json(&result.to_string())).as_bytes())?;
                }
            }
            Ok(())
        })
    }
}
