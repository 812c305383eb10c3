//! What people see: styles on a terminal and plain text in a pipe, progress, and the text of modules that nobody
//! trusts made harmless.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

pub(crate) const HEADING: Style = Style::new().bold().underline();
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// `text` in this style. A terminal shows it; a pipe gets the text alone.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes bytes to stdout as they are.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    Ok(stdout.flush()?)
}

/// Writes text to stdout, with its styles if that is a terminal.
pub(crate) fn show(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes one JSON value, over several lines.
pub(crate) fn print_json(value: &Value) -> Result<()> {
    print(format!("{}\n", safe_json(&format!("{value:#}"))).as_bytes())
}

/// Whether the reader of our output has gone away, which is no failure.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// One line of a module's text, without anything that moves a cursor, colours or reorders.
pub(crate) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The same JSON, with what a terminal would obey written as `\u` escapes: JSON itself escapes only half of it.
pub(crate) fn safe_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Line breaks are layout; those inside strings are escaped already.
        if c != '\n' && is_dangerous(c) {
            shown.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_dangerous(c: char) -> bool {
    let changes_direction = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || changes_direction
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// A file's name, for messages.
pub(crate) fn file_name(path: &Path) -> String {
    harmless(&path.file_name().unwrap_or_default().to_string_lossy())
}

/// Says on stderr what takes so long, as long as it is not dropped. Nothing if stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

/// What takes less time is not worth a flicker.
const PATIENCE: Duration = Duration::from_millis(300);
const TICK: Duration = Duration::from_millis(100);

impl Progress {
    /// Of something that takes as long as it takes.
    pub(crate) fn of(what: String) -> Self {
        Self::begin(what, None)
    }

    /// Of something that takes so long.
    pub(crate) fn lasting(what: String, duration: Duration) -> Self {
        Self::begin(what, Some(duration))
    }

    fn begin(what: String, duration: Option<Duration>) -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let (end, ended) = mpsc::channel();
        let begun = Instant::now();
        let thread = thread::spawn(move || {
            let goes_on = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            if !goes_on(PATIENCE) {
                return;
            }
            let bar = bar(duration).with_message(what).with_elapsed(PATIENCE);
            while goes_on(TICK) {
                match duration {
                    Some(_) => bar.set_position(begun.elapsed().as_millis() as u64),
                    None => bar.tick(),
                }
            }
            bar.finish_and_clear();
        });
        Self(Some((end, thread)))
    }
}

fn bar(duration: Option<Duration>) -> ProgressBar {
    let (bar, template) = match duration {
        Some(duration) => (
            ProgressBar::new(duration.as_millis() as u64),
            "{msg} {bar:40} {percent:>3} %",
        ),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}"),
    };
    // A template that does not parse would be a bug that a test sees; the default bar is no worse.
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.0.take() {
            drop(end);
            // The line is gone before anything else is written.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_module_does_not_reach_the_terminal() {
        assert_eq!(
            harmless("a\u{1b}[31mb\u{9b}2J\u{202e}\n"),
            "a\\u{1b}[31mb\\u{9b}2J\\u{202e}\\n"
        );
        let value = serde_json::json!({ "a": "\u{1b}[31m\u{9b}\u{202e}\u{7f}ü" });
        let json = safe_json(&format!("{value:#}"));
        assert_eq!(json, "{\n  \"a\": \"\\u001b[31m\\u009b\\u202e\\u007fü\"\n}");
        assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
    }

    #[test]
    fn templates_of_progress_parse() {
        for duration in [None, Some(PATIENCE)] {
            bar(duration);
        }
        for template in ["{msg} {bar:40} {percent:>3} %", "{spinner} {msg} {elapsed}"] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
