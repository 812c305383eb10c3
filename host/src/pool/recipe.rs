//! What a pool needs to start its processes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use stockade_wire::message::WorkerSetup;
use stockade_wire::role::Role;
use stockade_wire::slot::Geometry;

use crate::process::{Ahead, ForkServer, Process, Program};
use crate::wasi::Directories;

/// What all workers of a pool have in common. Its functions are for the supervisor's thread only.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) program: Arc<Program>,
    pub(crate) artifact: OwnedFd,
    pub(crate) geometry: Geometry,
    /// But for the worker's number.
    pub(crate) setup: WorkerSetup,
    pub(crate) directories: Arc<Directories>,
    /// Whether guests are asked if they have served long enough.
    pub(crate) asks: bool,
    /// The first process, if it has been started already.
    pub(crate) ahead: Mutex<Option<Ahead>>,
}

impl Recipe {
    /// A worker's process, which is to be told what to run.
    pub(super) fn start_worker(&self) -> io::Result<Process> {
        self.start(Role::Worker)
    }

    pub(crate) fn start_fork_server(&self) -> io::Result<ForkServer> {
        let process = self.start(Role::ForkServer)?;
        ForkServer::start(process, &self.setup, self.artifact.as_fd())
    }

    /// The role is the same each time, and that of what was started ahead.
    fn start(&self, role: Role) -> io::Result<Process> {
        let ahead = self
            .ahead
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match ahead.and_then(Ahead::take) {
            Some(process) => Ok(process),
            None => Process::spawn(&self.program, role),
        }
    }
}
