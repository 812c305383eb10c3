//! `stockade call`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use stockade::{Error, Host};

use crate::json::Arguments;
use crate::options::{HostOptions, print};

/// Call a function with JSON arguments and print its JSON result.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  stockade call guest.wasm fib 32\n  stockade call guest.wasm greet '\"World\"' --timeout 50ms\n\nExits with 0, or with 1 and the error on stderr."
)]
pub(crate) struct Call {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// The function's name
    function: String,
    /// Its arguments, each a JSON value
    #[arg(allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Stop a call that takes longer
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
pub(crate) fn find(host: &Host, name: &str) -> Result<stockade::FunctionInfo> {
    let functions = host.functions();
    let available = functions.iter().map(|f| f.name.clone()).collect();
    let found = functions.into_iter().find(|function| function.name == name);
    Ok(found.ok_or_else(|| Error::NoSuchFunction {
        name: name.to_owned(),
        available,
    })?)
}

impl Call {
    pub(crate) fn run(self) -> Result<()> {
        let host = self
            .host
            .builder(&self.module)
            .workers(1)
            .build_blocking()?;
        let arguments = Arguments::parse(&find(&host, &self.function)?, &self.arguments)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            for _ in 0..self.repeat {
                let mut call = host.call(&self.function, arguments.clone());
                if let Some(timeout) = self.timeout {
                    call = call.timeout(timeout);
                }
                let result: Value = call.await?;
                if !self.quiet {
                    print(format!("{result}\n").as_bytes())?;
                }
            }
            Ok(())
        })
    }
}
