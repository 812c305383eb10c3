//! One attacker: a child that builds its walls, makes one attack and ends.
#![expect(
    unsafe_code,
    reason = "children of a process of one thread, which end without destructors"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use stockade_wire::message;
use stockade_wire::namespaces::Handed;
use stockade_wire::sys::death_string::DeathString;
use stockade_wire::sys::packet;
use stockade_worker::proof::granted::Granted;
use stockade_worker::proof::{self, Wall, forks, later};

use crate::escape::attacks::{Attack, Field};
use crate::escape::call;
use crate::escape::column::Column;
use crate::escape::outcome::{self, Errno, NOT_SEALED, Outcome};
use crate::escape::stage::{Stage, Targets};

/// An attacker that needs longer than this waits for something that never comes.
const ATTACK_SECONDS_MAX: u32 = 20;

/// What an attacker is sent first.
const SETUP: &[u8] = b"setup";

/// A sibling ends by itself when this program was killed.
const SIBLING_SECONDS_MAX: u32 = 600;

/// Runs one attack behind one set of walls.
pub(crate) fn attempt(
    stage: &Stage,
    column: Column,
    sibling: Option<&Sibling>,
    attack: &Attack,
) -> Outcome {
    let host = stage.host;
    let kept = Sibling::kept_by(sibling);
    let (child, _link) = start(stage, column, host, ATTACK_SECONDS_MAX, kept, |targets| {
        let field = Field {
            stage,
            targets,
            // Of all that a forked worker can reach, its server has given up least.
            sibling: targets
                .server
                .or(sibling.map(|sibling| sibling.pid))
                .expect("whoever has no server has a sibling"),
        };
        match (attack.run)(&field) {
            Ok(()) => 0,
            Err(Errno(errno)) => errno,
        }
    });
    wait(child)
}

/// Another process with the same walls, which does nothing: as one worker is to another.
#[derive(Debug)]
pub(crate) struct Sibling {
    pid: libc::pid_t,
    _link: Link,
    /// The namespaces that it has made for others, as it describes them.
    kept: Option<Kept>,
}

type Kept = (Vec<u8>, Vec<OwnedFd>);

impl Sibling {
    /// None where another process takes its place.
    pub(crate) fn start(stage: &Stage, column: Column) -> Option<Self> {
        if column == Column::Forked {
            return None;
        }
        let host = stage.host;
        let (pid, link) = start(stage, column, host, SIBLING_SECONDS_MAX, None, |_| {
            tell_sealed();
            wait_while(&AtomicU32::new(0), 0);
            0
        });
        let hear = || packet::receive(&link.socket).expect("a socket of our own");
        let kept = column.enters().then(hear);
        hear_sealed(&link, column);
        Some(Self {
            pid,
            _link: link,
            kept,
        })
    }

    fn kept_by(this: Option<&Self>) -> Option<&Kept> {
        this.and_then(|sibling| sibling.kept.as_ref())
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        wait(self.pid);
    }
}

/// Whether a process goes on when the one that started it is gone.
///
/// That one is a child of this program's, which adopts what it leaves behind.
pub(crate) fn outlive_host(stage: &Stage, column: Column, sibling: Option<&Sibling>) -> Outcome {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("prctl");
    let [host_is_gone, survivor] = shared_words();
    // SAFETY: this process has one thread, so the child may do everything.
    let host = unsafe { libc::fork() };
    if host == 0 {
        let (child, link) = start(
            stage,
            column,
            std::process::id(),
            ATTACK_SECONDS_MAX,
            Sibling::kept_by(sibling),
            |_| {
                tell_sealed();
                wait_while(host_is_gone, 0);
                0
            },
        );
        hear_sealed(&link, column);
        survivor.store(child as u32, Ordering::Relaxed);
        // SAFETY: `_exit` is always sound.
        unsafe { libc::_exit(0) };
    }
    wait(host);
    host_is_gone.store(1, Ordering::Relaxed);
    let word = host_is_gone.as_ptr().expose_provenance();
    let _ = call::call(libc::SYS_futex, [word, libc::FUTEX_WAKE as usize, 1]);
    wait(survivor.load(Ordering::Relaxed) as libc::pid_t)
}

