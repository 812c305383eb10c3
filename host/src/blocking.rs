//! The same, for threads that may wait: no runtime is needed.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::function::Function;
use crate::{Error, Module, ShutdownReport, Stats, functions, park};

/// A [`crate::Host`] whose methods wait. Never use it on a thread of an async runtime: it holds up every
/// task there.
#[derive(Debug, Clone)]
pub struct Host(crate::Host);

impl Host {
    /// A host for `module`, with defaults for everything.
    ///
    /// # Errors
    /// See [`crate::HostBuilder::build`].
    pub fn new(module: Module) -> Result<Self, Error> {
        crate::Host::builder(module).build_blocking().map(Self)
    }

    /// Calls a function in a worker process and waits for its result.
    ///
    /// # Errors
    /// See [`crate::Host::run_sync`].
    pub fn run_sync<F, A, R>(&self, function: F, args: A) -> Result<R, Error>
    where
        F: Function<A, R>,
        A: Serialize,
        R: DeserializeOwned,
    {
        park::block_on(self.0.run_sync(function, args))
    }

    /// The same, but fails with [`Error::Saturated`] instead of waiting in line.
    ///
    /// # Errors
    /// See [`crate::Host::try_run_sync`].
    pub fn try_run_sync<F, A, R>(&self, function: F, args: A) -> Result<R, Error>
    where
        F: Function<A, R>,
        A: Serialize,
        R: DeserializeOwned,
    {
        park::block_on(self.0.try_run_sync(function, args))
    }

    /// Starts workers until `n` are ready.
    ///
    /// # Errors
    /// See [`crate::Host::warm`].
    pub fn warm(&self, n: usize) -> Result<(), Error> {
        park::block_on(self.0.warm(n))
    }

    /// Closes the host. See [`crate::Host::close`].
    pub fn close(&self) -> ShutdownReport {
        park::block_on(self.0.close())
    }

    /// What can be called, by name.
    #[must_use]
    pub fn functions(&self) -> Vec<functions::Function> {
        self.0.functions()
    }

    /// A look at the workers and the queue.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}

impl From<crate::Host> for Host {
    fn from(host: crate::Host) -> Self {
        Self(host)
    }
}
