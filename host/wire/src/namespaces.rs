//! Namespaces that a process of ours has made for itself, by its own word.

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

    /// Those that nothing tells apart but their links in `/proc/PID/ns`, which are for those who may look into the
    /// process: it hands them over, in this order.
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
    /// Nobody tried to make it.
    #[default]
    NotTried,
    /// The process is in one of its own.
    Made,
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

    /// Whether it was made.
    #[must_use]
    pub fn has(&self, namespace: Namespace) -> bool {
        self.of(namespace) == Outcome::Made
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
