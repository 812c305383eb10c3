//! Where and when a measurement was made.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// What a reader must know to compare figures.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cpus: usize,
    kernel: String,
    commit: String,
    /// Of the last minute, before the measurement: other work on the machine spoils figures.
    load: f64,
    /// Whether the program was compiled with optimisations.
    optimised: bool,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let uname = rustix::system::uname();
        Self {
            cpu: cpu_model(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!(
                "{} {} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy(),
                uname.machine().to_string_lossy()
            ),
            commit: commit(),
            load: load(),
            optimised: !cfg!(debug_assertions),
        }
    }

    /// The facts that belong into a picture.
    pub(crate) fn summary(&self) -> String {
        let warning = if self.optimised {
            ""
        } else {
            "NOT A RELEASE BUILD, "
        };
        format!(
            "{warning}{}, {} CPUs, {}, commit {}",
            self.cpu, self.cpus, self.kernel, self.commit
        )
    }

    /// One line per fact.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!("machine  {}, {} CPUs", self.cpu, self.cpus),
            format!("kernel   {}", self.kernel),
            format!("commit   {}", self.commit),
            format!("load     {:.2} before the measurement", self.load),
        ];
        if !self.optimised {
            lines.push("WARNING  not a release build: these figures mean nothing".to_owned());
        }
        lines
    }
}

fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_else(|| "unknown CPU".to_owned())
}

fn load() -> f64 {
    let loads = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = loads.split(' ').next().and_then(|load| load.parse().ok());
    first.unwrap_or(f64::NAN)
}

/// The commit of the source, as far as git knows it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-C", env!("CARGO_MANIFEST_DIR")])
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "none".to_owned();
    };
    match git(&["status", "--porcelain"]) {
        Some(changes) if changes.is_empty() => head,
        _ => format!("{head} with changes"),
    }
}
