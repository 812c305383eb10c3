//! The second wall: what a process of ours gives up before guest code, or a compiler with a hostile module,
//! runs in it.
//!
//! One order, in one place, and it fails closed: a wall that cannot be built is an error that names it, and
//! the process does not go on. Exceptions are what many machines do not grant and what stands behind the filter:
//! namespaces, of which the host is told, and Landlock, whose absence is said on the diagnostics pipe. Where files
//! are granted the filter admits their calls, and Landlock alone keeps them to what was granted: there it is no
//! exception.

#![expect(
    unsafe_code,
    reason = "one option of prctl(2) that no crate of ours has"
)]

mod filter;
mod forking;
pub(crate) mod identity;
mod landlock;
mod limits;
mod namespaces;
pub mod proof;

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::process::DumpableBehavior;
use stockade_wire::message::{FILES_END, StopBy};
use stockade_wire::namespaces::Namespaces;
use stockade_wire::role::Assignment;

use crate::config::InstanceLimits;
use crate::wasi::Directory;
use crate::{process, signals};
use filter::Rule;

pub(crate) use filter::Fds;
pub(crate) use forking::{ForkServer, ForkedFilter, seal_forked, seal_pid_one};
pub(crate) use landlock::Landlock;
pub(crate) use limits::{limit_files, reserve_stack};
pub(crate) use namespaces::Surroundings;

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

/// What a worker keeps of the file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files<'a> {
    pub(crate) directories: &'a [Directory],
    pub(crate) owner: Option<(u32, u32)>,
    pub(crate) bytes_max: u64,
}

/// A process that has given up most and will run a guest. Its engine has been made already, or is to be made next.
#[must_use]
pub(crate) struct Begun {
    sealing: Sealing,
    /// The memory of the guest.
    bytes: u64,
}

/// A process that has given up most, and can still load an artifact. [`Self::finish`] takes that too.
#[must_use]
pub(crate) struct Sealing {
    /// In the order in which they are put up: the last one forbids to put up another.
    filters: Vec<filter::Program>,
    usage: limits::Usage,
    /// How much memory it may come to use.
    memory_bytes: u64,
    file_bytes_max: u64,
    has_files: bool,
    made: namespaces::Made,
}

/// What tells one role's process from another's.
struct Needs<'a> {
    rules: &'a [Rule],
    ceilings: &'a [limits::Ceiling],
    /// How much memory it may come to use.
    memory_bytes: u64,
    /// The longest file that it may write.
    file_bytes_max: u64,
    files: Option<Files<'a>>,
    /// Of a worker: what its host keeps for it.
    surroundings: Option<Surroundings>,
}

impl Begun {
    /// Its engine has been made, and its memory is limited from here on: before it loads an artifact, whose bytes a
    /// hostile module may have chosen.
    pub(crate) fn with_engine(self) -> Result<Sealing, Breach> {
        let Self { sealing, bytes } = self;
        let ceiling = limits::data(&sealing.usage, bytes).or_breach("memory limit")?;
        limits::apply(&[ceiling]).or_breach("memory limit")?;
        Ok(sealing)
    }
}

impl Sealing {
    /// Begins to seal a worker. Its engine is to be made next: that looks for files by which the machine limits CPUs, four
    /// times, and a process without files is spared that.
    pub(crate) fn worker(
        assignment: Assignment,
        limits: InstanceLimits,
        stop: StopBy,
        fds: Fds,
        files: Option<Files<'_>>,
        landlock: Landlock,
        surroundings: Option<Surroundings>,
    ) -> Result<Begun, Breach> {
        let needs = Needs {
            rules: &filter::worker(fds, stop, files.is_some()),
            ceilings: &limits::worker(),
            memory_bytes: limits::worker_bytes(limits.memory_bytes),
            file_bytes_max: files.map_or(0, |files| files.bytes_max),
            files,
            surroundings,
        };
        Ok(Begun {
            sealing: Self::begin(assignment, needs, landlock)?,
            bytes: limits.memory_bytes,
        })
    }

    /// Begins to seal a compiler whose engine has been made.
    pub(crate) fn compiler(
        assignment: Assignment,
        cpu_time: Duration,
        artifact: BorrowedFd<'_>,
        landlock: Landlock,
    ) -> Result<Self, Breach> {
        let needs = Needs {
            rules: &filter::compiler(artifact.as_raw_fd()),
            ceilings: &limits::compiler(cpu_time),
            memory_bytes: limits::COMPILER_BYTES,
            file_bytes_max: limits::ARTIFACT_BYTES_MAX,
            files: None,
            surroundings: None,
        };
        Self::begin(assignment, needs, landlock)
    }

