//! The embedder's handle to a module's workers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::Span;

use crate::call::{Call, Running, find_emitting};
use crate::command::Command;
use crate::config::{CacheDir, Config};
use crate::function::{Emitting, Function};
use crate::functions::Expected;
use crate::host_function::HostFunction;
use crate::items::Items;
use crate::limits::{Codec, Hardening, Interrupt, Limits, State, WorkerType};
use crate::map::{Map, MapUnordered};
use crate::service::Service;
use crate::{
    Error, Inspection, Limiter, Module, Retire, ShutdownReport, Stats, Timings, Wall, Walls, Wasi,
    assemble, functions,
};

/// A handle to one module's pool of worker processes.
///
/// Cheap to clone, and usable from several runtimes at once or from none. When the last clone is gone, and
/// with it every call that was made through it, the workers are killed and nothing is left behind.
#[derive(Debug, Clone)]
pub struct Host(Arc<Service>);

impl Host {
    /// A host for `module`, with defaults for everything.
    ///
    /// # Errors
    /// See [`HostBuilder::build`].
    pub async fn new(module: Module) -> Result<Self, Error> {
        Self::builder(module).build().await
    }

    /// Settings for a host of `module`.
    pub fn builder(module: Module) -> HostBuilder {
        HostBuilder {
            module,
            config: Config::new(),
        }
    }

    pub(crate) fn from_service(service: Service) -> Self {
        Self(Arc::new(service))
    }

    /// Calls a function in a worker process and waits for its result, as long as it takes: in line when all
    /// permits or workers are taken, up to [`HostBuilder::queue_limit`].
    ///
    /// `function` is a name, or the `#[work]` function item; `args` is the tuple of its arguments, such as
    /// `(32u32,)`. The types are compared with the guest's before anything is sent. Bytes in a
    /// [`crate::Bytes`] are copied as they are; a `Vec<u8>` or `&[u8]` is encoded one by one.
    ///
    /// Dropping the future stops the call.
    ///
    /// # Errors
    /// [`Error::BrokenWorker`] when the guest failed or its process died, and all that [`Error`] lists.
    // A call of a microsecond notices when what it is made of is moved twice before it is first polled.
    #[inline(always)]
    pub fn run_sync<F, A, R>(&self, function: F, args: A) -> Running<A, R>
    where
        F: Function<A, R>,
        A: Serialize,
        R: DeserializeOwned,
    {
        self.call(function, args).into_running()
    }

    /// The same as [`Self::run_sync`], with choices.
    #[inline(always)]
    pub fn call<F, A, R>(&self, function: F, args: A) -> Call<A, R>
    where
        F: Function<A, R>,
        A: Serialize,
        R: DeserializeOwned,
    {
        Call::new(self.0.lend(), function, args)
    }

    /// The same as [`Self::run_sync`], but fails with [`Error::Saturated`] instead of waiting in line. It
    /// does wait for a worker to start, where one more is allowed.
    pub fn try_run_sync<F, A, R>(&self, function: F, args: A) -> Running<A, R>
    where
        F: Function<A, R>,
        A: Serialize,
        R: DeserializeOwned,
    {
        self.call(function, args).without_waiting().into_running()
    }

