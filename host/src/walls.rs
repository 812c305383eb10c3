//! What is really in force around a worker, as the kernel says.
//!
//! A worker builds its own walls, and a worker that was taken over would say that it had. So what can be read
//! about a process from outside is read by the host, for every worker, before that gets its first call.

mod descriptors;
mod kernel;
mod namespaces;

pub(crate) use namespaces::ShownNamespaces;

use std::fmt;
use std::path::{Path, PathBuf};

use stockade_wire::namespaces::{Namespace, Namespaces};

use self::kernel::Kernel;
use crate::advice::Machine;
use crate::limits::Hardening;
use crate::trials::Trials;
use crate::wasi::Directories;

/// One layer of isolation around a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Wall {
    /// It can gain no privileges by executing a program.
    NoNewPrivileges,
    /// A list of the few system calls that it may make; any other ends it.
    SystemCallFilter,
    /// It has no capabilities.
    NoCapabilities,
    /// No core dumps, no new processes, no new descriptors (with granted directories: 256 for files).
    ResourceLimits,
    /// Other processes of its user cannot look into it.
    NotDumpable,
    /// It has one thread.
    OneThread,
    /// It has no descriptor but its own.
    Descriptors,
    /// Nothing of the application's environment is left.
    Environment,
    /// It dies with its host.
    DeathString,
    /// Before a second instance serves, it proves that dropping the first one has reset its memory.
    ResetProof,
    /// Landlock: no file but in granted directories, no TCP, no signal to others.
    Landlock,
    /// It runs as a user of its own. Not with directories that guests may write: it runs as their owner.
    OwnUser,
    /// Its own view of users. This and the other namespaces it may have in common with other workers of its host, and
    /// with nothing else.
    UserNamespace,
    /// Its own network, with nothing in it.
    NetworkNamespace,
    /// Its own System V and POSIX message queues and shared memory.
    IpcNamespace,
    /// Its own mounts, and an empty root directory. A worker with granted directories and those of a fork server keep
    /// the tree of files, which Landlock closes to them.
    MountNamespace,
    /// Its own host name.
    UtsNamespace,
    /// Its own names of control groups.
    CgroupNamespace,
    /// Its own view of processes. A spawned worker has none.
    PidNamespace,
    /// A control group of its own.
    Cgroup,
}

/// How a wall is known to stand.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WallState {
    /// The host has read it from the kernel.
    ///
    /// Of a spawned worker's IPC, host name and control group namespaces the kernel shows less to a host that may not
    /// look into its workers, as one that is not root: that what the worker handed over, or was given by the host that
    /// had it from another worker, is such a namespace, and not the host's own. That the worker is in it follows from
    /// its program, which made or entered it before it read a byte of the module, and from its having no capability to
    /// enter another one ([`Wall::NoCapabilities`]).
    Verified,
    /// The kernel does not show it of a worker, so it was tried: a probe of this very worker program, on this
    /// kernel, was refused as it should be, or found itself where it should be.
    Tried,
    /// There is only the worker's word for it: it builds the wall and would not have started without it, or, of the proof of
    /// the reset, would not serve a second instance.
    Claimed,
    /// It does not stand.
    Missing {
        /// Why. What would help is [`Walls::advice`]'s to say.
        reason: String,
    },
}

/// One wall of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WallReport {
    /// Which.
    pub wall: Wall,
    /// Whether a worker without it is refused.
    pub required: bool,
    /// How it is known to stand.
    pub state: WallState,
}

/// What is in force around the workers of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Walls {
    /// The program that workers run.
    pub program: PathBuf,
    /// What was asked for.
    pub hardening: Hardening,
    /// Every wall that this crate knows of, the required ones first.
    pub walls: Vec<WallReport>,
    /// What the worker says that it has, and the kernel shows that it has not.
    lie: Option<String>,
}

impl Wall {
    /// All of them, in the order of [`Walls::walls`].
    const ALL: [Self; 20] = [
        Self::NoNewPrivileges,
        Self::SystemCallFilter,
        Self::NoCapabilities,
        Self::ResourceLimits,
        Self::NotDumpable,
        Self::OneThread,
        Self::Descriptors,
        Self::Environment,
        Self::DeathString,
        Self::ResetProof,
        Self::Landlock,
        Self::OwnUser,
        Self::UserNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::MountNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::PidNamespace,
        Self::Cgroup,
    ];

    /// What it is made of, if that is a namespace.
    pub(crate) fn namespace(self) -> Option<Namespace> {
        Some(match self {
            Self::UserNamespace => Namespace::User,
            Self::NetworkNamespace => Namespace::Network,
            Self::IpcNamespace => Namespace::Ipc,
            Self::MountNamespace => Namespace::Mount,
            Self::UtsNamespace => Namespace::Uts,
            Self::CgroupNamespace => Namespace::Cgroup,
            Self::PidNamespace => Namespace::Pid,
            _ => return None,
        })
    }

