//! Namespaces that a worker hands over, and what the kernel shows of those that nothing but their links in
//! `/proc/PID/ns` tells apart ([`Namespace::HIDDEN`]).
//!
//! The first worker of a host makes namespaces and hands over their descriptors. They are kept for later ones to enter,
//! once the first has shown all its walls: making them takes a millisecond, entering them some 20-60 us.
//!
//! Into a process that nobody may look into an ordinary user's host cannot look, either. There are two ways round that.
//! A worker that is started as a program opens the links itself, before it reads a byte of its module, and the
//! descriptors show what they are. A fork server lets its user look into it, and what it forks is where it is.
//!
//! A descriptor proves that there is such a namespace, which is not this process's. That whoever handed it over, or was
//! given it, is in it the kernel does not show: that follows from what opens and enters them being our program, which
//! has no module yet, and from there being no way out afterwards without a capability. That a worker has none the
//! kernel does show.

use std::cell::Cell;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::thread::gettid;
use stockade_wire::namespaces::{Handed, Namespace, Namespaces, Outcome};
use stockade_wire::sys::pidfd;

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

    /// By the links of a process that was given these, if this one may read them. By its pidfd the kernel may tell what
    /// they say.
    pub(crate) fn by_link(
        pid: u32,
        pidfd: Option<BorrowedFd<'_>>,
        namespace: Namespace,
        given: Option<&HandedNamespaces>,
    ) -> Self {
        let told = pidfd.and_then(|pidfd| pidfd::namespace(pidfd, namespace));
        let told = told.map(|number| format!("{}:[{number}]", namespace.link()).into());
        let Some(theirs) = told.or_else(|| link(&pid.to_string(), namespace)) else {
            return Self::Hidden;
        };
        let known = given.and_then(|given| given.looked_at(namespace));
        match known {
            Some((name, shown)) if *name == theirs => *shown,
            _ => Self::comparing(Some(theirs), own_link(namespace)),
        }
    }

    /// By the name of a descriptor.
    fn by_name(name: Option<&Path>, namespace: Namespace) -> Self {
        // No file has such a name: those begin with a slash.
        let kind = format!("{}:[", namespace.link());
        let is_one = |name: &Path| {
            name.as_os_str()
                .as_encoded_bytes()
                .starts_with(kind.as_bytes())
        };
        match name {
            Some(name) if !is_one(name) => Self::Forged,
            _ => Self::comparing(name, own_link(namespace).as_deref()),
        }
    }
}

fn link(who: &str, namespace: Namespace) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{who}/ns/{}", namespace.link())).ok()
}

/// The thread that starts processes, which are where it is; other threads may be elsewhere. Zero before there is one.
static STARTER: AtomicI32 = AtomicI32::new(0);

thread_local! {
    static IS_STARTER: Cell<bool> = const { Cell::new(false) };
    static OWN: [Option<PathBuf>; Namespace::ALL.len()] =
        Namespace::ALL.map(|namespace| link("thread-self", namespace));
}

/// This thread starts processes from now on, and never changes its own namespaces: they are looked up once.
pub(crate) fn start_from_own_namespaces() {
    STARTER.store(gettid().as_raw_nonzero().get(), Ordering::Relaxed);
    IS_STARTER.set(true);
}

/// Of the thread that starts processes.
fn own_link(namespace: Namespace) -> Option<PathBuf> {
    if IS_STARTER.get() {
        return OWN.with(|own| own[namespace as usize].clone());
    }
    match STARTER.load(Ordering::Relaxed) {
        0 => link("self", namespace),
        starter => link(&format!("self/task/{starter}"), namespace),
    }
}

/// What was seen of each of [`Namespace::HIDDEN`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SeenNamespaces([Shown; Namespace::HIDDEN.len()]);

impl SeenNamespaces {
    /// Looks into a process.
    pub(crate) fn of(pid: u32, pidfd: Option<BorrowedFd<'_>>) -> Self {
        Self(Namespace::HIDDEN.map(|one| Shown::by_link(pid, pidfd, one, None)))
    }

    /// Of a worker that says this of its namespaces, by the descriptors that it handed over and that it was given.
    pub(crate) fn of_worker(
        said: &Namespaces,
        handed: &HandedNamespaces,
        given: Option<&HandedNamespaces>,
    ) -> Self {
        Self(Namespace::HIDDEN.map(|one| match said.of(one) {
            Outcome::Made => handed.shown(one),
            Outcome::Entered => given.map_or(Shown::Hidden, |given| given.shown(one)),
            Outcome::NotTried | Outcome::Refused(_) => Shown::Hidden,
        }))
    }

    pub(crate) fn shown(&self, namespace: Namespace) -> Shown {
        let mut all = Namespace::HIDDEN.into_iter().zip(self.0);
        let found = all.find(|(one, _)| *one == namespace);
        found.map_or(Shown::Hidden, |(_, shown)| shown)
    }
}

/// Namespaces that a worker has handed over.
#[derive(Debug, Default)]
pub(crate) struct HandedNamespaces {
    said: Handed,
    /// As many as that takes.
    fds: Vec<OwnedFd>,
    /// What each namespace is called and is, in their order.
    looked_at: Vec<(PathBuf, Shown)>,
}