    /// Begins to seal a process that runs a module's initialisation, and whose engine has been made.
    pub(crate) fn initializer(
        assignment: Assignment,
        limits: InstanceLimits,
        dump: BorrowedFd<'_>,
        dump_bytes_max: u64,
        landlock: Landlock,
    ) -> Result<Begun, Breach> {
        let needs = Needs {
            rules: &filter::initializer(dump.as_raw_fd()),
            ceilings: &limits::worker(),
            memory_bytes: limits::worker_bytes(limits.memory_bytes),
            file_bytes_max: dump_bytes_max,
            files: None,
            surroundings: None,
        };
        Ok(Begun {
            sealing: Self::begin(assignment, needs, landlock)?,
            bytes: limits.memory_bytes,
        })
    }

    fn begin(assignment: Assignment, needs: Needs<'_>, landlock: Landlock) -> Result<Self, Breach> {
        let usage = limits::Usage::open().or_breach("memory limit")?;
        let mut filters = Vec::new();
        if needs.files.is_some() {
            filters.push(filter::files::refusals().or_breach("system call filter")?);
        }
        filters.push(filter::compile(needs.rules).or_breach("system call filter")?);
        // A C library may prepare for these with calls that the filter forbids.
        let mut warm = [0; 1];
        crate::wasi::fill_from_system(&mut warm).or_breach("randomness")?;

        signals::name_forbidden_calls().or_breach("system call filter")?;

        let kind = match needs.files {
            None => namespaces::Kind::Alone,
            Some(_) => namespaces::Kind::WithFiles,
        };
        let namespaces = namespaces::Making::begin(kind, needs.surroundings);
        identity::leave_root(needs.files.and_then(|files| files.owner)).or_breach("user change")?;
        // They bring capabilities, which go with the others.
        let made = namespaces.finish();
        if made.is_astray {
            let reason = "it entered mounts, and may not go to an empty root directory there";
            return Err(Breach::new("mount namespace", reason));
        }
        // A change of user cancels it.
        process::die_with_host(assignment).or_breach("death with the host")?;
        leave_dumpable().or_breach("not dumpable")?;
        identity::drop_capabilities().or_breach("no capabilities")?;
        limits::apply(needs.ceilings).or_breach("resource limits")?;
        rustix::thread::set_no_new_privs(true).or_breach("no new privileges")?;
        let granted = needs.files.map_or(&[][..], |files| files.directories);
        landlock::restrict(landlock, granted)?;
        Ok(Self {
            filters,
            usage,
            memory_bytes: needs.memory_bytes,
            file_bytes_max: needs.file_bytes_max,
            has_files: needs.files.is_some(),
            made,
        })
    }

    /// What the process shares with no other program.
    pub(crate) fn namespaces(&self) -> Namespaces {
        self.made.namespaces
    }

    /// What of that is for the host's later workers, once.
    pub(crate) fn hand_over(&mut self) -> Option<Surroundings> {
        self.made.handed.take()
    }

    /// Takes the rest: from here on there is no new descriptor and no file but in what was granted, and nothing
    /// new to execute.
    pub(crate) fn finish(self) -> Result<(), Breach> {
        // The filter lets nobody close them.
        drop(self.made);
        let address_space = limits::address_space(self.usage, self.memory_bytes);
        limits::apply(&[address_space.or_breach("memory limit")?]).or_breach("memory limit")?;
        let mut descriptors_end = 0;
        if self.has_files {
            filter::files::occupy_own_descriptors().or_breach("own descriptors")?;
            descriptors_end = FILES_END;
        }
        limits::apply(&limits::last(self.file_bytes_max, descriptors_end))
            .or_breach("resource limits")?;
        refuse_new_code();
        for filter in &self.filters {
            filter.apply().or_breach("system call filter")?;
        }
        Ok(())
    }
}

/// Lets no other process of this user look into this one.
fn leave_dumpable() -> rustix::io::Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Has the kernel itself refuse to make memory executable that was not. It stands behind the filter, where it
/// leaves some ways open: code that is made writable, and files. Kernels before 6.3 have no such thing.
fn refuse_new_code() -> bool {
    /// `PR_SET_MDWE` and `PR_MDWE_REFUSE_EXEC_GAIN`.
    const REFUSE_EXEC_GAIN: (libc::c_int, libc::c_ulong) = (65, 1);
    let (option, how) = REFUSE_EXEC_GAIN;
    let none: libc::c_ulong = 0;
    // SAFETY: it takes numbers, and changes nothing but what later system calls are answered.
    unsafe { libc::prctl(option, how, none, none, none) == 0 }
}
