//! The seal of a fork server, and of the workers that it forks.
//!
//! The server gives up, before it loads the artifact, what its workers never need: a hostile module may have chosen
//! the artifact's bytes. It stays dumpable and may read /proc, because each worker opens its own page map there
//! while it is being forked. What is left is a worker's to give up.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::DumpableBehavior;
use stockade_wire::message::StopBy;
use stockade_wire::namespaces::{Namespace, Namespaces};
use stockade_wire::role::Assignment;
use stockade_wire::sys::death_string;

use super::filter::{self, Fds};
use super::{
    Breach, Landlock, OrBreach, identity, landlock, leave_dumpable, limits, namespaces,
    refuse_new_code,
};
use crate::config::InstanceLimits;
use crate::{pid_one, process, signals};

/// A fork server that has given up most, and can still load an artifact. [`Self::finish`] takes that too.
#[must_use]
pub(crate) struct ForkServer {
    serving: filter::Program,
    landlock: Landlock,
    namespaces: Namespaces,
    usage: limits::Usage,
    /// How much memory it or a worker of it may come to use and to share with the host.
    memory_bytes: u64,
    /// A pipe, by whose end it is seen that of process 1.
    life: (OwnedFd, OwnedFd),
}

impl ForkServer {
    /// Begins to seal a fork server whose engine has been made, and whose host may have so many workers, with slots of
    /// this size.
    pub(crate) fn begin(
        assignment: Assignment,
        limits: InstanceLimits,
        stop: StopBy,
        slot_bytes: u64,
        workers_max: u64,
        landlock: Landlock,
    ) -> Result<Self, Breach> {
        const FILTER: &str = "system call filter";
        let loading = filter::compile(&filter::forking::loading(stop)).or_breach(FILTER)?;
        let serving = filter::compile(&filter::forking::serving(stop)).or_breach(FILTER)?;
        let life = pipe_with(PipeFlags::CLOEXEC).or_breach("pid namespace")?;
        let usage = limits::Usage::open().or_breach("memory limit")?;
        let mut ceilings =
            limits::fork_server(&usage, limits.memory_bytes).or_breach("memory limit")?;
        // A C library may prepare for these with calls that the filter forbids.
        let mut warm = [0; 1];
        crate::wasi::fill_from_system(&mut warm).or_breach("randomness")?;
        signals::name_forbidden_calls().or_breach(FILTER)?;
        let namespaces = namespaces::Making::begin(namespaces::Kind::ForkServer, None);
        identity::leave_root(None).or_breach("user change")?;
        // In a namespace without users it does not know itself who it is.
        let is_alone = identity::is_alone();
        // They bring capabilities, which go with the others.
        let namespaces = namespaces.finish().namespaces;
        // A change of user cancels it.
        process::die_with_host(assignment).or_breach("death with the host")?;
        identity::drop_capabilities().or_breach("no capabilities")?;
        // A change of user takes it.
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
            .or_breach("own page map")?;
        // The processes of a user who has others are those others' business, too: the kernel counts them all.
        ceilings.extend(is_alone.then(|| limits::family(workers_max)));
        limits::apply(&ceilings).or_breach("resource limits")?;
        rustix::thread::set_no_new_privs(true).or_breach("no new privileges")?;
        landlock::restrict_to_proc(landlock)?;
        loading.apply().or_breach(FILTER)?;
        Ok(Self {
            serving,
            landlock,
            namespaces,
            usage,
            memory_bytes: limits::worker_bytes(limits.memory_bytes).saturating_add(slot_bytes),
            life,
        })
    }

    /// Takes the rest: nothing new becomes executable, in the workers neither. Where they have a pid namespace its
    /// first process is started, which lives while the host holds the other end of `string`. What is returned is
    /// readable when that process has ended, or when the host has let go of the string.
    pub(crate) fn finish(self, string: OwnedFd) -> Result<OwnedFd, Breach> {
        limits::limit_files(0).or_breach("resource limits")?;
        let address_space = limits::address_space(self.usage, self.memory_bytes);
        limits::apply(&[address_space.or_breach("memory limit")?]).or_breach("memory limit")?;
        refuse_new_code();
        let life = match self.namespaces.has(Namespace::Pid) {
            true => pid_one::start(string, self.life, self.landlock).or_breach("pid namespace")?,
            false => string,
        };
        self.serving.apply().or_breach("system call filter")?;
        Ok(life)
    }

    /// What workers have to themselves and to each other.
    pub(crate) fn namespaces(&self) -> Namespaces {
        self.namespaces
    }
}

/// Gives up everything but waiting, in the first process of a pid namespace.
pub(crate) fn seal_pid_one(landlock: Landlock) -> Result<(), Breach> {
    let filter = filter::compile(&filter::forking::pid_one()).or_breach("system call filter")?;
    leave_dumpable().or_breach("not dumpable")?;
    limits::apply(&limits::forked()).or_breach("resource limits")?;
    landlock::restrict(landlock, &[])?;
    limits::apply(&limits::last(0, 0)).or_breach("resource limits")?;
    filter.apply().or_breach("system call filter")
}

/// The system call filter of workers that a server forks, which makes it once for all of them.
///
/// Their page map has the number that the server's has: Wasmtime puts it there when it is forked.
pub(crate) struct ForkedFilter {
    program: filter::Program,
    eventfd: RawFd,
}

impl ForkedFilter {
    /// For workers whose doorbell has this number.
    pub(crate) fn new(
        stop: StopBy,
        eventfd: RawFd,
        pagemap: Option<RawFd>,
    ) -> Result<Self, Breach> {
        let rules = filter::forked_worker(Fds { eventfd, pagemap }, stop);
        let program = filter::compile(&rules).or_breach("system call filter")?;
        Ok(Self { program, eventfd })
    }

    /// Whether it is for workers whose doorbell has this number.
    pub(crate) fn fits(&self, eventfd: RawFd) -> bool {
        self.eventfd == eventfd
    }
}

/// Gives up, in a worker that was just forked from a sealed server, all that a spawned one has given up when its
/// guest runs, and ties it to its host: the kernel's death signal would name the server.
pub(crate) fn seal_forked(
    string: BorrowedFd<'_>,
    mut filter: ForkedFilter,
    landlock: Landlock,
) -> Result<(), Breach> {
    filter.program.of_this_process();
    leave_dumpable().or_breach("not dumpable")?;
    limits::apply(&limits::forked()).or_breach("resource limits")?;
    landlock::restrict(landlock, &[])?;
    death_string::die_with(string).or_breach("death with the host")?;
    limits::apply(&limits::last(0, 0)).or_breach("resource limits")?;
    filter.program.apply().or_breach("system call filter")
}
