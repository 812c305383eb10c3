//! Namespaces: parts of the machine that a process shares with no other program, where the kernel grants them.
//!
//! They stand behind the filter and Landlock, which need nobody's leave, so that one is missing is no error: what was
//! made is told to the host, which reads it from the kernel.
//!
//! To make them takes most of a worker's start, so a worker hands over what it has made: the host sees by it what the
//! kernel does not show of a process that nobody may look into, and gives it to later workers, which enter it. What one
//! may not enter, because it is another user, it makes.
//!
//! Root makes all but the user namespace while it is root: the kernel may forbid ordinary users to make any, and
//! what root has made belongs to the machine's own users, so that no capability in the user namespace reaches it. A
//! host gives its workers only what was made for the user that it still is. Everybody else makes them in one call with
//! a user namespace. That has no map of users: no file operation needs one, as the kernel goes by the numbers outside.
#![expect(
    unsafe_code,
    reason = "unshare, setns, and the calls that make a file system nobody else has"
)]

use std::ffi::{CStr, c_int, c_long};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::thread::{CapabilitySet, capabilities};
use stockade_wire::namespaces::{Handed, Namespace, Namespaces, Outcome};

/// What a process makes besides the user namespace.
const EACH: [Namespace; 5] = [
    Namespace::Network,
    Namespace::Ipc,
    Namespace::Mount,
    Namespace::Uts,
    Namespace::Cgroup,
];

/// Whom they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A process that opens no path any more: its root becomes an empty directory.
    Alone,
    /// One that uses files below directories whose descriptors it has: Landlock alone keeps it to those, by whatever
    /// path it goes, and so it keeps its tree.
    WithFiles,
    /// One whose children open their own page maps in /proc: it keeps its tree of files, from which Landlock keeps
    /// them, and has a pid namespace for them.
    ForkServer,
}

/// What one worker hands over and others enter.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) said: Handed,
    /// As many as that takes.
    pub(crate) fds: Vec<OwnedFd>,
}

impl Surroundings {
    /// What a message speaks of, and the descriptors that came with it.
    pub(crate) fn new(said: Handed, fds: Vec<OwnedFd>) -> Result<Self, String> {
        match fds.len() == said.fds() {
            true => Ok(Self { said, fds }),
            false => Err(format!(
                "the host sent {} descriptors of namespaces, not {}",
                fds.len(),
                said.fds()
            )),
        }
    }

    /// Mounts only with a root directory: whoever enters them has that of the machine, though its host may have had
    /// another one.
    fn get(&self, namespace: Namespace) -> Option<&OwnedFd> {
        if namespace == Namespace::Mount && !self.said.root {
            return None;
        }
        let at = self
            .said
            .namespaces
            .iter()
            .position(|one| *one == namespace);
        at.and_then(|at| self.fds.get(at))
    }

    fn take_root(&mut self) -> Option<OwnedFd> {
        std::mem::take(&mut self.said.root)
            .then(|| self.fds.pop())
            .flatten()
    }
}

/// Namespaces that a process has.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) namespaces: Namespaces,
    /// For its host's later workers.
    pub(super) handed: Option<Surroundings>,
    /// It has entered mounts and could not go to another root directory than the machine's, which its host may not see.
    pub(super) is_astray: bool,
}

/// Namespaces, half made.
#[must_use]
pub(super) struct Making {
    kind: Kind,
    /// What the host keeps for its workers; none for what is no worker.
    kept: Option<Surroundings>,
    made: Namespaces,
    /// The root directory to be.
    directory: Option<OwnedFd>,
}

impl Making {
    /// Enters what `kept` has and makes what else root may. To be called before the process becomes another user.
    pub(super) fn begin(kind: Kind, kept: Option<Surroundings>) -> Self {
        let own = capabilities(None).map_or(CapabilitySet::empty(), |own| own.effective);
        let mut making = Self {
            kind,
            kept,
            made: Namespaces::default(),
            directory: None,
        };
        if own.contains(CapabilitySet::SYS_ADMIN) {
            making.enter_or_make();
            making.prepare_root();
        }
        making
    }

    /// The same with the rest, in a user namespace. What capabilities that brings are the caller's to drop.
    pub(super) fn finish(mut self) -> Made {
        let had_mounts = self.made.has(Namespace::Mount);
        if self.enter(Namespace::User) {
            self.enter_or_make();
        } else {
            let all = [&[Namespace::User], &self.missing()[..]].concat();
            if !self.unshare(&all) && self.unshare(&[Namespace::User]) {
                self.unshare_each();
            }
        }
        if !had_mounts {
            self.prepare_root();
        }
        // While there is a /proc.
        let mut handed = self.hand_over();
        let mut is_astray = self.made.of(Namespace::Mount) == Outcome::Entered;
        // Not before: the kernel grants no user namespace to a process that has changed its root.
        if let Some(directory) = self.directory.take()
            && become_root(&directory).is_ok()
        {
            is_astray = false;
            // Only one that could be entered: without a root directory nobody enters the mounts.
            if let (Some(handed), Ok(copy)) = (&mut handed, directory.try_clone()) {
                handed.said.root = true;
                handed.fds.push(copy);
            }
            // Closing it has the kernel wait for all its processors.
            std::mem::forget(directory);
        }
        Made {
            namespaces: self.made,
            handed,
            is_astray,
        }
    }

