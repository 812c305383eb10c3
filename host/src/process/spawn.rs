//! Starting a process, and seeing its end.
//!
//! Never by SIGCHLD, `waitpid(-1)` or a process id: those belong to the application.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::Shutdown;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, geteuid};
use stockade_wire::role::{Assignment, Role, VARIABLE};
use stockade_wire::sys::death_string::DeathString;
use stockade_wire::sys::{fork, packet};

use super::{Program, SeenNamespaces};
use crate::error::Exit;

/// A process of ours. Dropping it kills it and, if it is a child, waits for its end.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Who this process was when it started it, or had it forked.
    started_by: u32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    stderr: OwnedFd,
    /// A copy of this in a fork of the application is not that process's to kill.
    owner: u32,
    reaped: AtomicBool,
    /// Of one that is a fork server's child.
    forked: Option<Forked>,
}

/// What a host has of a process that is not its child.
#[derive(Debug)]
struct Forked {
    /// How it ended, as its parent said.
    exit: OnceLock<Exit>,
    /// Its life hangs by it.
    _string: DeathString,
    /// So does the life of its pid namespace, by this one.
    namespace: Mutex<Option<Arc<DeathString>>>,
    /// What was seen of its server's namespaces, which are its own.
    seen: SeenNamespaces,
}

/// The host's ends of what connects it with a process that is about to be forked.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(super) socket: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) string: DeathString,
}

impl Ends {
    /// With the ends of the process: socket, diagnostics, death string.
    pub(crate) fn new() -> io::Result<(Self, [OwnedFd; 3])> {
        let (socket, their_socket) = packet::pair()?;
        let (stderr, their_stderr) = pipe()?;
        let (string, their_string) = DeathString::new()?;
        let ours = Self {
            socket,
            stderr,
            string,
        };
        Ok((ours, [their_socket, their_stderr, their_string]))
    }
}

impl Process {
    /// The process at the other ends.
    pub(super) fn forked(
        pid: u32,
        pidfd: OwnedFd,
        ends: Ends,
        namespace: Option<Arc<DeathString>>,
        seen: SeenNamespaces,
    ) -> Self {
        Self {
            pid,
            started_by: geteuid().as_raw(),
            pidfd,
            socket: ends.socket,
            stderr: ends.stderr,
            owner: fork::generation(),
            reaped: AtomicBool::new(false),
            forked: Some(Forked {
                exit: OnceLock::new(),
                _string: ends.string,
                namespace: Mutex::new(namespace),
                seen,
            }),
        }
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.forked.is_some()
    }

    /// What was seen of its server's namespaces, if it has one: what it forks is where it is.
    pub(crate) fn seen_of_server(&self) -> Option<SeenNamespaces> {
        self.forked.as_ref().map(|forked| forked.seen)
    }

    /// It is dead, and needs its namespace no more.
    pub(crate) fn let_go(&self) {
        if let Some(forked) = &self.forked {
            let namespace = forked.namespace.lock();
            namespace.unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Its parent has said how it ended.
    pub(crate) fn ended(&self, exit: Exit) {
        if let Some(forked) = &self.forked {
            let _ = forked.exit.set(exit);
        }
    }

    /// Starts `program` in `role`.
    ///
    /// To be called by the supervisor thread only: the kernel kills the new process when the thread that
    /// started it ends.
    pub(crate) fn spawn(program: &Program, role: Role) -> io::Result<Self> {
        let (socket, theirs) = packet::pair()?;
        let (stderr, their_stderr) = pipe()?;
        let assignment = Assignment {
            role,
            host: std::process::id(),
        };
        let started_by = geteuid().as_raw();
        // All that is needed fits `posix_spawn`. A `pre_exec` closure would fork a possibly huge server.
        let mut child = Command::new(program.exec_path())
            .arg0("stockade-worker")
            .env_clear()
            .env(VARIABLE, assignment.to_value())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(their_stderr))
            .spawn()?;
        let pid = child.id();
        let pidfd = open_pidfd(pid).inspect_err(|_| {
            let _ = child.kill();
            let _ = child.wait();
        })?;
        Ok(Self {
            pid,
            started_by,
            pidfd,
            socket,
            stderr,
            owner: fork::generation(),
            reaped: AtomicBool::new(false),
            forked: None,
        })
    }

    /// Who this process was, by its effective user, when it started it.
    pub(crate) fn started_by(&self) -> u32 {
        self.started_by
    }

    /// Readable once the process is dead.
    pub(crate) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Our end of the socket that is its standard input.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn is_ours(&self) -> bool {
        self.owner == fork::generation()
    }

    /// Sends SIGKILL, to a process that may be dead already. `false` when this one may not: it may have become another
    /// user since.
    pub(crate) fn kill(&self) -> bool {
        if !self.is_ours() {
            return false;
        }
        let sent = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        matches!(sent, Ok(()) | Err(rustix::io::Errno::SRCH))
    }

    /// Runs the handler that stops a call.
    pub(crate) fn interrupt(&self) {
        if !self.is_ours() {
            return;
        }
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::USR1);
    }