    /// Calls a function once for each item of `inputs`, a tuple of its arguments, and gives the results in the
    /// order of the inputs.
    ///
    /// The inputs are taken as they are needed: some more than there are workers are under way at any time,
    /// see [`Map::in_flight`]. Each item is a call of its own: it takes its permit and its place in the line,
    /// runs under the state rule, and fails by itself. Dropping the stream stops what is under way and takes
    /// no more inputs. A function that does not exist, or of other types, is the stream's only item.
    pub fn map<F, A, R, I>(&self, function: F, inputs: I) -> Map<A, R, I::IntoIter>
    where
        F: Function<A, R>,
        A: Serialize,
        R: DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        Map::new(self.0.current(), &function, inputs.into_iter())
    }

    /// The same as [`Self::map`], with the results in the order in which they come.
    pub fn map_unordered<F, A, R, I>(
        &self,
        function: F,
        inputs: I,
    ) -> MapUnordered<A, R, I::IntoIter>
    where
        F: Function<A, R>,
        A: Serialize,
        R: DeserializeOwned,
        I: IntoIterator<Item = A>,
    {
        MapUnordered::new(self.0.current(), &function, inputs.into_iter())
    }

    /// Calls a function and gives what it emits with `stockade_guest::emit`, as it does so.
    ///
    /// The guest waits for each item to be taken. Dropping the stream stops the call. What the function returns is
    /// [`Items::result`]'s.
    pub fn stream<F, A, T>(&self, function: F, args: A) -> Items<A, T>
    where
        F: Emitting<A>,
        A: Serialize,
        T: DeserializeOwned,
    {
        let hold = self.0.lend();
        let found = find_emitting::<A>(hold.pool(), &function);
        Items::new(Call::of(hold, found, args).listening().into_running())
    }

    /// Runs a command module, one that exports `_start`, as a program: in an instance of its own, whatever
    /// [`State`] says. Its first argument, before `args`, is its name: what [`Wasi::arg`] gave first, else
    /// `command`. An exit code other than 0 is a result and no error; a trap is an error.
    ///
    /// # Errors
    /// [`Error::NoSuchFunction`] when the module is no command, and all that calls have.
    pub fn run_command<I>(&self, args: I) -> Command
    where
        I: IntoIterator<Item: Into<String>>,
    {
        let shared = self.0.current();
        let own = shared.pool.config.wasi.name().unwrap_or("command");
        let args = std::iter::once(own.to_owned()).chain(args.into_iter().map(Into::into));
        let args = args.collect();
        Command::new(shared, args)
    }

    /// Starts workers until `n` are ready for a call or have one.
    ///
    /// # Errors
    /// [`Error::Config`] when `n` is more than [`HostBuilder::workers`]; what kept a worker from starting;
    /// [`Error::Closed`].
    pub fn warm(
        &self,
        n: usize,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        let shared = self.0.current();
        async move { shared.pool.warm(n).await }
    }

    /// Closes the host, for all its clones: new calls and those that wait get [`Error::Closed`] at once,
    /// those that run may end within [`HostBuilder::grace_period`] and are stopped then; workers are asked to
    /// end, and killed if they do not. Returns when none is left.
    ///
    /// The whole takes the grace period and little more, however many workers there are. Once it has begun it
    /// goes on, even when the future is dropped. Closing again waits for the same end.
    pub fn close(&self) -> impl Future<Output = ShutdownReport> + Send + 'static + use<> {
        let service = Arc::clone(&self.0);
        async move { service.close().await }
    }

    /// Gives the host another module, with the settings that it was built with: compiles it, unless the cache
    /// has it, starts its first worker, and only then has new calls run it. Their types are compared with the
    /// new module's functions. An error leaves the host as it was.
    ///
    /// No call fails for it. A call runs the module that the host had when the call was *made*, whether it
    /// waits or runs when that is replaced; so do all items of a map. The old module's workers end when they
    /// have no such call any more; for a while there may be twice as many workers as
    /// [`HostBuilder::workers`] says.
    ///
    /// Several reloads take their turns in the order of their first polls, so the last one wins. Dropping the
    /// future before it is over leaves the host as it was.
    ///
    /// # Errors
    /// As [`HostBuilder::build`]; [`Error::Closed`].
    pub fn reload(
        &self,
        module: Module,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        let service = Arc::clone(&self.0);
        async move {
            let _turn = service.turn().await;
            if service.is_closed() {
                return Err(Error::Closed);
            }
            let from = service.current();
            let new = apart(move || assemble::successor(&module, &from.pool)).await?;
            service.replace(new)
        }
    }

    /// What can be called, by name.
    #[must_use]
    pub fn functions(&self) -> Vec<functions::Function> {
        self.0.current().pool.functions.list()
    }

    /// What is in force around this host's workers, as the kernel showed it of the first one. Each worker is
    /// looked at before its first call, and refused when a required wall does not stand.
    #[must_use]
    pub fn walls(&self) -> Walls {
        self.0.current().pool.walls()
    }

    /// How long calls took, as distributions.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.0.current().pool.tally.timings()
    }

    /// Forgets all timings.
    pub fn reset_timings(&self) {
        self.0.current().pool.tally.reset_timings();
    }

    /// A look at the workers, the calls and the queue, and at what has become of them so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}