    /// What it has made, unless that is only what each worker makes that may not enter another one's.
    fn hand_over(&self) -> Option<Surroundings> {
        let mut handed = Surroundings::default();
        let made = |one: &Namespace| self.made.of(*one) == Outcome::Made;
        let is_common = |one: &Namespace| !matches!(one, Namespace::User | Namespace::Mount);
        let mut common = Namespace::HANDED.into_iter().filter(is_common);
        if self.kept.is_none() || !common.any(|one| made(&one)) {
            return None;
        }
        for namespace in Namespace::HANDED.into_iter().filter(made) {
            if let Ok(file) = File::open(format!("/proc/self/ns/{}", namespace.link())) {
                handed.said.namespaces.push(namespace);
                handed.fds.push(file.into());
            }
        }
        Some(handed)
    }

    fn enter_or_make(&mut self) {
        for namespace in self.missing() {
            self.enter(namespace);
        }
        let rest = self.missing();
        if !rest.is_empty() && !self.unshare(&rest) {
            self.unshare_each();
        }
    }

    /// Whether this one was kept, and the process may enter it.
    fn enter(&mut self, namespace: Namespace) -> bool {
        let Some(kept) = self.kept.as_ref().and_then(|kept| kept.get(namespace)) else {
            return false;
        };
        // SAFETY: it changes what this process, which has one thread, shares with others: none of its memory.
        let is_in = unsafe { libc::setns(kept.as_raw_fd(), flag(namespace)) } == 0;
        if is_in {
            self.made.note(namespace, Outcome::Entered);
        }
        is_in
    }

    fn missing(&self) -> Vec<Namespace> {
        let pid = (self.kind == Kind::ForkServer).then_some(Namespace::Pid);
        let wanted = EACH.into_iter().chain(pid);
        wanted.filter(|one| !self.made.has(*one)).collect()
    }

    fn unshare_each(&mut self) {
        for namespace in self.missing() {
            self.unshare(&[namespace]);
        }
    }

    /// All of these, or none.
    fn unshare(&mut self, namespaces: &[Namespace]) -> bool {
        let flags = namespaces.iter().fold(0, |all, one| all | flag(*one));
        // SAFETY: it changes what this process, which has one thread, shares with others: none of its memory.
        let outcome = match unsafe { libc::unshare(flags) } {
            0 => Outcome::Made,
            _ => Outcome::Refused(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        };
        for namespace in namespaces {
            self.made.note(*namespace, outcome);
        }
        outcome == Outcome::Made
    }

    /// Without one the process sees what it saw, and Landlock alone keeps it from that.
    fn prepare_root(&mut self) {
        if self.kind == Kind::Alone && self.made.has(Namespace::Mount) {
            let kept = self.kept.as_mut().and_then(Surroundings::take_root);
            self.directory = kept.or_else(|| empty().ok());
        }
    }
}

fn flag(namespace: Namespace) -> c_int {
    match namespace {
        Namespace::User => libc::CLONE_NEWUSER,
        Namespace::Network => libc::CLONE_NEWNET,
        Namespace::Ipc => libc::CLONE_NEWIPC,
        Namespace::Mount => libc::CLONE_NEWNS,
        Namespace::Uts => libc::CLONE_NEWUTS,
        Namespace::Cgroup => libc::CLONE_NEWCGROUP,
        Namespace::Pid => libc::CLONE_NEWPID,
    }
}

/// `fsconfig`'s command that makes what was described.
const CREATE: c_int = 6;

/// `MOUNT_ATTR_RDONLY`, `MOUNT_ATTR_NOSUID`, `MOUNT_ATTR_NODEV` and `MOUNT_ATTR_NOEXEC`.
const HARMLESS: c_int = 1 | 2 | 4 | 8;

/// `FSOPEN_CLOEXEC` and `FSMOUNT_CLOEXEC`.
const CLOEXEC: c_int = 1;

/// A new file system with nothing in it, mounted nowhere: so no other namespace can see it, however mounts spread.
fn empty() -> io::Result<OwnedFd> {
    const KIND: &CStr = c"tmpfs";
    // SAFETY: `fsopen` takes a text that lives for ever, `fsconfig` with this command two null pointers, `fsmount`
    // numbers. The descriptors that they return are nobody else's.
    unsafe {
        let kind = opened(libc::syscall(libc::SYS_fsopen, KIND.as_ptr(), CLOEXEC))?;
        let (none, null) = (0, ptr::null::<u8>());
        done(libc::syscall(
            libc::SYS_fsconfig,
            kind.as_raw_fd(),
            CREATE,
            null,
            null,
            none,
        ))?;
        opened(libc::syscall(
            libc::SYS_fsmount,
            kind.as_raw_fd(),
            CLOEXEC,
            HARMLESS,
        ))
    }
}

fn become_root(directory: &OwnedFd) -> rustix::io::Result<()> {
    rustix::process::fchdir(directory)?;
    rustix::process::chroot(".")
}

/// # Safety
/// The result is that of a call that returns a new descriptor.
unsafe fn opened(result: c_long) -> io::Result<OwnedFd> {
    done(result)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { OwnedFd::from_raw_fd(result as RawFd) })
}

fn done(result: c_long) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
