//! `stockade inspect` and `stockade compile`

use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;
use stockade::Inspection;

use crate::options::{HostOptions, harmless, print};

/// Say what a module is and what can be called in it. None of its code runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  stockade inspect guest.wasm --json | jq '.functions[].name'")]
pub(crate) struct Inspect {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    host: HostOptions,
}

/// Compile a module into the cache, so that the first host that wants it starts at once.
#[derive(Debug, clap::Args)]
pub(crate) struct Compile {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// Keep it here instead of the user's cache directory
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<()> {
        let found = self.host.builder(&self.module).inspect_blocking()?;
        let text = if self.json {
            format!("{:#}\n", as_json(&found))
        } else {
            as_text(&found)
        };
        print(text.as_bytes())
    }
}

impl Compile {
    pub(crate) fn run(self) -> Result<()> {
        let module = stockade::Module::from_file(&self.module);
        let builder = stockade::Host::builder(module);
        let found = match &self.cache_dir {
            Some(dir) => builder.cache_dir(dir),
            None => builder,
        }
        .inspect_blocking()?;
        let line = format!(
            "{}: {} of native code, in {:.1?}\n",
            self.module.display(),
            size(found.artifact_bytes as u64),
            found.elapsed
        );
        print(line.as_bytes())
    }
}

fn as_json(found: &Inspection) -> serde_json::Value {
    let functions = found.functions.iter().map(|function| {
        json!({
            "name": function.name,
            "signature": function.signature,
            "docs": function.docs,
            "numeric": function.is_numeric,
        })
    });
    json!({
        "functions": functions.collect::<Vec<_>>(),
        "command": found.is_command,
        "imports": found.imports,
        "memory": found.memory.map(|memory| json!({
            "initial_bytes": memory.initial,
            "maximum_bytes": memory.maximum,
        })),
        "warnings": found.warnings,
        "module_bytes": found.module_bytes,
        "artifact_bytes": found.artifact_bytes,
        "compile_ms": found.elapsed.as_secs_f64() * 1e3,
    })
}

fn as_text(found: &Inspection) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |line: String| _ = writeln!(text, "{}", harmless(&line));
    if found.functions.is_empty() {
        line("no functions can be called".to_owned());
    }
    for function in &found.functions {
        line(function.signature.clone());
        for docs in function.docs.lines() {
            line(format!("    {docs}"));
        }
    }
    line(String::new());
    if found.is_command {
        line("command   yes: it exports `_start`".to_owned());
    }
    let memory = found.memory.map_or("none".to_owned(), |memory| {
        let most = memory
            .maximum
            .map_or("no limit of its own".to_owned(), size);
        format!("{}, at most {most}", size(memory.initial))
    });
    line(format!("memory    {memory}"));
    line(format!("imports   {}", list(&found.imports)));
    line(format!(
        "size      {}, {} of native code, in {:.1?}",
        size(found.module_bytes as u64),
        size(found.artifact_bytes as u64),
        found.elapsed
    ));
    for warning in &found.warnings {
        line(format!("warning   {warning}"));
    }
    text
}

fn list(items: &[String]) -> String {
    match items {
        [] => "none".to_owned(),
        items => items.join(", "),
    }
}

/// A number of bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
