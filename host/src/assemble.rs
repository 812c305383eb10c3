//! From a module and settings to a host with its first worker.

use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use stockade_wire::message::{InstanceState, Seal, StopBy, WorkerSetup};
use stockade_wire::module_info::ModuleInfo;
use stockade_wire::namespaces::Handed;
use stockade_wire::role::Role;
use stockade_wire::slot::Geometry;
use stockade_wire::sys::memfd;

use crate::artifact::{self, Artifact, Order};
use crate::config::Config;
use crate::error::Shown;
use crate::functions::Functions;
use crate::hold::Shared;
use crate::limits::{Hardening, Interrupt, State, WorkerType};
use crate::pool::{Counters, Pool, Recipe, StartError};
use crate::process::{Ahead, Program};
use crate::service::Service;
use crate::supervisor::Membership;
use crate::trials::Probe;
use crate::wasi::Directories;
use crate::{Error, Host, Inspection, Module, park};

/// Builds a host on this thread.
pub(crate) fn host(module: &Module, config: Config) -> Result<Host, Error> {
    let shared = build(module, &config, None).map_err(|error| module.blamed(error))?;
    Ok(Host::from_service(Service::new(shared)))
}

/// Builds a pool for another module of the host that has this one, on this thread.
pub(crate) fn successor(module: &Module, of: &Pool) -> Result<Arc<Shared>, Error> {
    build(module, &of.config, Some(of.counters())).map_err(|error| module.blamed(error))
}

/// Compiles a module on this thread. It runs nothing of it, but for what is to be run once.
pub(crate) fn inspect(module: &Module, config: Config) -> Result<Inspection, Error> {
    let parts = Parts::gather(module, &config).map_err(|error| module.blamed(error))?;
    let begun = Instant::now();
    let (made, origin, _) = artifact::obtain(
        &Membership::enter()?,
        &parts.order(&config),
        &config.cache,
        || {},
    )
    .map_err(|error| module.blamed(error))?;
    let info = described(&made).map_err(|reason| Error::Compile { reason })?;
    Ok(Inspection::new(
        info,
        parts.module.len(),
        made.code.len(),
        origin,
        begun.elapsed(),
    ))
}

/// What is needed to compile a module and to start its workers.
struct Parts {
    setup: WorkerSetup,
    directories: Arc<Directories>,
    program: Arc<Program>,
    module: Arc<Vec<u8>>,
}

impl Parts {
    fn gather(module: &Module, config: &Config) -> Result<Self, Error> {
        if !cfg!(all(
            target_os = "linux",
            any(target_arch = "x86_64", target_arch = "aarch64")
        )) {
            return Err(Error::Unsupported {
                os: std::env::consts::OS,
                arch: std::env::consts::ARCH,
            });
        }
        config.check()?;
        let setup = setup(config)?;
        let directories = Arc::new(config.wasi.directories()?);
        let program = Arc::new(Program::find(config.worker_program.as_deref())?);
        let module = module.read(config.limits.module_bytes)?;
        if config.hardening == Hardening::Insecure {
            warn_once();
        }
        Ok(Self {
            setup,
            directories,
            program,
            module,
        })
    }

    fn order<'a>(&'a self, config: &'a Config) -> Order<'a> {
        Order {
            program: &self.program,
            module: &self.module,
            stop: self.setup.stop,
            seal: self.setup.seal,
            limits: &config.limits,
            spawn_timeout: config.spawn_timeout,
            hardening: config.hardening,
            required: &config.required,
            init: artifact::init_setup(&self.setup),
        }
    }
}

/// With the counters of the host that it is for, if there is one already.
fn build(
    module: &Module,
    config: &Config,
    counters: Option<Counters>,
) -> Result<Arc<Shared>, Error> {
    let parts = Parts::gather(module, config)?;
    // While the module is compiled and its first worker starts.
    let prober = Membership::enter()?;
    let probe = match config.hardening {
        Hardening::Insecure => None,
        _ => Some(Probe::begin(&prober, &parts.program, config.spawn_timeout)?),
    };
    let built = build_unprobed(&parts, config, counters);
    let Some(probe) = probe else { return built };
    // Even where there is no host: what a probe has started must not be left to whoever adopts it.
    let trials = probe.finish(&parts.program);
    let (shared, trials) = (built?, trials?);
    match shared.pool.add_trials(trials) {
        Ok(()) => Ok(shared),
        Err(breach) => Err(Error::Spawn {
            reason: format!("{}: {breach}", parts.program.shown()),
        }),
    }
}

