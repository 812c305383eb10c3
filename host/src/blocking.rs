//! The same, for threads that may wait: no runtime is needed.

use std::future::IntoFuture;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::function::Function;
use crate::{CommandOutput, Error, Module, ShutdownReport, Stats, Timings, Walls, functions, park};

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

    /// Calls a function once for each input, and gives the results in their order. See
    /// [`crate::Host::map`].
    pub fn map<F, A, R, I>(&self, function: F, inputs: I) -> Map<A, R, I::IntoIter>
    where
        F: Function<A, R>,
        A: Serialize,
        R: DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        Map(self.0.map(function, inputs))
    }

    /// Runs a command module. See [`crate::Host::run_command`].
    ///
    /// # Errors
    /// See there.
    pub fn run_command<I>(&self, args: I) -> Result<CommandOutput, Error>
    where
        I: IntoIterator<Item: Into<String>>,
    {
        park::block_on(self.0.run_command(args).into_future())
    }

    /// Starts workers until `n` are ready.
    ///
    /// # Errors
    /// See [`crate::Host::warm`].
    pub fn warm(&self, n: usize) -> Result<(), Error> {
        park::block_on(self.0.warm(n))
    }

    /// Gives the host another module. See [`crate::Host::reload`].
    ///
    /// # Errors
    /// See there.
    pub fn reload(&self, module: Module) -> Result<(), Error> {
        park::block_on(self.0.reload(module))
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

    /// What is in force around the workers. See [`crate::Host::walls`].
    #[must_use]
    pub fn walls(&self) -> Walls {
        self.0.walls()
    }

    /// How long calls took. See [`crate::Host::timings`].
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.0.timings()
    }

    /// Forgets all timings.
    pub fn reset_timings(&self) {
        self.0.reset_timings();
    }

    /// A look at the workers, the calls and the queue.
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

/// Results in the order of their inputs, made by [`Host::map`]. Each `next` waits.
#[derive(Debug)]
#[must_use = "iterators are lazy"]
pub struct Map<A, R, I>(crate::Map<A, R, I>);

impl<A, R, I> Map<A, R, I> {
    /// See [`crate::Map::in_flight`].
    pub fn in_flight(self, calls: usize) -> Self {
        Self(self.0.in_flight(calls))
    }

    /// See [`crate::Map::timeout`].
    pub fn timeout(self, timeout: Duration) -> Self {
        Self(self.0.timeout(timeout))
    }
}

impl<A, R, I> Iterator for Map<A, R, I>
where
    A: Serialize,
    R: DeserializeOwned,
    I: Iterator<Item = A>,
{
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        park::block_on(self.0.next())
    }
}