    fn is_required(self, hardening: Hardening, granted: &Directories, named: &[Self]) -> bool {
        match (hardening, self) {
            (_, wall) if named.contains(&wall) => true,
            (Hardening::Insecure, _) => false,
            (Hardening::Strict, Self::Landlock) => true,
            // Nothing else keeps an escaped guest to them.
            (_, Self::Landlock) => !granted.is_empty(),
            (
                _,
                Self::NoNewPrivileges
                | Self::SystemCallFilter
                | Self::NoCapabilities
                | Self::ResourceLimits
                | Self::NotDumpable
                | Self::OneThread
                | Self::Descriptors
                | Self::Environment
                | Self::DeathString
                | Self::ResetProof,
            ) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoNewPrivileges => "no new privileges",
            Self::SystemCallFilter => "system call filter",
            Self::NoCapabilities => "no capabilities",
            Self::ResourceLimits => "resource limits",
            Self::NotDumpable => "not dumpable",
            Self::OneThread => "one thread",
            Self::Descriptors => "no inherited descriptors",
            Self::Environment => "empty environment",
            Self::DeathString => "death with the host",
            Self::ResetProof => "reset proof",
            Self::Landlock => "landlock",
            Self::OwnUser => "own user",
            Self::UserNamespace => "user namespace",
            Self::NetworkNamespace => "network namespace",
            Self::IpcNamespace => "ipc namespace",
            Self::MountNamespace => "mount namespace",
            Self::UtsNamespace => "uts namespace",
            Self::CgroupNamespace => "cgroup namespace",
            Self::PidNamespace => "pid namespace",
            Self::Cgroup => "cgroup",
        })
    }
}

impl Walls {
    /// Looks at a worker that has put up all its walls, and says which namespaces it has made or entered; `shown` is what
    /// the kernel has shown of those. What `known` walls of the same host's others do not have is not looked for, unless
    /// it is required: it is no wall of that host's anyway.
    #[expect(clippy::too_many_arguments, reason = "each is another's business")]
    pub(crate) fn of(
        pid: u32,
        program: &Path,
        hardening: Hardening,
        granted: &Directories,
        named: &[Wall],
        said: &Namespaces,
        shown: &ShownNamespaces,
        known: Option<&Self>,
    ) -> Self {
        let kernel = Kernel::about(pid);
        let mut lie = None;
        let report = |wall: Wall| {
            let required = wall.is_required(hardening, granted, named);
            let state = match (wall.namespace(), known.and_then(|known| known.state(wall))) {
                (None, Some(missing @ WallState::Missing { .. })) if !required => missing.clone(),
                (None, _) => kernel.state(wall, hardening, granted),
                (Some(namespace), _) => {
                    let shown = shown.shown(namespace);
                    let outcome = said.of(namespace);
                    lie = lie.take().or(namespaces::lie(wall, outcome, shown));
                    namespaces::state(namespace, outcome, shown, hardening)
                }
            };
            WallReport {
                wall,
                required,
                state,
            }
        };
        let mut walls: Vec<_> = Wall::ALL.into_iter().map(report).collect();
        walls.sort_by_key(|wall| !wall.required);
        Self {
            program: program.to_owned(),
            hardening,
            walls,
            lie,
        }
    }

    /// The same, with what a probe found out about what the kernel does not show. The probe has no files: of a
    /// worker that was granted some, it says nothing about what keeps it to those. It is spawned: of one that is
    /// forked, it does not say what is built in another way there, as namespaces are.
    pub(crate) fn with(mut self, trials: &Trials, granted: &Directories, forked: bool) -> Self {
        for report in &mut self.walls {
            report.state = match (&report.state, trials.of(report.wall)) {
                (_, Some(_)) if forked && report.wall.namespace().is_some() => continue,
                (WallState::Claimed, Some(None))
                    if forked
                        && matches!(
                            report.wall,
                            Wall::Descriptors | Wall::DeathString | Wall::ResetProof
                        ) =>
                {
                    continue;
                }
                (WallState::Claimed, Some(None))
                    if report.wall == Wall::Landlock && !granted.is_empty() =>
                {
                    continue;
                }
                (WallState::Claimed, Some(None)) => WallState::Tried,
                (WallState::Claimed | WallState::Verified, Some(Some(reason))) => {
                    missing(&format!("a probe of this program showed that {reason}"))
                }
                _ => continue,
            };
        }
        self
    }