/// Settings of a [`Host`]. Nothing is started or read before [`Self::build`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it builds"]
pub struct HostBuilder {
    module: Module,
    config: Config,
}

impl HostBuilder {
    /// The most worker processes; default: the number of CPUs. They are started as calls need them, and
    /// the one that was used last is used first. One that was killed is none of them any more, though the kernel may
    /// take a moment to be done with it.
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers;
        self
    }

    /// How many workers are kept ready, from the start and whatever happens to them; default: 0.
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.config.min_workers = workers;
        self
    }

    /// How long a worker that is not among [`Self::min_workers`] may be without a call before it ends;
    /// default: ten minutes. A worker whose host does not get to run ends by itself after twice that and five
    /// seconds.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.config.idle_timeout = timeout;
        self
    }

    /// How long [`Host::close`] lets running calls go on; default: 30 s.
    pub fn grace_period(mut self, grace: Duration) -> Self {
        self.config.grace_period = grace;
        self
    }

    /// When workers are replaced; default: after 10 000 calls or ten minutes.
    pub fn retire(mut self, retire: Retire) -> Self {
        self.config.retire = retire;
        self
    }

    /// How long a worker may take to stop a call when it is told to, before it is killed; default: 100 ms. The caller
    /// does not wait for it.
    pub fn interrupt_grace(mut self, grace: Duration) -> Self {
        self.config.interrupt_grace = grace;
        self
    }

    /// How long a worker may take to become ready, its module's start code included; default: 10 s.
    pub fn spawn_timeout(mut self, timeout: Duration) -> Self {
        self.config.spawn_timeout = timeout;
        self
    }

    /// How workers are made; default: [`WorkerType::Spawn`].
    pub fn worker_type(mut self, worker_type: WorkerType) -> Self {
        self.config.worker_type = worker_type;
        self
    }

    /// The program that worker processes run: `stockade-worker`, or one whose `main` is that crate's.
    /// Default: the application itself, started anew. A program of its own keeps the application's
    /// read-only data out of reach of an escaped guest.
    pub fn worker_program(mut self, path: impl AsRef<Path>) -> Self {
        self.config.worker_program = Some(path.as_ref().to_owned());
        self
    }

    /// Whether calls share an instance; default: [`State::Fresh`].
    pub fn state(mut self, state: State) -> Self {
        self.config.state = state;
        self
    }

    /// How calls are stopped; default: [`Interrupt::Epoch`].
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.config.interrupt = interrupt;
        self
    }

    /// Where calls take their permits; default: [`Limiter::global`].
    pub fn limiter(mut self, limiter: Limiter) -> Self {
        self.config.limiter = limiter;
        self
    }

    /// How many calls may wait at once; default: 65 536. One more is [`Error::Saturated`].
    pub fn queue_limit(mut self, calls: usize) -> Self {
        self.config.queue_limit = calls;
        self
    }

    /// Ceilings of each call.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// The world as the guest sees it; default: an empty one.
    pub fn wasi(mut self, wasi: Wasi) -> Self {
        self.config.wasi = wasi;
        self
    }

    /// How much of the kernel workers leave themselves; default: [`Hardening::Default`].
    pub fn hardening(mut self, hardening: Hardening) -> Self {
        self.config.hardening = hardening;
        self
    }

    /// Requires a wall by name, whatever [`HostBuilder::hardening`] says of it; may be repeated. Where it does
    /// not stand, [`HostBuilder::build`] fails and says why.
    pub fn require_wall(mut self, wall: Wall) -> Self {
        self.config.required.push(wall);
        self
    }

    /// Where artifacts are kept; default: `stockade` in the user's cache directory. It is made if it does
    /// not exist. A directory that others may write is not used.
    pub fn cache_dir(mut self, path: impl AsRef<Path>) -> Self {
        self.config.cache = CacheDir::At(path.as_ref().to_owned());
        self
    }

    /// Compiles the module anew for this host, and keeps nothing.
    pub fn no_cache(mut self) -> Self {
        self.config.cache = CacheDir::Nowhere;
        self
    }

    /// How arguments and results are encoded; default: [`Codec::Bincode`].
    pub fn codec(mut self, codec: Codec) -> Self {
        self.config.codec = codec;
        self
    }

    /// Where host functions run, and spawned and detached calls that were made outside a runtime; default: the
    /// runtime in which this builder was made or builds.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.config.runtime = Some(runtime);
        self
    }

    /// Lets guests call an async function of the server's by this name, with `stockade_guest::host_call`.
    ///
    /// The guest waits while the function runs, as a task of [`Self::runtime`]; the call's timeout goes on, and
    /// when the call is stopped the function is dropped at its next await. Meanwhile the call holds no permit,
    /// and its worker does not count against [`Self::workers`], so the function may call back into hosts. A
    /// function that panics ends the call with [`Error::HostFunction`]. A result of the function's own is handed
    /// to the guest like any other value.
    ///
    /// The arguments are a hostile guest's: check them as you would a stranger's request. Where the guest names
    /// other types in its `host_call`, as far as both sides' are known, it is told so and the function does not
    /// run; but a guest may name none, or lie, and then what it sends is decoded as the function's arguments.
    pub fn function<A, F>(mut self, name: impl Into<String>, function: F) -> Self
    where
        F: HostFunction<A>,
        A: DeserializeOwned + Send + 'static,
    {
        self.config.host_functions.add(name.into(), function);
        self
    }

    /// Says that calls of this function, with these types, are to come; may be repeated. A module that lacks
    /// it, or has it with types that differ, is then refused by [`Self::build`] and by [`Host::reload`], with
    /// both signatures, instead of at the first call.
    ///
    /// ```
    /// # use stockade::{Host, Module};
    /// # mod guest { pub fn resize(_: &[u8], _: u32, _: u32) -> Result<Vec<u8>, String> { Ok(Vec::new()) } }
    /// let builder = Host::builder(Module::from_file("guest.wasm"))
    ///     .expects(guest::resize) // The `#[work]` function of the guest crate, as `run_sync` takes it,
    ///     .expects::<_, (u32,), u64>("fib"); // or a name and the types.
    /// ```
    pub fn expects<F, A, R>(mut self, function: F) -> Self
    where
        F: Function<A, R>,
    {
        self.config.expected.push(Expected::new(&function));
        self
    }

    /// Compiles the module, unless the cache has it, and starts the first worker.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting that makes no sense; [`Error::Io`], [`Error::InvalidModule`] and
    /// [`Error::Compile`] are about the module; [`Error::Spawn`] about processes; [`Error::Init`] about the
    /// module's own start code and its `#[init]` function; [`Error::NoSuchFunction`] and [`Error::Signature`]
    /// about what [`Self::expects`] has named; [`Error::Unsupported`] about the system.
    pub async fn build(mut self) -> Result<Host, Error> {
        self.capture_runtime();
        apart(move || self.build_blocking()).await
    }

    /// The same as [`Self::build`], on this thread.
    ///
    /// # Errors
    /// See [`Self::build`].
    pub fn build_blocking(mut self) -> Result<Host, Error> {
        self.capture_runtime();
        assemble::host(&self.module, self.config)
    }

    fn capture_runtime(&mut self) {
        if self.config.runtime.is_none() {
            self.config.runtime = Handle::try_current().ok();
        }
    }

    /// Compiles the module, unless the cache has it, and says what it is. No worker is started, and none of
    /// the module's code runs but for its `#[init]` function, in a sealed process: what that leaves is part
    /// of what is compiled.
    ///
    /// # Errors
    /// As [`Self::build`], but for what is about workers.
    pub async fn inspect(self) -> Result<Inspection, Error> {
        apart(move || self.inspect_blocking()).await
    }

    /// The same as [`Self::inspect`], on this thread.
    ///
    /// # Errors
    /// See [`Self::inspect`].
    pub fn inspect_blocking(self) -> Result<Inspection, Error> {
        assemble::inspect(&self.module, self.config)
    }
}

/// Does what blocks on a thread of its own: reading, waiting for processes and locking files all do, and there
/// may be no runtime.
async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, result) = oneshot::channel();
    let span = Span::current();
    std::thread::Builder::new()
        .name("stockade-build".into())
        .spawn(move || {
            // A caller that went away drops what was made: of a host, that kills its workers.
            let _ = sender.send(span.in_scope(work));
        })?;
    result
        .await
        .unwrap_or_else(|_| Err(std::io::Error::other("building the host panicked").into()))
}
