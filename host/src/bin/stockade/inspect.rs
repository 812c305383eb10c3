//! `stockade inspect`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};
use stockade::{FunctionInfo, Init, Inspection};

use crate::options::{HostOptions, compiling, exit_codes};
use crate::terminal::{FAINT, HEADING, NAME, WARNING, harmless, print_json, show, size, styled};

/// The longest line of a list.
const LINE_CHARS: usize = 96;

/// Say what a module is and what can be called in it.
///
/// The module is compiled, in a sealed process, and none of its code runs, but for what it prepares once.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "Examples:\n  \
       stockade inspect guest.wasm\n  \
       stockade inspect guest.wasm --json | jq '.functions[].name'\n\n",
    exit_codes!()
))]
pub(crate) struct Inspect {
    /// WebAssembly, or its text form
    module: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    host: HostOptions,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<()> {
        let builder = self.host.builder(&self.module);
        let found = {
            let _progress = compiling(&self.module);
            builder.inspect_blocking()?
        };
        if self.json {
            print_json(&as_json(&found))
        } else {
            show(&as_text(&found))
        }
    }
}

fn as_json(found: &Inspection) -> Value {
    let functions = found.functions.iter().map(|function| {
        let parameters = function.parameters.as_ref().map(|all| {
            let each = all.iter().map(|parameter| {
                let name = Some(&parameter.name).filter(|name| !name.is_empty());
                json!({ "name": name, "type": parameter.ty })
            });
            each.collect::<Vec<_>>()
        });
        json!({
            "name": function.name,
            "signature": function.signature,
            "parameters": parameters,
            "returns": function.returns,
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
        "init": found.init.as_ref().map(|init| match init {
            Init::PerInstance { why } => json!({ "runs": "per_instance", "why": why }),
            _ => json!({ "runs": "once" }),
        }),
        "retire": found.has_retire,
        "warnings": found.warnings,
        "module_bytes": found.module_bytes,
        "artifact_bytes": found.artifact_bytes,
        "from_cache": found.from_cache,
        "compile_ms": found.elapsed.as_secs_f64() * 1e3,
    })
}

fn as_text(found: &Inspection) -> String {
    let mut text = String::new();
    let (numeric, work): (Vec<_>, Vec<_>) = found
        .functions
        .iter()
        .partition(|function| function.is_numeric);
    section(&mut text, "Functions", &work);
    section(&mut text, "Plain numeric exports", &numeric);
    if found.functions.is_empty() && !found.is_command {
        text.push_str("No function can be called.\n\n");
    }
    text.push_str(&styled(HEADING, "Module"));
    text.push('\n');
    // Writing to a string cannot fail.
    let mut fact = |name: &str, value: &str| _ = writeln!(text, "  {name:<9} {value}");
    if found.is_command {
        fact("command", "yes: `stockade run` runs it");
    }
    let memory = found.memory.map_or("none".to_owned(), |memory| {
        let most = memory
            .maximum
            .map_or("no limit of its own".to_owned(), |most| {
                format!("at most {}", size(most))
            });
        format!("{}, {most}", size(memory.initial))
    });
    fact("memory", &memory);
    for (at, line) in imports(&found.imports).iter().enumerate() {
        fact(if at == 0 { "imports" } else { "" }, line);
    }
    match &found.init {
        None => {}
        Some(Init::PerInstance { why }) => {
            fact("init", &format!("in each instance: {}", harmless(why)))
        }
        Some(_) => fact("init", "has run: each instance begins with what it left"),
    }
    if found.has_retire {
        fact("retire", "asked after each call, with State::Keep");
    }
    fact("size", &size(found.module_bytes as u64));
    let how = if found.from_cache {
        "from the cache"
    } else {
        "compiled"
    };
    let code = size(found.artifact_bytes as u64);
    fact("native", &format!("{code}, {how} in {:.1?}", found.elapsed));
    for warning in &found.warnings {
        let _ = writeln!(
            text,
            "\n{}: {}",
            styled(WARNING, "warning"),
            harmless(warning)
        );
    }
    text
}

fn section(text: &mut String, title: &str, functions: &[&FunctionInfo]) {
    if functions.is_empty() {
        return;
    }
    let _ = writeln!(text, "{}", styled(HEADING, title));
    for function in functions {
        let signature = harmless(&function.signature);
        // It begins with the name, whatever the module calls its function.
        let name = harmless(&function.name);
        let types = signature.strip_prefix(&name).unwrap_or_default();
        let _ = writeln!(text, "  {}{types}", styled(NAME, &name));
        for line in function.docs.trim_end().lines() {
            let line = format!("      {}", harmless(line));
            let _ = writeln!(text, "{}", styled(FAINT, line.trim_end()));
        }
    }
    text.push('\n');
}

/// Lines of imports, those of a module together.
fn imports(all: &[String]) -> Vec<String> {
    if all.is_empty() {
        return vec!["none".to_owned()];
    }
    let mut modules = BTreeMap::<&str, Vec<&str>>::new();
    for import in all {
        let (module, name) = import.split_once("::").unwrap_or(("", import));
        modules.entry(module).or_default().push(name);
    }
    let mut lines = Vec::new();
    for (module, mut names) in modules {
        names.sort_unstable();
        let mut line = format!("{}:", harmless(module));
        for (at, name) in names.iter().enumerate() {
            let comma = if at + 1 < names.len() { "," } else { "" };
            let word = format!("{}{comma}", harmless(name));
            if line.len() + 1 + word.len() > LINE_CHARS {
                lines.push(std::mem::replace(&mut line, " ".to_owned()));
            }
            line.push(' ');
            line.push_str(&word);
        }
        lines.push(line);
    }
    lines
}