/// Two words, zero at first, that this process and its descendants share.
fn shared_words() -> &'static [AtomicU32; 2] {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping aliases nothing. It is never unmapped, it is aligned to a page, and zeroes are two
    // words that are reached by atomic operations only.
    unsafe {
        let page = mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::SHARED);
        &*page.expect("memory").cast::<[AtomicU32; 2]>()
    }
}

/// Sleeps until the word is another one.
fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Relaxed) == value {
        let at = word.as_ptr().expose_provenance();
        let wait = libc::FUTEX_WAIT as usize;
        let _ = call::call(libc::SYS_futex, [at, wait, value as usize, 0]);
    }
}

/// Tells whoever started this process that its walls stand.
fn tell_sealed() {
    let _ = packet::send(socket_to_host(), b"sealed", &[]);
}

fn hear_sealed(link: &Link, column: Column) {
    let (said, _) = packet::receive(&link.socket).expect("a socket of our own");
    assert_eq!(
        said,
        b"sealed",
        "the walls of {} do not stand",
        column.name()
    );
}

fn wait(child: libc::pid_t) -> Outcome {
    let mut status = 0;
    // SAFETY: `status` outlives the call, and the child is ours alone.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    Outcome::of_status(status)
}

/// What the host holds of a process.
#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    /// By which a process that is not its child dies with it.
    _string: Option<DeathString>,
}

/// Forks a child that does `then` behind its walls and ends with its result as exit code.
fn start(
    stage: &Stage,
    column: Column,
    host: u32,
    seconds: u32,
    kept: Option<&Kept>,
    then: impl FnOnce(Targets) -> i32,
) -> (libc::pid_t, Link) {
    let shared = match column.has_seals() {
        true => &stage.sealed,
        false => &stage.plain,
    };
    let (socket, theirs) = packet::pair().expect("descriptors");
    // What a worker is sent, and what it could receive if it were allowed to receive anything later.
    let mut fds = shared.fds().to_vec();
    if column.has_directories() {
        fds.extend([
            stage.directories.read.as_fd(),
            stage.directories.written.as_fd(),
        ]);
    }
    let string = (column == Column::Forked).then(|| DeathString::new().expect("descriptors"));
    let (string, end) = string.unzip();
    fds.extend(end.as_ref().map(AsFd::as_fd));
    let mut said = SETUP.to_vec();
    if let Some((description, namespaces)) = kept {
        said.extend(description);
        fds.extend(namespaces.iter().map(AsFd::as_fd));
    }
    packet::send(&socket, &said, &fds).expect("room");
    packet::send(&socket, b"more", &[stage.file.as_fd()]).expect("room");
    // SAFETY: this process has one thread, so the child may do everything.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{:?}", Errno::last());
    if child == 0 {
        drop(string);
        let code = match become_attacker(stage, column, host, seconds, &theirs) {
            Ok(targets) => then(targets),
            Err(why) => {
                eprintln!("{why}");
                NOT_SEALED
            }
        };
        // SAFETY: `_exit` is always sound.
        unsafe { libc::_exit(code) };
    }
    let link = Link {
        socket,
        _string: string,
    };
    (child, link)
}

