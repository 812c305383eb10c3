//! A host's fork server: started like any other process of ours, and believed as little.
//!
//! What it hands over is looked at: a pidfd is one of a process that the kernel shows as its child, or it lied.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use stockade_wire::forking::{End, ForkOrder, ForkServerMessage, ORDER_FDS};
use stockade_wire::message::{self, WorkerRefusal, WorkerSetup};
use stockade_wire::sys::death_string::DeathString;
use stockade_wire::sys::packet::{self, Handed};

use super::spawn::has_ended;
use super::{Ends, Process, SeenNamespaces};
use crate::error::Exit;
use crate::proc_file;

/// Has loaded an artifact, or is about to, and forks workers. Dropping it kills it and waits for its end; its
/// workers live on.
#[derive(Debug)]
pub(crate) struct ForkServer {
    process: Process,
    /// What the pid namespace of its workers lives by, if it has made one: for as long as it or any of them does.
    namespace: Option<Arc<DeathString>>,
    /// What was seen of its namespaces when it was ready.
    seen: SeenNamespaces,
}

/// What it said.
#[derive(Debug)]
pub(crate) enum Heard {
    Ready,
    Refused(WorkerRefusal, String),
    /// With the worker's pidfd, or whatever else that is.
    Forked(u64, OwnedFd),
    /// The same, but this process has no room for another descriptor.
    Lost(u64),
    NotForked(u64, String),
    Ended(u64, Exit),
}

/// Why what it handed over is no worker.
#[derive(Debug)]
pub(crate) enum Unadopted {
    /// It is dead and reaped already.
    Gone,
    /// It is none of its children.
    Lie(&'static str),
    /// This process cannot look: it may have no descriptor left.
    Unseen(io::Error),
}

impl ForkServer {
    /// Tells a process of that role what to be.
    pub(crate) fn start(
        process: Process,
        setup: &WorkerSetup,
        artifact: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let (namespace, string) = DeathString::new()?;
        let fds = [artifact, string.as_fd()];
        match packet::send(process.socket(), &message::encode(setup), &fds) {
            // Dead already: its death will say why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
        Ok(Self {
            process,
            namespace: Some(Arc::new(namespace)),
            seen: SeenNamespaces::default(),
        })
    }

    /// Looks at its namespaces, which it has made before it says that it is ready, and cannot leave.
    pub(crate) fn look(&mut self) {
        self.seen = SeenNamespaces::of(self.process.pid, Some(self.process.pidfd()));
    }

    /// Has it end by itself, and the pid namespace of its workers before it, so that it can reap that one's first
    /// process. For a server whose workers are gone.
    pub(crate) fn let_go(&mut self) {
        self.namespace = None;
    }

    pub(crate) fn into_process(self) -> Process {
        self.process
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Asks for a worker. One at a time, so its socket always has room, and descriptors on their way are few.
    pub(crate) fn order(&self, worker: u64, fds: [BorrowedFd<'_>; ORDER_FDS]) -> io::Result<()> {
        let order = message::encode(&ForkOrder { worker });
        match packet::send(self.process.socket(), &order, &fds) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    /// What it has said, if it has; the error is why it is not believed.
    pub(crate) fn hear(&self) -> Result<Option<Heard>, String> {
        let (bytes, handed) = match packet::receive_untrusted_with_one(self.process.socket()) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err("it sent a message that is too long".to_owned());
            }
            Err(_) => return Ok(None),
        };
        if bytes.is_empty() {
            // It is dying, and its death will tell how.
            return Ok(None);
        }
        let said = message::decode(&bytes).map_err(|malformed| malformed.to_string())?;
        Ok(Some(match said {
            ForkServerMessage::Ready => Heard::Ready,
            ForkServerMessage::Refused { why, message } => Heard::Refused(why, message),
            ForkServerMessage::Forked { worker } => match handed {
                Handed::One(fd) => Heard::Forked(worker, fd),
                Handed::Lost => Heard::Lost(worker),
                Handed::Nothing => return Err("it handed over no process".to_owned()),
            },
            ForkServerMessage::NotForked { worker, message } => Heard::NotForked(worker, message),
            ForkServerMessage::Ended { worker, end } => Heard::Ended(
                worker,
                match end {
                    End::Code(code) => Exit::Code(code),
                    End::Signal(signal) => Exit::Signal(signal),
                },
            ),
        }))
    }

    /// The worker that it has forked.
    pub(crate) fn adopt(&self, pidfd: OwnedFd, ends: Ends) -> Result<Process, Unadopted> {
        let lives = |seen| match seen {
            Ok(Shown::Process(pid)) => Ok(pid),
            Ok(Shown::Gone) => Err(Unadopted::Gone),
            Ok(Shown::Other) => Err(Unadopted::Lie("it handed over what is no process")),
            Err(error) => Err(Unadopted::Unseen(error)),
        };
        let pid = lives(look_at(pidfd.as_fd()))?;
        let parent = parent_of(pid).map_err(Unadopted::Unseen)?;
        let is_child = parent == Some(self.process.pid);
        // Else the number was given to another process in between. One that has not ended has it still.
        if has_ended(pidfd.as_fd()) {
            lives(look_at(pidfd.as_fd()))?;
        }
        match is_child {
            true => Ok(Process::forked(
                pid,
                pidfd,
                ends,
                self.namespace.clone(),
                self.seen,
            )),
            false => Err(Unadopted::Lie(
                "it handed over a process that is none of its children",
            )),
        }
    }
}

/// What the kernel shows of a descriptor.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// A process that is not reaped.
    Process(u32),
    Gone,
    Other,
}

fn look_at(fd: BorrowedFd<'_>) -> io::Result<Shown> {
    let number = fd.as_raw_fd();
    // As kernels before and after 6.9 name it. No file has such a path: those begin with a slash.
    let names = ["anon_inode:[pidfd]", "pidfd:["];
    let to = fs::read_link(format!("/proc/self/fd/{number}"))?;
    let is_pidfd = names
        .iter()
        .any(|name| to.to_string_lossy().starts_with(name));
    let info = proc_file::read(format!("/proc/self/fdinfo/{number}"))?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    Ok(match pid.and_then(|pid| pid.trim().parse::<i64>().ok()) {
        // Zero when it is none of this namespace.
        Some(pid) if is_pidfd && pid != 0 => u32::try_from(pid).map_or(Shown::Gone, Shown::Process),
        _ => Shown::Other,
    })
}

/// Whose child a process is; none when there is no such process.
fn parent_of(pid: u32) -> io::Result<Option<u32>> {
    let status = match proc_file::read(format!("/proc/{pid}/status")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        status => status?,
    };
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    Ok(parent.and_then(|parent| parent.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};

    use super::*;

    #[test]
    fn a_pidfd_is_told_from_other_descriptors() {
        let own = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        assert_eq!(
            look_at(own.as_fd()).unwrap(),
            Shown::Process(std::process::id())
        );
        let file = fs::File::open("/proc/self/status").unwrap();
        assert_eq!(look_at(file.as_fd()).unwrap(), Shown::Other);
        let (socket, _) = packet::pair().unwrap();
        assert_eq!(look_at(socket.as_fd()).unwrap(), Shown::Other);
    }

    #[test]
    fn a_process_has_the_parent_that_the_kernel_shows() {
        let parent = rustix::process::getppid().unwrap();
        let parent = parent.as_raw_nonzero().get() as u32;
        assert_eq!(parent_of(std::process::id()).unwrap(), Some(parent));
        assert_eq!(parent_of(u32::MAX).unwrap(), None);
    }
}
