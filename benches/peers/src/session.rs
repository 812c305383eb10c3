//! How each peer is started, and whether it is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::work::{Figure, Work};

/// A peer that can be run.
pub struct Session {
    pub name: &'static str,
    program: PathBuf,
    arguments: Vec<PathBuf>,
    /// What `install.sh` would have made, if it is not there.
    missing: Option<PathBuf>,
}

impl Session {
    /// Stockade first: the others are compared with it.
    pub fn all() -> Result<Vec<Self>> {
        let own = std::env::current_exe()?;
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let native = |name: &'static str| Self {
            name,
            program: own.clone(),
            arguments: vec!["--peer".into(), name.into()],
            missing: None,
        };
        let python = here.join(".local/python/bin/python");
        let script = |name, program: PathBuf, script: &str, installed: &str| {
            let installed = here.join(".local").join(installed);
            Self {
                name,
                program,
                arguments: vec![here.join("scripts").join(script)],
                missing: (!installed.exists()).then_some(installed),
            }
        };
        Ok(vec![
            native("stockade"),
            native("stockade_fresh"),
            native("spawn_blocking"),
            native("extism"),
            native("procspawn"),
            script(
                "trio-parallel",
                python.clone(),
                "trio_parallel_peer.py",
                "python/bin/python",
            ),
            script("loky", python, "loky_peer.py", "python/bin/python"),
            script(
                "piscina",
                "node".into(),
                "piscina_peer.mjs",
                "node_modules/piscina",
            ),
        ])
    }

    /// Why it cannot be run, if it cannot.
    pub fn skipped(&self) -> Option<String> {
        let missing = self.missing.as_ref()?;
        Some(format!(
            "skipped: {} is missing; run install.sh",
            missing.display()
        ))
    }

    /// Does all of the work once, in a process of its own.
    pub fn run(&self, work: &Work) -> Result<Vec<Figure>> {
        let output = Command::new(&self.program)
            .args(&self.arguments)
            .arg(serde_json::to_string(work)?)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", self.name))?;
        ensure!(
            output.status.success(),
            "{} failed: {}",
            self.name,
            output.status
        );
        let lines = output
            .stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| {
                serde_json::from_slice(line).with_context(|| {
                    format!("{} printed {:?}", self.name, String::from_utf8_lossy(line))
                })
            })
            .collect()
    }
}