    /// How it ended, once it is dead; `None` also when somebody else took the exit status.
    pub(crate) fn reap(&self) -> Option<Exit> {
        self.reap_as(WaitIdOptions::NOHANG)
    }

    /// Kills it, unless it is dead already, and says how it ended.
    pub(crate) fn finish(&self) -> Option<Exit> {
        /// How long one that may not be killed has to end by itself. Far longer than that takes.
        const END_WITHIN: Duration = Duration::from_secs(1);
        if self.kill() || !self.is_ours() || self.is_forked() {
            return self.reap_as(WaitIdOptions::empty());
        }
        // One that has not been told what to be ends when nobody will. Others would be waited for in vain.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        let until = Instant::now() + END_WITHIN;
        while !self.is_dead() && Instant::now() < until {
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            let left = until.saturating_duration_since(Instant::now());
            // A signal may end it before that.
            let _ = rustix::event::poll(&mut fds, left.try_into().ok().as_ref());
        }
        self.reap()
    }

    /// Kills it, for those who must know that it does no more; the error is why it lives on.
    pub(crate) fn end(self) -> Result<(), &'static str> {
        self.finish();
        match self.is_dead() {
            true => Ok(()),
            false => {
                Err("it cannot be ended: this process has become another user since it was started")
            }
        }
    }

    /// Takes the exit status, which is a diagnostic and no more: an application that waits for all
    /// children, or ignores SIGCHLD, may have taken it before.
    ///
    /// A forked one is its server's to reap, unless that died and this process is whom orphans are given to: then
    /// it must be reaped here.
    fn reap_as(&self, how: WaitIdOptions) -> Option<Exit> {
        if let Some(exit) = self.forked.as_ref().and_then(|forked| forked.exit.get()) {
            self.reaped.store(true, Ordering::Relaxed);
            return Some(*exit);
        }
        loop {
            match rustix::process::waitid(
                WaitId::PidFd(self.pidfd.as_fd()),
                WaitIdOptions::EXITED | how,
            ) {
                Ok(Some(status)) => {
                    self.reaped.store(true, Ordering::Relaxed);
                    let code = status.exit_status().map(Exit::Code);
                    return code.or_else(|| status.terminating_signal().map(Exit::Signal));
                }
                Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return None,
                Err(_) => {
                    self.reaped.store(true, Ordering::Relaxed);
                    return None;
                }
            }
        }
    }

    /// The end of what it wrote to stderr, up to what the pipe held.
    pub(crate) fn stderr_tail(&self) -> String {
        let mut bytes = vec![0; 64 << 10];
        let mut len = 0;
        while len < bytes.len() {
            match rustix::io::read(&self.stderr, &mut bytes[len..]) {
                Ok(n) if n > 0 => len += n,
                _ => break,
            }
        }
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    /// Whether it is dead, as the kernel says.
    pub(crate) fn is_dead(&self) -> bool {
        has_ended(self.pidfd.as_fd())
    }

    /// Waits until it has sent something or is dead; `false` when `until` comes first.
    pub(crate) fn wait_for_message(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Ok(false);
            }
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.pidfd, PollFlags::IN),
            ];
            let timeout = left.try_into().ok();
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_ours() && !self.reaped.load(Ordering::Relaxed) {
            self.finish();
        }
    }
}

/// Whether the process of a pidfd has ended; its number is its own for as long as not.
pub(super) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(1))
}

fn open_pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the process has no id"))?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// A pipe whose ends never wait: a worker that floods it loses text, nothing else.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::pipe::PipeFlags;
    Ok(rustix::pipe::pipe_with(
        PipeFlags::CLOEXEC | PipeFlags::NONBLOCK,
    )?)
}
