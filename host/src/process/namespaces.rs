//! What the kernel shows of namespaces that nothing but their links in `/proc/PID/ns` tells apart
//! ([`Namespace::HIDDEN`]).
//!
//! Into a process that nobody may look into an ordinary user's host cannot look, either. There are two ways round that.
//! A worker that is started as a program opens the links itself, before it reads a byte of its module, and hands over
//! the descriptors. A fork server lets its user look into it, and what it forks is where it is.
//!
//! A descriptor proves that there is such a namespace, which is not this process's. That whoever handed it over is in
//! it the kernel does not show: that follows from what opens the links being our program, which has no module yet, and
//! from there being no way out afterwards without a capability. That a worker has none the kernel does show.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use stockade_wire::namespaces::{Namespace, Namespaces};

/// What the kernel says of a namespace of another process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Shown {
    /// It is not this process's.
    Own,
    /// It is this process's.
    Shared,
    /// What was handed over is no namespace of that kind.
    Forged,
    /// Nothing.
    #[default]
    Hidden,
}

impl Shown {
    /// From what is the same for two processes if and only if they share the namespace.
    pub(crate) fn comparing<T: PartialEq>(theirs: Option<T>, ours: Option<T>) -> Self {
        match (theirs, ours) {
            (Some(theirs), Some(ours)) if theirs == ours => Self::Shared,
            (Some(_), Some(_)) => Self::Own,
            _ => Self::Hidden,
        }
    }

    /// By the links of a process, if this one may read them.
    pub(crate) fn by_link(pid: u32, namespace: Namespace) -> Self {
        let theirs = link(&pid.to_string(), namespace);
        theirs.map_or(Self::Hidden, |theirs| {
            Self::comparing(Some(theirs), own_link(namespace))
        })
    }

    /// By a descriptor. Nothing is asked of it but its name, and it is closed: what a hostile process
    /// hands over may answer never.
    fn by_descriptor(fd: &OwnedFd, namespace: Namespace) -> Self {
        let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
        // No file has such a name: those begin with a slash.
        let kind = format!("{}:[", namespace.link());
        let is_one = |name: &Path| {
            name.as_os_str()
                .as_encoded_bytes()
                .starts_with(kind.as_bytes())
        };
        match &name {
            Some(name) if !is_one(name) => Self::Forged,
            _ => Self::comparing(name, own_link(namespace)),
        }
    }
}

fn link(who: &str, namespace: Namespace) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{who}/ns/{}", namespace.link())).ok()
}

fn own_link(namespace: Namespace) -> Option<PathBuf> {
    link("self", namespace)
}

/// What was seen of each of [`Namespace::HIDDEN`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SeenNamespaces([Shown; Namespace::HIDDEN.len()]);

impl SeenNamespaces {
    /// Looks into a process.
    pub(crate) fn of(pid: u32) -> Self {
        Self(Namespace::HIDDEN.map(|one| Shown::by_link(pid, one)))
    }

    /// Looks at what a process handed over that says that it has made these: as many of them as it could open.
    pub(crate) fn handed(said: &Namespaces, fds: &[OwnedFd]) -> Self {
        let mut fds = fds.iter();
        Self(Namespace::HIDDEN.map(|one| {
            let fd = said.has(one).then(|| fds.next()).flatten();
            fd.map_or(Shown::Hidden, |fd| Shown::by_descriptor(fd, one))
        }))
    }

    pub(crate) fn shown(&self, namespace: Namespace) -> Shown {
        let mut all = Namespace::HIDDEN.into_iter().zip(self.0);
        let found = all.find(|(one, _)| *one == namespace);
        found.map_or(Shown::Hidden, |(_, shown)| shown)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use stockade_wire::namespaces::Outcome;
    use stockade_wire::sys::packet;

    use super::*;

    fn open(path: &str) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    #[test]
    fn what_is_handed_over_is_told_from_what_it_is_not() {
        for namespace in Namespace::HIDDEN {
            let shown = |fd| {
                let mut said = Namespaces::default();
                said.note(namespace, Outcome::Made);
                SeenNamespaces::handed(&said, &[fd]).shown(namespace)
            };
            assert_eq!(
                shown(open(&format!("/proc/self/ns/{}", namespace.link()))),
                Shown::Shared
            );
            for other in Namespace::ALL.into_iter().filter(|one| *one != namespace) {
                let fd = open(&format!("/proc/self/ns/{}", other.link()));
                assert_eq!(shown(fd), Shown::Forged, "{namespace:?} {other:?}");
            }
            assert_eq!(shown(open("/dev/null")), Shown::Forged);
            assert_eq!(shown(packet::pair().unwrap().0), Shown::Forged);
        }
    }

    #[test]
    fn each_descriptor_is_of_the_next_one_that_is_said_to_be_made() {
        let [ipc, _, cgroup] = Namespace::HIDDEN.map(|one| format!("/proc/self/ns/{}", one.link()));
        let mut said = Namespaces::default();
        said.note(Namespace::Ipc, Outcome::Made);
        said.note(Namespace::Cgroup, Outcome::Made);
        let all = |seen: SeenNamespaces| Namespace::HIDDEN.map(|one| seen.shown(one));
        let both = SeenNamespaces::handed(&said, &[open(&ipc), open(&cgroup), open("/dev/null")]);
        assert_eq!(all(both), [Shown::Shared, Shown::Hidden, Shown::Shared]);
        let one = SeenNamespaces::handed(&said, &[open(&ipc)]);
        assert_eq!(all(one), [Shown::Shared, Shown::Hidden, Shown::Hidden]);
        assert_eq!(
            SeenNamespaces::handed(&said, &[]),
            SeenNamespaces::default()
        );
        assert_eq!(
            SeenNamespaces::of(std::process::id()),
            SeenNamespaces([Shown::Shared; 3])
        );
        assert_eq!(SeenNamespaces::of(u32::MAX), SeenNamespaces::default());
    }
}
