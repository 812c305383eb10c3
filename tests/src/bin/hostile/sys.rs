//! What a process does to itself, and how it speaks to its host.
#![expect(
    unsafe_code,
    reason = "signal dispositions have no safe interface; descriptor 0 is closed by number; fork"
)]

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal};
use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade_wire::message;
use stockade_wire::message::WorkerMessage;
use stockade_wire::namespaces::{Namespace, Namespaces, Outcome};
use stockade_wire::sys::packet;

/// The first steps: nothing of this program outlives its test or leaves a core file.
pub(crate) fn begin() {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none).expect("setrlimit");
    // SAFETY: the dispositions are replaced by ones that run no code, in a process of one thread.
    unsafe {
        // What asks an honest worker to stop: a liar has to be killed.
        libc::signal(libc::SIGUSR1, libc::SIG_IGN);
        // Rust's handler survives a signal that no instruction caused.
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
    }
}

/// What the host sends first, and its descriptors.
pub(crate) fn receive<T: DeserializeOwned, const FDS: usize>() -> (T, [OwnedFd; FDS]) {
    let (setup, fds) = receive_any();
    (
        setup,
        fds.try_into().expect("the host sends what it promised"),
    )
}

/// The same, with as many descriptors as there are.
pub(crate) fn receive_any<T: DeserializeOwned>() -> (T, Vec<OwnedFd>) {
    let (bytes, fds) = packet::receive(io::stdin()).expect("the host speaks first");
    if bytes.is_empty() {
        process::exit(0);
    }
    let setup = message::decode(&bytes).expect("the host is honest");
    (setup, fds)
}

pub(crate) fn tell(message: &impl Serialize) {
    tell_bytes(&message::encode(message));
}

/// The same, and hands over a descriptor.
pub(crate) fn tell_with(message: &impl Serialize, fds: &[impl AsFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    if packet::send(io::stdin(), &message::encode(message), &fds).is_err() {
        process::exit(0);
    }
}

pub(crate) fn tell_bytes(bytes: &[u8]) {
    if packet::send(io::stdin(), bytes, &[]).is_err() {
        process::exit(0);
    }
}

/// That its artifact is loaded, in no namespace of its own.
pub(crate) fn loaded() -> WorkerMessage {
    WorkerMessage::Loaded(Namespaces::default())
}

/// The same, in a namespace. Nobody can look into this process any more, so that the kernel does not say the contrary by
/// itself.
pub(crate) fn loaded_in(namespace: Namespace, how: Outcome) -> WorkerMessage {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).expect("prctl");
    let mut namespaces = Namespaces::default();
    namespaces.note(namespace, how);
    WorkerMessage::Loaded(namespaces)
}

/// By its name in `/proc/PID/ns`.
pub(crate) fn namespace(name: &str) -> Namespace {
    let mut all = Namespace::ALL.into_iter();
    all.find(|one| one.link() == name)
        .expect("there is such a namespace")
}

/// A message as another version of the protocol would have it.
pub(crate) fn of_version_99(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = message::encode(message);
    bytes[4..8].copy_from_slice(&99u32.to_le_bytes());
    bytes
}

/// A message whose body is cut off.
pub(crate) fn damaged(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = message::encode(message);
    bytes.pop();
    bytes
}

pub(crate) fn close_socket() {
    // SAFETY: nothing uses descriptor 0 after this but calls that may fail.
    drop(unsafe { OwnedFd::from_raw_fd(0) });
}

/// A child that does this and then nothing, until its parent ends.
pub(crate) fn fork_to(then: impl FnOnce()) -> Pid {
    // SAFETY: this process has one thread, so the child may do whatever this process may.
    match unsafe { libc::fork() } {
        0 => {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
            then();
            stall()
        }
        child => Pid::from_raw(child)
            .filter(|_| child > 0)
            .expect("it can fork"),
    }
}

/// Sends this process a signal: one that ends or stops it.
pub(crate) fn suffer(signal: Signal) {
    rustix::process::kill_process(rustix::process::getpid(), signal).expect("kill");
}

/// Never returns, and never uses a CPU.
pub(crate) fn stall() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