impl HandedNamespaces {
    /// Looks at what came with a message that says this of it. If there is more or less of it, it is nothing.
    ///
    /// Of a descriptor nothing is asked but its name: what a hostile process hands over may answer never.
    pub(crate) fn new(said: Handed, fds: Vec<OwnedFd>) -> Self {
        if said.fds() != fds.len() {
            return Self::default();
        }
        let each = said.namespaces.iter().zip(&fds);
        let looked_at = each.map(|(one, fd)| {
            let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok();
            let shown = Shown::by_name(name.as_deref(), *one);
            (name.unwrap_or_default(), shown)
        });
        Self {
            looked_at: looked_at.collect(),
            said,
            fds,
        }
    }

    fn looked_at(&self, namespace: Namespace) -> Option<&(PathBuf, Shown)> {
        let mut each = self.said.namespaces.iter().zip(&self.looked_at);
        each.find_map(|(one, looked_at)| (*one == namespace).then_some(looked_at))
    }

    fn shown(&self, namespace: Namespace) -> Shown {
        let looked_at = self.looked_at(namespace);
        looked_at.map_or(Shown::Hidden, |(_, shown)| *shown)
    }

    /// Whether a worker that says this of its namespaces says that it has made all of these.
    pub(crate) fn is_made_by(&self, said: &Namespaces) -> bool {
        let mut each = self.said.namespaces.iter();
        each.all(|one| said.of(*one) == Outcome::Made)
    }

    /// Whether there are any to enter, and all are what they are said to be and not the host's.
    pub(crate) fn can_be_entered(&self) -> bool {
        let mut each = self.looked_at.iter();
        !self.looked_at.is_empty() && each.all(|(_, shown)| *shown == Shown::Own)
    }

    /// What a worker is told that is given these.
    pub(crate) fn said(&self) -> &Handed {
        &self.said
    }

    /// What it is given.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    use stockade_wire::sys::packet;

    use super::*;

    fn open(path: &str) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    fn handed(namespaces: &[Namespace], paths: &[&str]) -> HandedNamespaces {
        let said = Handed {
            namespaces: namespaces.to_vec(),
            root: false,
        };
        HandedNamespaces::new(said, paths.iter().map(|path| open(path)).collect())
    }

    fn said(each: &[(Namespace, Outcome)]) -> Namespaces {
        let mut said = Namespaces::default();
        for (namespace, outcome) in each {
            said.note(*namespace, *outcome);
        }
        said
    }

    fn own(namespace: Namespace) -> String {
        format!("/proc/self/ns/{}", namespace.link())
    }

    #[test]
    fn what_is_handed_over_is_told_from_what_it_is_not() {
        for namespace in Namespace::HANDED {
            let shown = |fd| {
                let said = Handed {
                    namespaces: vec![namespace],
                    root: false,
                };
                HandedNamespaces::new(said, vec![fd]).shown(namespace)
            };
            assert_eq!(shown(open(&own(namespace))), Shown::Shared);
            for other in Namespace::ALL.into_iter().filter(|one| *one != namespace) {
                let shown = shown(open(&own(other)));
                assert_eq!(shown, Shown::Forged, "{namespace:?} {other:?}");
            }
            assert_eq!(shown(open("/dev/null")), Shown::Forged);
            assert_eq!(shown(packet::pair().unwrap().0), Shown::Forged);
        }
    }

    #[test]
    fn a_namespace_is_seen_by_what_was_handed_over_or_given() {
        use Namespace::{Cgroup, Ipc, Network, Uts};
        use Outcome::{Entered, Made};
        let all = |seen: SeenNamespaces| Namespace::HIDDEN.map(|one| seen.shown(one));
        let nothing = HandedNamespaces::default();
        let mine = handed(&[Network, Ipc], &[&own(Network), &own(Ipc)]);
        let given = handed(&[Uts, Cgroup], &[&own(Uts), "/dev/null"]);
        let says = said(&[(Ipc, Made), (Uts, Entered), (Cgroup, Entered)]);
        let seen = |handed, given| all(SeenNamespaces::of_worker(&says, handed, given));
        assert_eq!(
            seen(&mine, Some(&given)),
            [Shown::Shared, Shown::Shared, Shown::Forged]
        );
        assert_eq!(
            seen(&mine, None),
            [Shown::Shared, Shown::Hidden, Shown::Hidden]
        );
        // What it did not make it was not seen to have made, and what it was not given it did not enter.
        assert_eq!(seen(&given, Some(&mine)), [Shown::Hidden; 3]);
        assert_eq!(seen(&nothing, None), [Shown::Hidden; 3]);
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        for pidfd in [None, Some(own.as_fd())] {
            assert_eq!(
                SeenNamespaces::of(std::process::id(), pidfd),
                SeenNamespaces([Shown::Shared; 3])
            );
        }
        assert_eq!(
            SeenNamespaces::of(u32::MAX, None),
            SeenNamespaces::default()
        );
    }

    #[test]
    fn the_hosts_own_and_what_is_none_is_nothing_to_enter() {
        use Namespace::{Ipc, Uts};
        let theirs = format!("/proc/{}/ns", std::process::id());
        assert!(!HandedNamespaces::default().can_be_entered());
        assert!(!handed(&[Ipc], &[&format!("{theirs}/ipc")]).can_be_entered());
        assert!(!handed(&[Ipc], &[&own(Uts)]).can_be_entered());
        // A wrong number of descriptors.
        let too_few = handed(&[Ipc, Uts], &[&own(Ipc)]);
        assert_eq!(too_few.fds().count(), 0);
        assert_eq!(too_few.shown(Ipc), Shown::Hidden);
        assert_eq!(handed(&[], &[&own(Ipc)]).fds().count(), 0);
    }
}
