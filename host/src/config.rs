//! How a host is to be, checked.

use std::path::PathBuf;
use std::time::Duration;

use crate::functions::Expected;
use crate::host_function::HostFunctions;
use crate::limits::{Codec, Hardening, Interrupt, Limits, State, WorkerType};
use crate::wasi::Wasi;
use crate::{Error, Limiter, Retire, Wall};

/// Everything that a [`crate::HostBuilder`] sets.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) min_workers: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) grace_period: Duration,
    pub(crate) retire: Retire,
    pub(crate) interrupt_grace: Duration,
    pub(crate) spawn_timeout: Duration,
    pub(crate) worker_type: WorkerType,
    pub(crate) worker_program: Option<PathBuf>,
    pub(crate) state: State,
    pub(crate) interrupt: Interrupt,
    pub(crate) limiter: Limiter,
    pub(crate) queue_limit: usize,
    pub(crate) limits: Limits,
    pub(crate) wasi: Wasi,
    pub(crate) hardening: Hardening,
    /// Walls that are required by name.
    pub(crate) required: Vec<Wall>,
    pub(crate) cache: CacheDir,
    pub(crate) codec: Codec,
    pub(crate) runtime: Option<tokio::runtime::Handle>,
    pub(crate) host_functions: HostFunctions,
    /// What the module must have.
    pub(crate) expected: Vec<Expected>,
}

/// Where artifacts are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheDir {
    /// In the user's cache directory.
    Default,
    At(PathBuf),
    Nowhere,
}

impl Config {
    pub(crate) fn new() -> Self {
        Self {
            workers: num_cpus::get(),
            min_workers: 0,
            idle_timeout: Duration::from_secs(600),
            grace_period: Duration::from_secs(30),
            retire: Retire::default(),
            interrupt_grace: Duration::from_millis(100),
            spawn_timeout: Duration::from_secs(10),
            worker_type: WorkerType::default(),
            worker_program: None,
            state: State::default(),
            interrupt: Interrupt::default(),
            limiter: Limiter::global(),
            queue_limit: 65_536,
            limits: Limits::default(),
            wasi: Wasi::default(),
            hardening: Hardening::default(),
            required: Vec::new(),
            cache: CacheDir::Default,
            codec: Codec::default(),
            runtime: tokio::runtime::Handle::try_current().ok(),
            host_functions: HostFunctions::default(),
            expected: Vec::new(),
        }
    }

    /// Each value against what it can mean. Nothing has been started yet.
    pub(crate) fn check(&self) -> Result<(), Error> {
        /// Each worker costs descriptors and address space.
        const WORKERS_MAX: usize = 4096;
        if self.workers == 0 {
            return Err(Error::config(
                "workers",
                "no call could ever run: give at least 1",
            ));
        }
        if self.workers > WORKERS_MAX {
            let reason = format!(
                "{} processes are more than a system can hold: give at most {WORKERS_MAX}",
                self.workers
            );
            return Err(Error::config("workers", reason));
        }
        if self.min_workers > self.workers {
            let reason = format!(
                "{} is more than `workers`, which is {}: raise that or lower this",
                self.min_workers, self.workers
            );
            return Err(Error::config("min_workers", reason));
        }
        if self.idle_timeout == Duration::ZERO {
            return Err(Error::config(
                "idle_timeout",
                "zero would end every worker after its call: give a positive duration, or \
                 `retire(Retire::never().after_calls(1))` for a process per call",
            ));
        }
        self.retire.check()?;
        if self.spawn_timeout == Duration::ZERO {
            return Err(Error::config(
                "spawn_timeout",
                "zero would fail every start: give a positive duration",
            ));
        }
        if self.worker_type == WorkerType::ForkServer && self.wasi.grants_directories() {
            return Err(Error::config(
                "worker_type",
                "workers from a fork server cannot have directories: set `WorkerType::Spawn`, or grant none",
            ));
        }
        self.host_functions.check()?;
        if !self.host_functions.is_empty() && self.runtime.is_none() {
            return Err(Error::config(
                "function",
                "host functions run on a tokio runtime, and there is none here: build the host inside one, or \
                 give one with `runtime`",
            ));
        }
        if let (Hardening::Insecure, Some(wall)) = (self.hardening, self.required.first()) {
            let reason = format!(
                "the wall `{wall}` is required, but `Hardening::Insecure` builds none: leave that out"
            );
            return Err(Error::config("require_wall", reason));
        }
        self.limits.check()
    }
}
