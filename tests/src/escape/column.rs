//! What stands around an attacker.

use stockade_worker::proof::Wall;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Nothing.
    None,
    /// Only the seals of the memory that it shares with its host.
    Seals,
    /// Only this wall.
    Only(Wall),
    /// Everything that a worker has.
    Worker,
    /// Only the namespaces of a worker that entered those of its host's first one: its sibling.
    Entered,
    /// Everything that such a worker has.
    Later,
    /// Everything that a compiler has.
    Compiler,
    /// Everything that a process has which runs a module's initialisation.
    Initializer,
    /// Only the Landlock of a worker with granted directories.
    GrantedLandlock,
    /// Only the filters of such a worker.
    GrantedFilter,
    /// Everything that such a worker has.
    Granted,
    /// Everything that a fork server has.
    ForkServer,
    /// Everything that a worker has which a fork server has forked.
    Forked,
}

/// Each wall by itself, and all of them.
pub(crate) const WALLS: [Column; 18] = [
    Column::None,
    Column::Seals,
    Column::Only(Wall::Descriptors),
    Column::Only(Wall::Environment),
    Column::Only(Wall::DeathString),
    Column::Only(Wall::OwnUser),
    Column::Only(Wall::NotDumpable),
    Column::Only(Wall::NoCapabilities),
    Column::Only(Wall::ResourceLimits),
    Column::Only(Wall::NoNewPrivileges),
    Column::Only(Wall::Landlock),
    Column::Only(Wall::NoNewCode),
    Column::Only(Wall::SystemCallFilter),
    Column::Only(Wall::Namespaces),
    Column::Entered,
    Column::Worker,
    Column::Later,
    Column::Compiler,
];

/// Processes of other kinds. What is admitted to some is attacked by those calls.
pub(crate) const ROLES: [Column; 7] = [
    Column::None,
    Column::Initializer,
    Column::GrantedLandlock,
    Column::GrantedFilter,
    Column::Granted,
    Column::ForkServer,
    Column::Forked,
];

impl Column {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Seals => "seals",
            Self::Only(Wall::Descriptors) => "descriptors",
            Self::Only(Wall::Environment) => "environment",
            Self::Only(Wall::DeathString) => "death",
            Self::Only(Wall::OwnUser) => "user",
            Self::Only(Wall::NotDumpable) => "dumpable",
            Self::Only(Wall::NoCapabilities) => "caps",
            Self::Only(Wall::ResourceLimits) => "rlimits",
            Self::Only(Wall::NoNewPrivileges) => "nnp",
            Self::Only(Wall::Landlock) => "landlock",
            Self::Only(Wall::NoNewCode) => "new-code",
            Self::Only(Wall::SystemCallFilter) => "filter",
            Self::Only(Wall::Namespaces) => "namespaces",
            Self::Entered => "entered",
            Self::Worker => "worker",
            Self::Later => "later-worker",
            Self::Compiler => "compiler",
            Self::Initializer => "initializer",
            Self::GrantedLandlock => "granted-landlock",
            Self::GrantedFilter => "granted-filter",
            Self::Granted => "granted",
            Self::ForkServer => "fork-server",
            Self::Forked => "forked",
        }
    }

    /// Whether the memory that it shares with its host is as a host makes it, or plain.
    pub(crate) fn has_seals(self) -> bool {
        matches!(
            self,
            Self::Seals
                | Self::Worker
                | Self::Later
                | Self::Compiler
                | Self::Initializer
                | Self::Granted
                | Self::ForkServer
                | Self::Forked
        )
    }

    /// Whether it is sent the namespaces of its sibling.
    pub(crate) fn enters(self) -> bool {
        matches!(self, Self::Entered | Self::Later)
    }

    /// Whether it is sent the directories that it may use.
    pub(crate) fn has_directories(self) -> bool {
        matches!(
            self,
            Self::GrantedLandlock | Self::GrantedFilter | Self::Granted
        )
    }
}
