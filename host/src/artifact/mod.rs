//! The native code of a module: from the cache, or from a compiler process.

mod cache;
mod compile;

use std::sync::Arc;
use std::time::Duration;

use stockade_wire::message::{Seal, StopBy};

use self::cache::{Cache, Key};
use crate::config::CacheDir;
use crate::process::Program;
use crate::supervisor::Membership;
use crate::{Error, Limits};

/// A compiled module. To the host these are bytes and no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// For workers.
    pub(crate) code: Vec<u8>,
    /// A `ModuleInfo` in JSON.
    pub(crate) info: Vec<u8>,
}

/// What is wanted.
pub(crate) struct Order<'a> {
    pub(crate) program: &'a Arc<Program>,
    pub(crate) module: &'a [u8],
    pub(crate) stop: StopBy,
    pub(crate) seal: Seal,
    pub(crate) limits: &'a Limits,
    pub(crate) spawn_timeout: Duration,
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

/// From the cache if it is there, else compiled and kept there.
pub(crate) fn obtain(
    supervisor: &Membership,
    order: &Order<'_>,
    cache: &CacheDir,
) -> Result<(Artifact, Origin), Error> {
    make(supervisor, order, cache, true)
}

/// Compiled, whatever the cache has.
pub(crate) fn renew(
    supervisor: &Membership,
    order: &Order<'_>,
    cache: &CacheDir,
) -> Result<Artifact, Error> {
    let (artifact, _) = make(supervisor, order, cache, false)?;
    Ok(artifact)
}

fn make(
    supervisor: &Membership,
    order: &Order<'_>,
    dir: &CacheDir,
    may_load: bool,
) -> Result<(Artifact, Origin), Error> {
    let Some(cache) = Cache::open(dir) else {
        let artifact = compile::compile(supervisor, order, |_| None)?;
        return Ok((artifact, Origin::Compiler));
    };
    let module = blake3::hash(order.module);
    let fingerprint = order.program.fingerprint()?;
    let key = |identity: [u8; 32]| Key::new(&module, identity, order.stop);
    let known = || may_load.then(|| cache.identity_of(fingerprint)).flatten();
    let load = |identity| cache.load(&key(identity));
    if let Some(artifact) = known().and_then(load) {
        return Ok((artifact, Origin::Cache));
    }
    // Whoever comes second waits here, and finds what the first one made.
    let _lock = cache.lock(&module, order.limits.compile_time);
    if let Some(artifact) = known().and_then(load) {
        return Ok((artifact, Origin::Cache));
    }
    let mut program = None;
    let mut origin = Origin::Compiler;
    let artifact = compile::compile(supervisor, order, |identity| {
        program = Some(identity);
        cache.remember(fingerprint, identity);
        let artifact = may_load.then(|| load(identity)).flatten();
        if artifact.is_some() {
            origin = Origin::Cache;
        }
        artifact
    })?;
    if let (Some(identity), Origin::Compiler) = (program, origin) {
        cache.store(&key(identity), &artifact);
    }
    Ok((artifact, origin))
}