    /// A wall that does not stand around another worker is no wall of its host's: the kernel may grant a namespace to
    /// one and not to the next.
    pub(crate) fn weaken(&mut self, others: &Self) {
        for report in &mut self.walls {
            if let Some(WallState::Missing { reason }) = others.state(report.wall)
                && !matches!(report.state, WallState::Missing { .. })
            {
                report.state = missing(&format!("of one worker: {reason}"));
            }
        }
    }

    /// How this wall is known to stand.
    #[must_use]
    pub fn state(&self, wall: Wall) -> Option<&WallState> {
        let found = self.walls.iter().find(|report| report.wall == wall);
        found.map(|report| &report.state)
    }

    /// What would have to change on this machine for a wall that does not stand: a sentence about the kernel, the user
    /// or the container that was found here. `None` for a wall that stands.
    #[must_use]
    pub fn advice(&self, wall: Wall) -> Option<String> {
        match self.state(wall)? {
            WallState::Missing { .. } if self.hardening == Hardening::Insecure => {
                Some("build the host without `Hardening::Insecure`".to_owned())
            }
            // It is not the machine that is at fault where there are others.
            WallState::Missing { .. }
                if wall == Wall::PidNamespace && self.stands(Wall::UtsNamespace) =>
            {
                Some(
                    "build the host with `WorkerType::ForkServer`: its workers have one".to_owned(),
                )
            }
            WallState::Missing { .. } => Some(Machine::here().advice(wall)),
            _ => None,
        }
    }

    fn stands(&self, wall: Wall) -> bool {
        !matches!(self.state(wall), None | Some(WallState::Missing { .. }))
    }

    /// Why such a worker is refused: it lies, or the first required wall does not stand.
    pub(crate) fn breach(&self) -> Option<String> {
        if self.lie.is_some() {
            return self.lie.clone();
        }
        self.walls.iter().find_map(|report| match &report.state {
            WallState::Missing { reason } if report.required => Some(format!(
                "the wall `{}` does not stand around a worker: {reason}",
                report.wall
            )),
            _ => None,
        })
    }
}

fn missing(reason: &str) -> WallState {
    WallState::Missing {
        reason: reason.to_owned(),
    }
}

fn claimed(hardening: Hardening) -> WallState {
    match hardening {
        Hardening::Insecure => missing("it was not asked for"),
        _ => WallState::Claimed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_no_walls_and_that_is_seen() {
        let none = Directories::default();
        let walls = Walls::of(
            std::process::id(),
            Path::new("x"),
            Hardening::Default,
            &none,
            &[],
            &Namespaces::default(),
            &ShownNamespaces::default(),
            None,
        );
        assert_eq!(walls.walls.len(), Wall::ALL.len());
        for wall in [
            Wall::SystemCallFilter,
            Wall::OneThread,
            Wall::ResourceLimits,
        ] {
            assert!(
                matches!(walls.state(wall), Some(WallState::Missing { .. })),
                "{wall}"
            );
        }
        assert!(walls.breach().is_some());
        let insecure = Walls::of(
            std::process::id(),
            Path::new("x"),
            Hardening::Insecure,
            &none,
            &[],
            &Namespaces::default(),
            &ShownNamespaces::default(),
            None,
        );
        assert_eq!(insecure.breach(), None);
    }

    #[test]
    fn what_the_kernel_does_not_show_is_not_verified() {
        let none = Directories::default();
        let walls = Walls::of(
            u32::MAX,
            Path::new("x"),
            Hardening::Default,
            &none,
            &[],
            &Namespaces::default(),
            &ShownNamespaces::default(),
            None,
        );
        assert!(
            walls
                .walls
                .iter()
                .all(|report| report.state != WallState::Verified)
        );
    }

    #[test]
    fn a_wall_that_one_worker_lacks_is_none_of_its_hosts() {
        let of = |state| Walls {
            program: PathBuf::new(),
            hardening: Hardening::Default,
            walls: vec![WallReport {
                wall: Wall::NetworkNamespace,
                required: false,
                state,
            }],
            lie: None,
        };
        let mut walls = of(WallState::Verified);
        walls.weaken(&of(WallState::Verified));
        assert_eq!(walls, of(WallState::Verified));
        walls.weaken(&of(missing("no")));
        assert_eq!(walls, of(missing("of one worker: no")));
        walls.weaken(&of(WallState::Verified));
        assert_eq!(walls, of(missing("of one worker: no")));
    }

    #[test]
    fn strict_asks_for_more() {
        let none = Directories::default();
        let is = |hardening, named: &[Wall]| Wall::Landlock.is_required(hardening, &none, named);
        assert!(!is(Hardening::Default, &[]));
        assert!(is(Hardening::Strict, &[]));
        assert!(is(Hardening::Default, &[Wall::Landlock]));
    }
}
