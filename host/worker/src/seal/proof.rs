//! The seal, for programs that attack it: each wall by itself, and all of them as workers and compilers have
//! them.
//!
//! With one wall alone no other one can hide its loss. Everything here calls what seals a process of ours, in
//! the place where a worker would: nothing is built for the proof. No process of ours comes here.

pub mod forks;
pub mod granted;
pub mod later;

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use stockade_wire::message::StopBy;
use stockade_wire::namespaces::{Namespace, Outcome};
use stockade_wire::role::{Assignment, Role};

use super::{Begun, Fds, Landlock, Sealing, filter, identity, landlock, limits, namespaces};
use crate::config::InstanceLimits;
use crate::guest::Runtime;
use crate::{page_map, process, signals};

/// What the worker of a proof may use.
const LIMITS: InstanceLimits = InstanceLimits {
    memory_bytes: 64 << 20,
    tables: 0,
    table_elements: 0,
    stack_bytes: 512 << 10,
};

/// One wall of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wall {
    /// No descriptor of whoever started the process.
    Descriptors,
    /// No environment.
    Environment,
    /// Death with whoever started the process.
    DeathString,
    /// A user of its own, if it was root.
    OwnUser,
    /// Nobody of its user may look into it.
    NotDumpable,
    /// No capabilities.
    NoCapabilities,
    /// Resource limits.
    ResourceLimits,
    /// No privileges by executing a program.
    NoNewPrivileges,
    /// Landlock.
    Landlock,
    /// The kernel's own refusal to make memory executable.
    NoNewCode,
    /// The system call filter of a worker.
    SystemCallFilter,
    /// Every namespace that a host's first spawned worker makes.
    Namespaces,
}

impl Wall {
    /// Builds this wall around the calling process, which `host` started, and no other.
    ///
    /// # Errors
    /// When it cannot be built here.
    pub fn build(self, host: u32, eventfd: BorrowedFd<'_>) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| format!("{self:?}: {error}");
        match self {
            Self::Descriptors => process::close_inherited().map_err(|e| text(&e)),
            Self::Environment => {
                process::clear_environment();
                Ok(())
            }
            Self::DeathString => process::die_with_host(worker_of(host)).map_err(|e| text(&e)),
            Self::OwnUser => identity::leave_root(None).map_err(|e| text(&e)),
            Self::NotDumpable => super::leave_dumpable().map_err(|e| text(&e)),
            Self::NoCapabilities => identity::drop_capabilities().map_err(|e| text(&e)),
            Self::ResourceLimits => {
                let usage = limits::Usage::open().map_err(|e| text(&e))?;
                let bytes = limits::worker_bytes(LIMITS.memory_bytes);
                let data = limits::data(&usage, LIMITS.memory_bytes);
                limits::apply(&limits::worker())?;
                limits::apply(&[data.map_err(|e| text(&e))?])?;
                let address_space = limits::address_space(usage, bytes);
                limits::apply(&[address_space.map_err(|e| text(&e))?])?;
                limits::apply(&limits::last(0, 0))
            }
            Self::NoNewPrivileges => rustix::thread::set_no_new_privs(true).map_err(|e| text(&e)),
            Self::Landlock => match landlock::enforce(&[]) {
                Ok(true) => Ok(()),
                Ok(false) => Err(text(&"this kernel has none")),
                Err(error) => Err(text(&error)),
            },
            Self::NoNewCode => match super::refuse_new_code() {
                true => Ok(()),
                false => Err(text(&"this kernel has none")),
            },
            Self::SystemCallFilter => {
                let fds = Fds {
                    eventfd: eventfd.as_raw_fd(),
                    pagemap: None,
                };
                let rules = filter::worker(fds, StopBy::Epoch, false);
                let filter = filter::compile(&rules).map_err(|e| text(&e))?;
                filter.apply().map_err(|e| text(&e))
            }
            Self::Namespaces => {
                let made = namespaces::Making::begin(namespaces::Kind::Alone, None).finish();
                let made = made.namespaces;
                let mut all = Namespace::ALL.into_iter();
                match all.find(|one| matches!(made.of(*one), Outcome::Refused(_))) {
                    None => Ok(()),
                    Some(refused) => Err(text(&format_args!("{refused:?} is refused"))),
                }
            }
        }
    }
}

fn worker_of(host: u32) -> Assignment {
    Assignment {
        role: Role::Worker,
        host,
    }
}

/// What a worker's list of system calls names.
fn fds(eventfd: BorrowedFd<'_>) -> Fds {
    Fds {
        eventfd: eventfd.as_raw_fd(),
        pagemap: page_map::open(),
    }
}

/// Sets Wasmtime up, as is done before an artifact is loaded.
fn ready_to_run() -> Result<(), String> {
    let runtime = Runtime::new(StopBy::Epoch, LIMITS).map_err(|error| format!("{error:#}"))?;
    signals::stop_with(StopBy::Epoch, runtime.engine()).map_err(|error| error.to_string())?;
    // Dropping it would unmap what a worker keeps.
    std::mem::forget(runtime);
    Ok(())
}

/// The first steps of a worker that `host` started. Descriptors from 3 on are closed. Ends the process when
/// that fails.
pub fn begin(host: u32) {
    process::begin(worker_of(host));
}

/// After [`begin`]: gives up what a worker gives up, in its order, up to the moment in which guest code runs.
///
/// # Errors
/// When a wall cannot be built.
pub fn seal_worker(host: u32, eventfd: BorrowedFd<'_>) -> Result<(), String> {
    let landlock = Landlock::Required;
    let begun = Sealing::worker(
        worker_of(host),
        LIMITS,
        StopBy::Epoch,
        fds(eventfd),
        None,
        landlock,
        None,
    );
    finish_worker(begun.map_err(|breach| breach.to_string())?, |_| Ok(()))
}

/// Makes an engine, looks at what has been given up, loads nothing, and gives up the rest.
fn finish_worker(
    begun: Begun,
    look: impl FnOnce(&mut Sealing) -> Result<(), String>,
) -> Result<(), String> {
    ready_to_run()?;
    let mut sealing = begun.with_engine().map_err(|breach| breach.to_string())?;
    look(&mut sealing)?;
    wasmtime::Engine::tls_eager_initialize();
    sealing.finish().map_err(|breach| breach.to_string())
}

/// After [`begin`]: gives up what a compiler gives up before it looks at its module.
///
/// # Errors
/// When a wall cannot be built.
pub fn seal_compiler(host: u32, artifact: BorrowedFd<'_>) -> Result<(), String> {
    let assignment = Assignment {
        role: Role::Compiler,
        host,
    };
    let time = Duration::from_secs(60);
    Sealing::compiler(assignment, time, artifact, Landlock::Required)
        .and_then(Sealing::finish)
        .map_err(|breach| breach.to_string())
}

/// After [`begin`]: gives up what a process gives up that runs a module's initialisation, up to the moment in which that
/// runs.
///
/// # Errors
/// When a wall cannot be built.
pub fn seal_initializer(host: u32, dump: BorrowedFd<'_>) -> Result<(), String> {
    ready_to_run()?;
    let assignment = Assignment {
        role: Role::Init,
        host,
    };
    let begun = Sealing::initializer(assignment, LIMITS, dump, 1 << 20, Landlock::Required);
    wasmtime::Engine::tls_eager_initialize();
    begun
        .and_then(Begun::with_engine)
        .and_then(Sealing::finish)
        .map_err(|breach| breach.to_string())
}
