//! The native code of a module: from the cache, or from a compiler process.

mod cache;
mod compile;
mod init;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stockade_wire::message::{InitSetup, Seal, StopBy, WasiSetup, WorkerSetup};

use self::cache::{Cache, Key};
use self::compile::Made;
use crate::config::CacheDir;
use crate::limits::Hardening;
use crate::process::Program;
use crate::supervisor::Membership;
use crate::{Error, Limits, Wall};

/// A compiled module. To the host these are bytes and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// For workers.
    pub(crate) code: Bytes,
    /// A `ModuleInfo` in JSON.
    pub(crate) info: Bytes,
}

impl Artifact {
    /// In the cache, in an artifact's place: the module wants to have something run once, so what it becomes
    /// depends on more.
    fn note() -> Self {
        Self {
            code: Bytes::new(),
            info: Bytes::new(),
        }
    }

    fn is_note(&self) -> bool {
        self.code.is_empty()
    }
}

/// What is wanted.
pub(crate) struct Order<'a> {
    pub(crate) program: &'a Arc<Program>,
    pub(crate) module: &'a [u8],
    pub(crate) stop: StopBy,
    pub(crate) seal: Seal,
    pub(crate) limits: &'a Limits,
    pub(crate) spawn_timeout: Duration,
    pub(crate) hardening: Hardening,
    /// Walls that are required by name.
    pub(crate) required: &'a [Wall],
    /// For the process that runs what the module wants to have run once, if it does.
    pub(crate) init: InitSetup,
}

/// What the initialisation of a module sees of the settings of its workers.
pub(crate) fn init_setup(workers: &WorkerSetup) -> InitSetup {
    InitSetup {
        stop: workers.stop,
        memory_bytes: workers.memory_bytes,
        table_elements: workers.table_elements,
        stack_bytes: workers.stack_bytes,
        wasi: WasiSetup {
            clock: workers.wasi.clock,
            random_seed: workers.wasi.random_seed,
            ..WasiSetup::default()
        },
        dump_bytes_max: init::DUMP_BYTES_MAX,
        seal: workers.seal,
    }
}

impl Order<'_> {
    fn cannot_start(&self, why: impl std::fmt::Display) -> Error {
        Error::Spawn {
            reason: format!("{}: {why}", self.program.shown()),
        }
    }
}

/// Where an artifact came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Cache,
    Compiler,
}

/// Reads a file of the cache, for fuzzers.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzzed(bytes: &[u8]) {
    cache::fuzzed(bytes);
}

/// From the cache if it is there, else compiled and kept there. What `meanwhile` begins is begun before the cache is read,
/// if it seems to have it, and given up if it has not.
pub(crate) fn obtain<T>(
    supervisor: &Membership,
    order: &Order<'_>,
    cache: &CacheDir,
    meanwhile: impl FnOnce() -> T,
) -> Result<(Artifact, Origin, Option<T>), Error> {
    make(supervisor, order, cache, true, meanwhile)
}

/// Compiled, whatever the cache has.
pub(crate) fn renew(
    supervisor: &Membership,
    order: &Order<'_>,
    cache: &CacheDir,
) -> Result<Artifact, Error> {
    let (artifact, ..) = make(supervisor, order, cache, false, || {})?;
    Ok(artifact)
}

fn make<T>(
    supervisor: &Membership,
    order: &Order<'_>,
    dir: &CacheDir,
    may_load: bool,
    meanwhile: impl FnOnce() -> T,
) -> Result<(Artifact, Origin, Option<T>), Error> {
    let Some(cache) = Cache::open(dir) else {
        let made = compile::compile(supervisor, order, |_| None)?;
        return Ok((made.artifact, Origin::Compiler, None));
    };
    let module = blake3::hash(order.module);
    let fingerprint = order.program.fingerprint()?;
    let key = |identity: [u8; 32]| Key::new(&module, identity, order.stop);
    let known = || may_load.then(|| cache.identity_of(fingerprint)).flatten();
    let init_key = |identity: [u8; 32]| key(identity).with(&order.init);
    let load = |identity| match cache.load(&key(identity))? {
        found if found.is_note() => cache.load(&init_key(identity)),
        found => Some(found),
    };
    if let Some(identity) = known() {
        let begun = cache.has(&key(identity)).then(meanwhile);
        if let Some(artifact) = load(identity) {
            return Ok((artifact, Origin::Cache, begun));
        }
    }
    // Whoever comes second waits here, and finds what the first one made.
    let at_most = order.limits.compile_time.saturating_mul(2);
    let at_most = at_most.saturating_add(order.limits.init_time);
    let _lock = cache.lock(&module, at_most);
    if let Some(artifact) = known().and_then(load) {
        return Ok((artifact, Origin::Cache, None));
    }
    let mut program = None;
    let mut origin = Origin::Compiler;
    let made = compile::compile(supervisor, order, |identity| {
        program = Some(identity);
        cache.remember(fingerprint, identity);
        let artifact = may_load.then(|| load(identity)).flatten();
        if artifact.is_some() {
            origin = Origin::Cache;
        }
        artifact
    })?;
    let Made { artifact, init_ran } = made;
    match program {
        Some(identity) if init_ran => {
            cache.store(&init_key(identity), &artifact);
            cache.store(&key(identity), &Artifact::note());
        }
        Some(identity) if origin == Origin::Compiler => cache.store(&key(identity), &artifact),
        _ => {}
    }
    Ok((artifact, origin, None))
}
