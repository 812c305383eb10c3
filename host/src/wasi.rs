//! The world as a guest sees it through WASI: by default, an empty one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stockade_wire::message::WasiSetup;

use crate::Error;

/// What a guest finds when it asks for arguments, environment, time, randomness and output.
///
/// No files and no network. By default: no arguments, no environment, the system's clocks and randomness,
/// and output that goes to `tracing`, target `stockade::guest`.
#[derive(Debug, Clone, Default)]
pub struct Wasi {
    args: Vec<String>,
    env: Vec<(String, String)>,
    output: [Output; 2],
    clock: Clock,
    random_seed: Option<u64>,
}

/// Where an output stream of a guest goes. However much a guest writes, at most
/// [`crate::Limits::output_bytes`] of each stream are kept, the last ones, and no write ever fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Output {
    /// Nowhere.
    Discard,
    /// To the same stream of this process, after each call.
    Inherit,
    /// Kept for the error of a call that fails.
    Capture,
    /// A `tracing` event for each line, after each call.
    #[default]
    Tracing,
}

/// What a guest's clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Clock {
    /// The system's time.
    #[default]
    System,
    /// Always this time.
    Fixed(SystemTime),
}

impl Wasi {
    /// The default world.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an argument. By custom the first one is the program's name.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Where stdout goes.
    #[must_use]
    pub fn stdout(mut self, output: Output) -> Self {
        self.output[0] = output;
        self
    }

    /// Where stderr goes.
    #[must_use]
    pub fn stderr(mut self, output: Output) -> Self {
        self.output[1] = output;
        self
    }

    /// What the clocks show.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes all randomness the same for every instance.
    #[must_use]
    pub fn random_seed(mut self, seed: u64) -> Self {
        self.random_seed = Some(seed);
        self
    }

    pub(crate) fn output(&self) -> [Output; 2] {
        self.output
    }

    /// The program's name, as the guest sees it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.args.first().map(String::as_str)
    }

    pub(crate) fn setup(&self) -> Result<WasiSetup, Error> {
        /// It travels in one packet.
        const TEXT_MAX: usize = 32 << 10;
        let nul = |text: &str| text.contains('\0');
        if self.args.iter().any(|arg| nul(arg)) {
            return Err(Error::config(
                "wasi.arg",
                "an argument contains a zero byte",
            ));
        }
        if self
            .env
            .iter()
            .any(|(name, value)| nul(name) || nul(value) || name.is_empty() || name.contains('='))
        {
            return Err(Error::config(
                "wasi.env",
                "a name is empty or contains `=`, or there is a zero byte",
            ));
        }
        let text = self.args.iter().map(|arg| arg.len() + 8).sum::<usize>()
            + self
                .env
                .iter()
                .map(|(name, value)| name.len() + value.len() + 16)
                .sum::<usize>();
        if text > TEXT_MAX {
            let reason =
                format!("arguments and environment take {text} bytes, at most {TEXT_MAX} fit");
            return Err(Error::config("wasi", reason));
        }
        let clock = match self.clock {
            Clock::System => None,
            Clock::Fixed(at) => Some(at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)),
        };
        Ok(WasiSetup {
            args: self.args.clone(),
            env: self.env.clone(),
            clock,
            random_seed: self.random_seed,
            keep_output: self.output.map(|output| output != Output::Discard),
        })
    }
}
