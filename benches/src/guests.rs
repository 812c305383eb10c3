//! The guests, and hosts for them as an ordinary program builds them.

use anyhow::Result;
use stockade::{HostBuilder, Limiter, Module, Retire};
use tokio::runtime::{Builder, Runtime};

pub(crate) const HELLO: &[u8] = stockade::include_guest!("hello");
pub(crate) const PROBE: &[u8] = stockade::include_guest!("probe");
pub(crate) const MARKDOWN: &[u8] = stockade::include_guest!("markdown");
pub(crate) const THUMBNAIL: &[u8] = stockade::include_guest!("thumbnail");
pub(crate) const REGEX: &[u8] = stockade::include_guest!("regex");
pub(crate) const SCRIPT: &[u8] = stockade::include_guest!("script");
pub(crate) const ARCHIVE: &[u8] = stockade::include_guest!("archive");

/// Default settings, but for permits and retirement: each host has permits of its own, so that none waits for
/// another's calls, and workers stay, because ten thousand calls are over in some milliseconds.
pub(crate) fn host(guest: &[u8], workers: usize) -> HostBuilder {
    stockade::Host::builder(Module::from_bytes(guest))
        .workers(workers)
        .limiter(Limiter::new(workers))
        .retire(Retire::never())
}

/// The runtime of a small program.
pub(crate) fn current_thread() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The runtime of `#[tokio::main]`.
pub(crate) fn multi_thread() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}
