//! The other process of a baseline: this program, started again with [`ARGUMENT`], with a socket as its
//! standard input. It ends when that socket does.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use stockade_wire::sys::mapping::Mapping;
use stockade_wire::sys::memfd::SizedMemfd;

use super::{bare_slot, fork, line, socket};
use crate::cpus::Pinned;

/// As the first argument it makes this program a peer; its kind follows, then its CPU or `any`.
const ARGUMENT: &str = "--peer";

/// What a peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answers on a shared cache line.
    Line,
    /// Calls a guest, for one who asks in shared memory.
    BareSlot,
    /// Answers on its socket.
    Socket,
    /// Forks, far away from this process's mappings.
    Fork,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Line, Self::BareSlot, Self::Socket, Self::Fork];

    fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::BareSlot => "bare-slot",
            Self::Socket => "socket",
            Self::Fork => "fork",
        }
    }
}

/// A running peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) socket: UnixStream,
    child: Child,
}

impl Peer {
    /// Starts one on `cpu`, if that is given; `stdout` is for what else it needs.
    pub(crate) fn start(kind: Kind, cpu: Option<usize>, stdout: Option<OwnedFd>) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let cpu = cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string());
        let child = Command::new("/proc/self/exe")
            .args([ARGUMENT, kind.name(), &cpu])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(stdout.map_or_else(Stdio::null, Stdio::from))
            .spawn()
            .context("cannot start the other end of a baseline")?;
        Ok(Self { socket, child })
    }

    /// The same with memory that both ends can write.
    pub(super) fn sharing(kind: Kind, cpu: usize, bytes: usize) -> Result<(Self, Mapping)> {
        let memory = SizedMemfd::new(kind.name(), bytes)?;
        let mapping = Mapping::read_write(&memory, bytes)?;
        let peer = Self::start(kind, Some(cpu), Some(memory.into_fd()))?;
        Ok((peer, mapping))
    }

    pub(crate) fn send(&mut self, number: u64) -> Result<()> {
        Ok(self.socket.write_all(&number.to_ne_bytes())?)
    }

    pub(crate) fn receive(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.socket.read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// Fails when the process has ended, which it never does by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the other end of a baseline ended: {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the peer, if the arguments say so.
pub(crate) fn run_if_asked(arguments: &[String]) -> Option<Result<()>> {
    match arguments {
        [first, kind, cpu] if first == ARGUMENT => Some(run(kind, cpu)),
        _ => None,
    }
}

fn run(kind: &str, cpu: &str) -> Result<()> {
    let kind = Kind::ALL.into_iter().find(|known| known.name() == kind);
    let kind = kind.context("a peer of unknown kind")?;
    let _pinned = match cpu {
        "any" => None,
        cpu => Some(Pinned::to(cpu.parse()?)?),
    };
    let mut control = Control;
    match kind {
        Kind::Line => line::answer(&mut control),
        Kind::BareSlot => bare_slot::answer(&mut control),
        Kind::Socket => socket::answer(),
        Kind::Fork => fork::answer(&mut control),
    }
}

/// Whether this peer is left alone: who was killed cannot end it, and it must not spin for ever.
pub(super) fn is_orphan() -> bool {
    rustix::process::getppid().is_none_or(|parent| parent.is_init())
}

/// The peer's end of the socket.
#[derive(Debug)]
pub(crate) struct Control;

impl Control {
    /// The next number; `None` when nobody wants anything any more.
    pub(crate) fn receive(&mut self) -> Result<Option<u64>> {
        let mut bytes = [0; 8];
        match rustix::io::read(std::io::stdin(), &mut bytes)? {
            0 => Ok(None),
            8 => Ok(Some(u64::from_ne_bytes(bytes))),
            _ => bail!("a number in pieces"),
        }
    }

    pub(crate) fn send(&mut self, number: u64) -> Result<()> {
        rustix::io::write(std::io::stdin(), &number.to_ne_bytes())?;
        Ok(())
    }
}
