//! The walls of a fork server, and of a worker that it forks.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use stockade_wire::message::StopBy;
use stockade_wire::role::{Assignment, Role};

use super::super::{ForkServer, ForkedFilter, Landlock, seal_forked};
use super::{LIMITS, ready_to_run};
use crate::{page_map, signals};

/// How large their slots are, and how many workers the host of the proof may have.
const SLOT_BYTES: u64 = 128 << 20;
const WORKERS: u64 = 2;

/// A sealed fork server, which the calling process is, or was when it forked this one.
#[derive(Debug)]
pub struct Server {
    pagemap: Option<RawFd>,
}

/// After [`super::begin`]: gives up what a fork server gives up, in its order, up to the moment in which it takes orders.
///
/// # Errors
/// When a wall cannot be built.
pub fn seal_server(host: u32) -> Result<Server, String> {
    ready_to_run()?;
    let pagemap = page_map::open();
    let deaths = signals::deaths_of_children().map_err(|error| error.to_string())?;
    // A server keeps it.
    std::mem::forget(deaths);
    // The host of the proof holds it as long as this process lives.
    let pair = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    );
    let (ours, theirs) = pair.map_err(|error| error.to_string())?;
    std::mem::forget(ours);
    let assignment = Assignment {
        role: Role::ForkServer,
        host,
    };
    ForkServer::begin(
        assignment,
        LIMITS,
        StopBy::Epoch,
        SLOT_BYTES,
        WORKERS,
        Landlock::Required,
    )
    .and_then(|sealing| {
        wasmtime::Engine::tls_eager_initialize();
        sealing.finish(theirs)
    })
    // A server keeps it, too.
    .map(std::mem::forget)
    .map_err(|breach| breach.to_string())?;
    Ok(Server { pagemap })
}

impl Server {
    /// In a fork of that process: gives up the rest, as a worker does.
    ///
    /// # Errors
    /// When a wall cannot be built.
    pub fn seal_forked(
        &self,
        string: BorrowedFd<'_>,
        eventfd: BorrowedFd<'_>,
    ) -> Result<(), String> {
        signals::unblock_all().map_err(|error| error.to_string())?;
        ForkedFilter::new(StopBy::Epoch, eventfd.as_raw_fd(), self.pagemap)
            .and_then(|filter| seal_forked(string, filter, Landlock::Required))
            .map_err(|breach| breach.to_string())
    }
}
