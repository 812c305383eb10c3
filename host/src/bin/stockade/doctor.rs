//! `stockade doctor`

use std::fmt::Write;

use anyhow::Result;
use serde_json::json;
use stockade::{Hardening, Host, Module, WallState, Walls};

use crate::options::exit_codes;
use crate::terminal::{BAD, FAINT, GOOD, NAME, print_json, show, styled};

/// Say which walls this machine offers, and what to change to get the missing ones.
///
/// Each is looked at around a real worker. A required wall that is missing keeps workers from starting at all.
#[derive(Debug, clap::Args)]
#[command(after_help = concat!(
    "Examples:\n  \
       stockade doctor\n  \
       stockade doctor --json | jq '.walls[] | select(.state == \"missing\") | .advice'\n\n",
    exit_codes!()
))]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<()> {
        let walls = walls(Hardening::Default)?;
        let strict = walls_or_reason(Hardening::Strict);
        if self.json {
            print_json(&as_json(&walls, strict.as_deref()))
        } else {
            show(&as_text(&walls, strict.as_deref()))
        }
    }
}

/// Around a worker of a module that does nothing.
fn walls(hardening: Hardening) -> Result<Walls, stockade::Error> {
    let host = Host::builder(Module::from_wat("(module)"))
        .no_cache()
        .workers(1)
        .hardening(hardening)
        .build_blocking()?;
    Ok(host.walls())
}

/// Why there is none, if there is none.
fn walls_or_reason(hardening: Hardening) -> Option<String> {
    walls(hardening).err().map(|error| error.to_string())
}

/// What to change, and the walls that would stand then.
fn advice(walls: &Walls) -> Vec<(String, Vec<String>)> {
    let mut advice: Vec<(String, Vec<String>)> = Vec::new();
    for wall in walls.walls.iter().map(|report| report.wall) {
        let Some(change) = walls.advice(wall) else {
            continue;
        };
        let name = wall.to_string();
        match advice.iter_mut().find(|(known, _)| *known == change) {
            Some((_, names)) => names.push(name),
            None => advice.push((change, vec![name])),
        }
    }
    advice
}

fn shown(state: &WallState) -> (&'static str, &str) {
    match state {
        WallState::Verified => ("verified", ""),
        WallState::Tried => ("tried", ""),
        WallState::Claimed => ("claimed", ""),
        WallState::Missing { reason } => ("missing", reason),
        _ => ("unknown", ""),
    }
}

fn as_json(walls: &Walls, strict: Option<&str>) -> serde_json::Value {
    let each = walls.walls.iter().map(|report| {
        let (state, reason) = shown(&report.state);
        json!({
            "wall": report.wall.to_string(),
            "required": report.required,
            "state": state,
            "reason": Some(reason).filter(|reason| !reason.is_empty()),
            "advice": walls.advice(report.wall),
        })
    });
    json!({
        "walls": each.collect::<Vec<_>>(),
        "strict": { "available": strict.is_none(), "reason": strict },
    })
}

fn as_text(walls: &Walls, strict: Option<&str>) -> String {
    let mut text = String::new();
    for report in &walls.walls {
        let (state, reason) = shown(&report.state);
        let required = if report.required { "required" } else { "extra" };
        let style = match (&report.state, report.required) {
            (WallState::Missing { .. }, true) => BAD,
            (WallState::Missing { .. }, false) => FAINT,
            _ => GOOD,
        };
        let state = styled(style, format!("{state:<9}"));
        let wall = report.wall.to_string();
        let line = format!("{wall:<20} {required:<9} {state} {reason}");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let advice = advice(walls);
    if !advice.is_empty() {
        text.push_str("\nTo have the missing ones:\n");
    }
    for (change, names) in advice {
        let names = styled(NAME, names.join(", "));
        let _ = writeln!(text, "  {names}\n    {change}");
    }
    let strict = match strict {
        None => "available".to_owned(),
        Some(reason) => format!("not available: {reason}"),
    };
    let _ = writeln!(text, "\nHardening::Strict is {strict}");
    text.push_str(
        "\nverified: read from the kernel about a worker; tried: a probe of the worker program was refused as it should \
         be; claimed: there is only the worker's word\n",
    );
    text
}
