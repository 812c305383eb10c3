//! The second wall: what a process of ours gives up before guest code, or a compiler with a hostile module,
//! runs in it.
//!
//! One order, in one place, and it fails closed: a wall that cannot be built is an error that names it, and
//! the process does not go on. The one exception is Landlock, which older kernels lack and which stands
//! behind the filter; its absence is said on the diagnostics pipe.

mod filter;
mod identity;
mod limits;

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::DumpableBehavior;
use stockade_wire::message::Seal;
use stockade_wire::role::Assignment;

use crate::config::InstanceLimits;
use crate::process;
use filter::{Fds, Rule};

pub(crate) use limits::reserve_stack;

/// A wall that could not be built.
#[derive(Debug)]
pub(crate) struct Breach {
    wall: &'static str,
    reason: String,
}

impl Breach {
    fn new(wall: &'static str, reason: impl fmt::Display) -> Self {
        Self {
            wall,
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the wall `{}` could not be built: {}",
            self.wall, self.reason
        )
    }
}

/// Names the wall that an error of the kernel's means.
trait OrBreach<T> {
    fn or_breach(self, wall: &'static str) -> Result<T, Breach>;
}

impl<T, E: fmt::Display> OrBreach<T> for Result<T, E> {
    fn or_breach(self, wall: &'static str) -> Result<T, Breach> {
        self.map_err(|error| Breach::new(wall, error))
    }
}

/// A process that has given up most, and can still load an artifact. [`Self::finish`] takes that too.
#[must_use]
pub(crate) struct Sealing {
    filter: seccompiler::BpfProgram,
    file_bytes_max: u64,
}

impl Sealing {
    /// Begins to seal a worker whose engine has been made.
    pub(crate) fn worker(
        assignment: Assignment,
        limits: InstanceLimits,
        eventfd: BorrowedFd<'_>,
        landlock: Landlock,
    ) -> Result<Self, Breach> {
        let rules = filter::worker(Fds {
            eventfd: eventfd.as_raw_fd(),
            pagemap: filter::pagemap_fd(),
        });
        let ceilings = limits::worker(limits.memory_bytes).or_breach("memory limit")?;
        Self::begin(assignment, &rules, &ceilings, 0, landlock)
    }

    /// Begins to seal a compiler whose engine has been made.
    pub(crate) fn compiler(
        assignment: Assignment,
        cpu_time: Duration,
        artifact: BorrowedFd<'_>,
        landlock: Landlock,
    ) -> Result<Self, Breach> {
        let rules = filter::compiler(artifact.as_raw_fd());
        let ceilings = limits::compiler(cpu_time);
        let file_bytes_max = limits::ARTIFACT_BYTES_MAX;
        Self::begin(assignment, &rules, &ceilings, file_bytes_max, landlock)
    }

    fn begin(
        assignment: Assignment,
        rules: &[Rule],
        ceilings: &[limits::Ceiling],
        file_bytes_max: u64,
        landlock: Landlock,
    ) -> Result<Self, Breach> {
        let filter = filter::compile(rules).or_breach("system call filter")?;
        // A C library may prepare for these with calls that the filter forbids.
        let mut warm = [0; 1];
        crate::wasi::fill_from_system(&mut warm).or_breach("randomness")?;

        identity::leave_root().or_breach("user change")?;
        // A change of user cancels it.
        process::die_with_host(assignment).or_breach("death with the host")?;
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .or_breach("not dumpable")?;
        identity::drop_capabilities().or_breach("no capabilities")?;
        limits::apply(ceilings).or_breach("resource limits")?;
        rustix::thread::set_no_new_privs(true).or_breach("no new privileges")?;
        let enforced = restrict_files().or_breach("landlock")?;
        if !enforced && landlock == Landlock::Required {
            return Err(Breach::new("landlock", "this kernel has none"));
        }
        Ok(Self {
            filter,
            file_bytes_max,
        })
    }

    /// Takes the rest: from here on there is no new descriptor, no file, and nothing new to execute.
    pub(crate) fn finish(self) -> Result<(), Breach> {
        limits::apply(&limits::last(self.file_bytes_max)).or_breach("resource limits")?;
        seccompiler::apply_filter(&self.filter).or_breach("system call filter")
    }
}

/// What a kernel without Landlock means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landlock {
    /// The filter stands alone.
    IfThere,
    /// The process does not start.
    Required,
}

impl Landlock {
    pub(crate) fn of(seal: Seal) -> Self {
        match seal {
            Seal::Strict => Self::Required,
            Seal::Required | Seal::None => Self::IfThere,
        }
    }
}

/// Handles every right that the kernel knows, and grants none. Returns whether it knows any.
fn restrict_files() -> Result<bool, landlock::RulesetError> {
    let newest = ABI::V10;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))?
        .handle_access(AccessNet::from_all(newest))?
        .scope(Scope::from_all(newest))?
        .create()?
        .restrict_self()?;
    let enforced = status.ruleset != RulesetStatus::NotEnforced;
    if !enforced {
        process::complain("this kernel has no Landlock; the system call filter stands alone");
    }
    Ok(enforced)
}
