//! Namespaces: parts of the machine that a process has to itself, where the kernel grants them.
//!
//! They stand behind the filter and Landlock, which need nobody's leave, so none of them is ever an error: what was
//! made is told to the host, which reads it from the kernel; what that does not show of a process that nobody may look
//! into, the process hands over.
//!
//! Root makes all but the user namespace while it is root: the kernel may forbid ordinary users to make any, and
//! what root has made belongs to the machine's own users, so that no capability in the user namespace reaches it.
//! Everybody else makes them in one call with a user namespace. That has no map of users: no file operation needs
//! one, as the kernel goes by the numbers outside.
#![expect(
    unsafe_code,
    reason = "unshare, and the calls that make a file system nobody else has"
)]

use std::ffi::{CStr, c_int, c_long};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::thread::{CapabilitySet, capabilities};
use stockade_wire::namespaces::{Namespace, Namespaces, Outcome};

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

/// Namespaces that were made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) namespaces: Namespaces,
    /// Those of [`Namespace::HIDDEN`], in that order and as far as they could be opened, if the host cannot look for
    /// itself.
    pub(super) hidden: Vec<OwnedFd>,
}

/// Namespaces, half made.
#[must_use]
pub(super) struct Making {
    kind: Kind,
    /// Whether the host can look into the process: into a fork server, and whoever may look into all.
    host_looks: bool,
    made: Namespaces,
    /// The root directory to be.
    directory: Option<OwnedFd>,
}

impl Making {
    /// Makes what root may make. To be called before the process becomes another user.
    pub(super) fn begin(kind: Kind) -> Self {
        let own = capabilities(None).map_or(CapabilitySet::empty(), |own| own.effective);
        let mut making = Self {
            kind,
            // What this process may, whoever started it may.
            host_looks: kind == Kind::ForkServer || own.contains(CapabilitySet::SYS_PTRACE),
            made: Namespaces::default(),
            directory: None,
        };
        if own.contains(CapabilitySet::SYS_ADMIN) {
            let all = making.missing();
            if !making.unshare(&all) {
                making.unshare_each();
            }
            making.prepare_root();
        }
        making
    }

    /// Makes the rest, in a user namespace. What capabilities that brings are the caller's to drop.
    pub(super) fn finish(mut self) -> Made {
        let missing = self.missing();
        let had_mounts = self.made.has(Namespace::Mount);
        let all = [&[Namespace::User], &missing[..]].concat();
        if !self.unshare(&all) && self.unshare(&[Namespace::User]) {
            self.unshare_each();
        }
        if !had_mounts {
            self.prepare_root();
        }
        // While there is a /proc.
        let hidden = self.open_hidden();
        // Not before: the kernel grants no user namespace to a process that has changed its root.
        if let Some(directory) = self.directory.take()
            && enter(&directory).is_ok()
        {
            // Closing it has the kernel wait for all its processors.
            std::mem::forget(directory);
        }
        Made {
            namespaces: self.made,
            hidden,
        }
    }

    fn open_hidden(&self) -> Vec<OwnedFd> {
        if self.host_looks {
            return Vec::new();
        }
        let made = Namespace::HIDDEN.into_iter();
        made.filter(|one| self.made.has(*one))
            .map_while(|one| File::open(format!("/proc/self/ns/{}", one.link())).ok())
            .map(OwnedFd::from)
            .collect()
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
            self.directory = empty().ok();
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

fn enter(directory: &OwnedFd) -> rustix::io::Result<()> {
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
