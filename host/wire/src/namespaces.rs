//! Namespaces that a process of ours has, by its own word.
//!
//! The first worker of a host makes some and hands them over; later ones enter them, which is many times faster.

use serde::{Deserialize, Serialize};

/// A kind of namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Namespace {
    /// Users and capabilities.
    User,
    /// Network devices, addresses and abstract socket names.
    Network,
    /// System V and POSIX message queues and shared memory.
    Ipc,
    /// The tree of files.
    Mount,
    /// The host's name.
    Uts,
    /// The names of control groups.
    Cgroup,
    /// Process numbers.
    Pid,
}

impl Namespace {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::User,
        Self::Network,
        Self::Ipc,
        Self::Mount,
        Self::Uts,
        Self::Cgroup,
        Self::Pid,
    ];

    /// Those that a worker which makes them hands over, in this order.
    pub const HANDED: [Self; 6] = [
        Self::User,
        Self::Network,
        Self::Ipc,
        Self::Mount,
        Self::Uts,
        Self::Cgroup,
    ];

    /// Those that nothing tells apart but their links in `/proc/PID/ns`, which are for those who may look into the
    /// process.
    pub const HIDDEN: [Self; 3] = [Self::Ipc, Self::Uts, Self::Cgroup];

    /// Its name in `/proc/PID/ns`.
    #[must_use]
    pub fn link(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Network => "net",
            Self::Ipc => "ipc",
            Self::Mount => "mnt",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Pid => "pid",
        }
    }
}

/// What became of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nobody tried to make or to enter it.
    #[default]
    NotTried,
    /// The process has made one.
    Made,
    /// The process is in one that its host gave it.
    Entered,
    /// The kernel refused it with this error number.
    Refused(i32),
}

/// What became of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces([Outcome; Namespace::ALL.len()]);

impl Namespaces {
    /// What became of this one.
    #[must_use]
    pub fn of(&self, namespace: Namespace) -> Outcome {
        self.0[namespace as usize]
    }

    /// Notes what became of this one.
    pub fn note(&mut self, namespace: Namespace, outcome: Outcome) {
        self.0[namespace as usize] = outcome;
    }

    /// Whether it was made or entered.
    #[must_use]
    pub fn has(&self, namespace: Namespace) -> bool {
        matches!(self.of(namespace), Outcome::Made | Outcome::Entered)
    }
}

/// Which descriptors come with a message: of these namespaces, in this order, and then, if there is one, of the empty
/// directory that is the root of whoever is in them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// Of which kinds.
    pub namespaces: Vec<Namespace>,
    /// Whether there is a root directory.
    pub root: bool,
}

impl Handed {
    /// The most descriptors that it takes.
    pub const FDS_MAX: usize = Namespace::HANDED.len() + 1;

    /// How many descriptors it takes.
    #[must_use]
    pub fn fds(&self) -> usize {
        self.namespaces.len() + usize::from(self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_place_of_its_own() {
        for (place, namespace) in Namespace::ALL.into_iter().enumerate() {
            assert_eq!(namespace as usize, place);
            let mut namespaces = Namespaces::default();
            namespaces.note(namespace, Outcome::Made);
            let made = Namespace::ALL
                .into_iter()
                .filter(|one| namespaces.has(*one));
            assert_eq!(made.collect::<Vec<_>>(), [namespace]);
        }
    }
}