/// A pool with a worker, about whose program nothing has been found out yet.
fn build_unprobed(
    parts: &Parts,
    config: &Config,
    counters: Option<Counters>,
) -> Result<Arc<Shared>, Error> {
    let order = parts.order(config);
    let supervisor = Membership::enter()?;
    let role = match config.worker_type {
        WorkerType::Spawn => Role::Worker,
        WorkerType::ForkServer => Role::ForkServer,
    };
    // It loads its program while this process reads the artifact.
    let begin = || supervisor.spawn_ahead(&parts.program, role);
    let (made, _, ahead) = artifact::obtain(&supervisor, &order, &config.cache, begin)?;
    match start(config, supervisor, parts, &made, counters.clone(), ahead) {
        Err(StartError::Artifact(reason)) => {
            // The worker program is the judge of what it can load.
            tracing::warn!(target: "stockade", reason = %Shown(&reason), "a cached artifact was refused; compiling again");
            let supervisor = Membership::enter()?;
            let made = artifact::renew(&supervisor, &order, &config.cache)?;
            Ok(start(config, supervisor, parts, &made, counters, None)?)
        }
        other => Ok(other?),
    }
}

fn described(made: &Artifact) -> Result<ModuleInfo, String> {
    serde_json::from_slice(&made.info)
        .map_err(|error| format!("its description does not decode: {error}"))
}

/// A pool with one worker that is ready.
fn start(
    config: &Config,
    supervisor: Membership,
    parts: &Parts,
    made: &Artifact,
    counters: Option<Counters>,
    ahead: Option<Ahead>,
) -> Result<Arc<Shared>, StartError> {
    let info = described(made).map_err(StartError::Artifact)?;
    let functions = Functions::new(&info);
    functions
        .check(&config.expected)
        .map_err(StartError::Error)?;
    let recipe = Recipe {
        program: Arc::clone(&parts.program),
        artifact: memfd::sealed("stockade-artifact", &made.code)
            .map_err(|e| StartError::Error(e.into()))?,
        geometry: parts.setup.geometry,
        setup: WorkerSetup {
            tables: info.tables,
            largest_table: info.largest_table,
            ..parts.setup.clone()
        },
        directories: Arc::clone(&parts.directories),
        asks: info.retire && config.state == State::Keep,
        ahead: Mutex::new(ahead),
    };
    let pool = Pool::new(
        config.clone(),
        functions,
        supervisor,
        recipe,
        counters.clone().unwrap_or_else(Counters::new),
        counters.is_some(),
    );
    let shared = Arc::new(Shared {
        pool: Arc::clone(&pool),
    });
    let mut place = match pool.acquire() {
        Ok(_lease) => return Ok(shared),
        Err(place) => place,
    };
    let first = park::block_on(std::future::poll_fn(|cx| place.poll(cx)))?;
    drop(first);
    pool.keep_min_workers();
    Ok(shared)
}

/// The host ends idle workers in time, and tells others to stay. By themselves they end when it does not get to
/// run, which on a loaded machine may be for a while.
const HOST_SLACK: Duration = Duration::from_secs(5);

fn setup(config: &Config) -> Result<WorkerSetup, Error> {
    let limits = &config.limits;
    let geometry = Geometry::new(limits.payload_bytes, limits.output_bytes).ok_or_else(|| {
        Error::config(
            "limits",
            "a payload or an output does not fit a 32-bit guest",
        )
    })?;
    Ok(WorkerSetup {
        worker: 0,
        geometry,
        stop: match config.interrupt {
            Interrupt::Epoch => StopBy::Epoch,
            Interrupt::Signal => StopBy::Signal,
            Interrupt::KillOnly => StopBy::Kill,
        },
        state: match config.state {
            State::Fresh => InstanceState::Fresh,
            State::Keep => InstanceState::Keep,
        },
        memory_bytes: limits.memory_bytes as u64,
        // Known when the module is.
        tables: 0,
        largest_table: None,
        table_elements: limits.table_elements as u64,
        stack_bytes: limits.stack_bytes as u64,
        idle_timeout: config
            .idle_timeout
            .checked_mul(2)
            .and_then(|twice| twice.checked_add(HOST_SLACK)),
        workers_max: config.workers as u64,
        wasi: config.wasi.setup(limits.file_bytes)?,
        seal: match config.hardening {
            Hardening::Default => Seal::Required,
            Hardening::Strict => Seal::Strict,
            Hardening::Insecure => Seal::None,
        },
        enter: Handed::default(),
    })
}

fn warn_once() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            target: "stockade",
            "workers run with `Hardening::Insecure`: a guest that escapes WebAssembly has this process's rights"
        );
    });
}
