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

/// From the cache if it is there, else compiled and kept there.
pub(crate) fn obtain(
    supervisor: &Membership,
    order: &Order<'_>,
    cache: &CacheDir,
) -> Result<Artifact, Error> {
    make(supervisor, order, cache, true)
}

/// Compiled, whatever the cache has.
pub(crate) fn renew(
    supervisor: &Membership,
    order: &Order<'_>,
    cache: &CacheDir,
) -> Result<Artifact, Error> {
    make(supervisor, order, cache, false)
}

fn make(
    supervisor: &Membership,
    order: &Order<'_>,
    dir: &CacheDir,
    may_load: bool,
) -> Result<Artifact, Error> {
    let Some(cache) = Cache::open(dir) else {
        return compile::compile(supervisor, order, |_| None);
    };
    let module = blake3::hash(order.module);
    let fingerprint = order.program.fingerprint()?;
    let key = |identity: [u8; 32]| Key::new(&module, identity, order.stop);
    let known = || may_load.then(|| cache.identity_of(fingerprint)).flatten();
    let load = |identity| cache.load(&key(identity));
    if let Some(artifact) = known().and_then(load) {
        return Ok(artifact);
    }
    // Whoever comes second waits here, and finds what the first one made.
    let _lock = cache.lock(&module, order.limits.compile_time);
    if let Some(artifact) = known().and_then(load) {
        return Ok(artifact);
    }
    let mut program = None;
    let mut found = false;
    let artifact = compile::compile(supervisor, order, |identity| {
        program = Some(identity);
        cache.remember(fingerprint, identity);
        let artifact = may_load.then(|| load(identity)).flatten();
        found = artifact.is_some();
        artifact
    })?;
    if let (Some(identity), false) = (program, found) {
        cache.store(&key(identity), &artifact);
    }
    Ok(artifact)
}