fn become_attacker(
    stage: &Stage,
    column: Column,
    host: u32,
    seconds: u32,
    socket: &OwnedFd,
) -> Result<Targets, String> {
    // SAFETY: no handler is installed: the signal ends the process.
    unsafe { libc::alarm(seconds) };
    // SAFETY: descriptor 0 belongs to nobody else: this program reads no input.
    if unsafe { libc::dup2(socket.as_raw_fd(), 0) } != 0 {
        return Err(format!("{:?}", Errno::last()));
    }
    match column {
        Column::Worker
        | Column::Later
        | Column::Compiler
        | Column::Initializer
        | Column::Granted
        | Column::ForkServer
        | Column::Forked => proof::begin(host),
        // What a worker does before it is sent anything.
        Column::Only(wall @ (Wall::Descriptors | Wall::Environment)) => {
            wall.build(host, socket.as_fd())?;
        }
        _ => {}
    }
    let (said, mut fds) = packet::receive(socket_to_host()).map_err(|error| error.to_string())?;
    let Some(description) = said.strip_prefix(SETUP) else {
        return Err("the host said something else".to_owned());
    };
    let more = fds.split_off(fds.len().min(4));
    // They stay open until the end, as those of a worker do.
    let [request, reply, artifact, eventfd] = &**Box::leak(Box::new(
        <Box<[OwnedFd; 4]>>::try_from(fds.into_boxed_slice())
            .map_err(|fds| format!("{} descriptors", fds.len()))?,
    ));
    let mut targets = Targets {
        request: request.as_raw_fd(),
        reply: reply.as_raw_fd(),
        artifact: artifact.as_raw_fd(),
        written: stage.directories.written.as_raw_fd(),
        server: None,
    };
    match column {
        Column::None | Column::Seals => {}
        Column::Only(Wall::Descriptors | Wall::Environment) => {}
        Column::Only(wall) => wall.build(host, eventfd.as_fd())?,
        Column::Worker => proof::seal_worker(host, eventfd.as_fd())?,
        Column::Entered => later(description, more)?.build_namespaces(hand_over)?,
        Column::Later => {
            later(description, more)?.seal_worker(host, eventfd.as_fd(), hand_over)?;
        }
        Column::Compiler => proof::seal_compiler(host, eventfd.as_fd())?,
        Column::Initializer => proof::seal_initializer(host, eventfd.as_fd())?,
        Column::GrantedLandlock | Column::GrantedFilter | Column::Granted => {
            let [to_read, to_write] = more
                .try_into()
                .map_err(|more: Vec<_>| format!("{} directories", more.len()))?;
            targets.written = to_write.as_raw_fd();
            let granted: &'static Granted = Box::leak(Box::new(Granted::new(to_read, to_write)?));
            match column {
                Column::GrantedLandlock => granted.build_landlock()?,
                Column::GrantedFilter => granted.build_filter(eventfd.as_fd())?,
                _ => granted.seal_worker(host, eventfd.as_fd())?,
            }
        }
        Column::ForkServer => {
            forks::seal_server(host)?;
        }
        Column::Forked => {
            let [string]: &'static [OwnedFd] = more.leak() else {
                return Err("there is no string".to_owned());
            };
            let server = forks::seal_server(host)?;
            targets.server = Some(fork_and_relay());
            server.seal_forked(string.as_fd(), eventfd.as_fd())?;
        }
    }
    Ok(targets)
}

/// What a worker finds that its host's first one has made; nothing if it is that.
fn later(description: &[u8], fds: Vec<OwnedFd>) -> Result<later::Kept, String> {
    match description {
        [] => Ok(later::Kept::nothing()),
        _ => later::Kept::new(
            message::decode(description).map_err(|error| error.to_string())?,
            fds,
        ),
    }
}

fn hand_over(said: &Handed, fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    packet::send(socket_to_host(), &message::encode(said), &fds).expect("room");
}

/// Goes on in a child, whose end becomes that of this process. In the child: who its parent is.
fn fork_and_relay() -> libc::pid_t {
    let own = std::process::id() as libc::pid_t;
    // SAFETY: this process has one thread, so the child may do everything.
    let child = unsafe { libc::fork() };
    if child == 0 {
        return own;
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call, and the child is ours alone. `_exit` is always sound.
    unsafe {
        let waited = libc::waitpid(child, &raw mut status, 0) == child;
        libc::_exit(if waited {
            outcome::relayed(status)
        } else {
            NOT_SEALED
        })
    }
}

fn socket_to_host() -> BorrowedFd<'static> {
    // SAFETY: `become_attacker` made it the socket, and nothing closes it.
    unsafe { BorrowedFd::borrow_raw(0) }
}
