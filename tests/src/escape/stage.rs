//! The host that is attacked, and what there is to attack: everything that an escaped guest would like to have.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use stockade_wire::slot::{Geometry, HostSlot};
use stockade_wire::sys::memfd;

use crate::escape::call;

/// The variable that holds what nobody is to learn.
pub(crate) const SECRET: &str = "STOCKADE_ESCAPE_SECRET";

/// What an attacker reads or overwrites in another process.
pub(crate) static MARK: AtomicU64 = AtomicU64::new(0x5ec2_e7ba_5e0f_4a11);

/// The length of each memory that is shared with a worker. Larger than the attacks need.
pub(crate) const SHARED_BYTES: usize = 8192;

/// The host.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) host: u32,
    /// A directory of the test's own, and what the test put there.
    pub(crate) dir: PathBuf,
    /// A descriptor of the host's.
    pub(crate) file: File,
    /// The same under a number that nothing else gets, and not closed on exec.
    pub(crate) inherited: RawFd,
    pub(crate) tcp: SocketAddr,
    pub(crate) udp: SocketAddr,
    pub(crate) abstract_name: UnixAddr,
    pub(crate) socket_path: PathBuf,
    pub(crate) program: CString,
    pub(crate) plain: Shared,
    pub(crate) sealed: Shared,
    pub(crate) directories: Directories,
    _listeners: (TcpListener, UdpSocket, UnixDatagram, UnixListener, HostSlot),
}

/// What a host shares with a worker.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) request: OwnedFd,
    pub(crate) reply: OwnedFd,
    pub(crate) artifact: OwnedFd,
    pub(crate) eventfd: OwnedFd,
}

/// The same, as an attacker knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) request: RawFd,
    pub(crate) reply: RawFd,
    pub(crate) artifact: RawFd,
    /// The directory that it may write.
    pub(crate) written: RawFd,
    /// The process that has forked it, if that is a server of ours.
    pub(crate) server: Option<libc::pid_t>,
}

/// What is granted, and what is beside it.
#[derive(Debug)]
pub(crate) struct Directories {
    pub(crate) read: File,
    pub(crate) written: File,
}

impl Directories {
    /// Everything that there is to attack, in a directory of the host's.
    fn make(dir: &Path) -> io::Result<Self> {
        for name in ["read", "written", "outside"] {
            fs::create_dir(dir.join(name))?;
            fs::write(dir.join(name).join("file"), "a text")?;
        }
        symlink("../outside/file", dir.join("written/relative"))?;
        symlink(dir.join("outside"), dir.join("written/absolute"))?;
        symlink("file", dir.join("outside/link"))?;
        fs::copy("/usr/bin/test", dir.join("written/program"))?;
        Ok(Self {
            read: File::open(dir.join("read"))?,
            written: File::open(dir.join("written"))?,
        })
    }
}

impl Shared {
    /// In the order in which they are sent.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; 4] {
        [&self.request, &self.reply, &self.artifact, &self.eventfd].map(AsFd::as_fd)
    }

    fn with(memories: [OwnedFd; 2], artifact: OwnedFd) -> Self {
        let [request, reply] = memories;
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        Self {
            request,
            reply,
            artifact,
            eventfd: rustix::event::eventfd(0, flags).expect("an eventfd"),
        }
    }
}

impl Stage {
    pub(crate) fn set_up(dir: &Path) -> Self {
        // Where Yama stands, only a descendant may be looked into; without walls an attack must succeed.
        let _ = call::call(
            libc::SYS_prctl,
            [libc::PR_SET_PTRACER as usize, usize::MAX, 0, 0, 0],
        );
        let dir = dir.to_owned();
        let file = File::open(dir.join("file")).expect("the test made it");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let name = format!("stockade-escape-{}", std::process::id());
        let abstract_name = UnixAddr::from_abstract_name(name).expect("a short name");
        let datagrams = UnixDatagram::bind_addr(&abstract_name).expect("a name of our own");
        let socket_path = dir.join(format!("socket-{}", std::process::id()));
        let at_path = UnixListener::bind(&socket_path).expect("a directory of our own");
        let inherited = call::call(
            libc::SYS_fcntl,
            [file.as_raw_fd() as usize, libc::F_DUPFD as usize, 500],
        );
        let (slot, sealed) = sealed_memories();
        let program = std::env::current_exe().expect("this program has a path");
        Self {
            host: std::process::id(),
            file,
            inherited: inherited.expect("a high number") as RawFd,
            tcp: tcp.local_addr().expect("it is bound"),
            udp: udp.local_addr().expect("it is bound"),
            abstract_name,
            socket_path,
            program: call::c_string(program.to_str().expect("a plain path")),
            plain: plain_memories().expect("memory"),
            sealed,
            directories: Directories::make(&dir).expect("the directory is new"),
            dir,
            _listeners: (tcp, udp, datagrams, at_path, slot),
        }
    }

    /// A path in the host's directory of /proc.
    pub(crate) fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.host)
    }

    pub(crate) fn host_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// As a host makes them.
fn sealed_memories() -> (HostSlot, Shared) {
    let geometry = Geometry::new(SHARED_BYTES, SHARED_BYTES).expect("it is small");
    let (slot, memories) = HostSlot::new(geometry).expect("memory");
    let artifact = memfd::sealed("artifact", &[0; SHARED_BYTES]).expect("memory");
    (slot, Shared::with(memories, artifact))
}

fn plain_memories() -> io::Result<Shared> {
    let plain = || {
        let memory = memfd::unsealed("plain")?;
        rustix::fs::ftruncate(&memory, SHARED_BYTES as u64)?;
        io::Result::Ok(memory)
    };
    Ok(Shared::with([plain()?, plain()?], plain()?))
}
