//! Which namespaces a process is in, as far as the kernel shows it to this one.
//!
//! The links in `/proc/PID/ns` are for those who may look into the process: root, as a rule. But other files there
//! differ between namespaces and are shown to everybody; what has been seen of the rest is in [`SeenNamespaces`].

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;

use stockade_wire::namespaces::{Namespace, Outcome};

use super::kernel::numbers;
use super::{Wall, WallState, claimed, missing};
use crate::limits::Hardening;
use crate::proc_file::read;
use crate::process::{HandedNamespaces, Process, SeenNamespaces, Shown};

/// What the kernel shows of each namespace of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ShownNamespaces([Shown; Namespace::ALL.len()]);

impl ShownNamespaces {
    /// Looks at a process that has all the namespaces that it will have, and that was given these to enter; `seen` is
    /// what has been seen already.
    ///
    /// Later ones it cannot enter: that takes a capability, and that it has none is looked at when it is ready.
    pub(crate) fn of(
        process: &Process,
        seen: &SeenNamespaces,
        given: Option<&HandedNamespaces>,
    ) -> Self {
        Self(Namespace::ALL.map(|namespace| shown(process, namespace, seen, given)))
    }

    pub(super) fn shown(&self, namespace: Namespace) -> Shown {
        self.0[namespace as usize]
    }
}

fn shown(
    process: &Process,
    namespace: Namespace,
    seen: &SeenNamespaces,
    given: Option<&HandedNamespaces>,
) -> Shown {
    let pid = process.pid;
    match Shown::by_link(pid, Some(process.pidfd()), namespace, given) {
        Shown::Hidden => {}
        shown => return shown,
    }
    let them = pid.to_string();
    match namespace {
        Namespace::User => {
            Shown::comparing(users(&them), users("self").filter(|ours| !ours.is_empty()))
        }
        Namespace::Network => Shown::comparing(network(&them), network("self")),
        Namespace::Mount => {
            Shown::comparing(mounts(&them), mounts("self").filter(|ours| ours.is_some()))
        }
        Namespace::Pid => Shown::comparing(depth(&them), depth("self")),
        Namespace::Ipc | Namespace::Uts | Namespace::Cgroup => seen.shown(namespace),
    }
}

/// Why a worker that says so of it lies, if it does.
pub(super) fn lie(wall: Wall, said: Outcome, shown: Shown) -> Option<String> {
    let truth = match (said, shown) {
        (Outcome::Made | Outcome::Entered, Shown::Shared) => "the kernel shows that of the host",
        (Outcome::Made | Outcome::Entered, Shown::Forged) => "what it hands over is none",
        _ => return None,
    };
    Some(format!(
        "it says that it has a {wall} of its own, and {truth}"
    ))
}

/// What that means for a worker that says so of it.
pub(super) fn state(
    namespace: Namespace,
    said: Outcome,
    shown: Shown,
    hardening: Hardening,
) -> WallState {
    match (shown, said) {
        (Shown::Own, _) => WallState::Verified,
        (Shown::Hidden, Outcome::Made | Outcome::Entered) => claimed(hardening),
        (Shown::Shared, Outcome::Made | Outcome::Entered) => missing("it shares the host's"),
        (Shown::Forged, Outcome::Made | Outcome::Entered) => missing("what it hands over is none"),
        _ if hardening == Hardening::Insecure => missing("it was not asked for"),
        (_, Outcome::Refused(number)) => {
            let error = std::io::Error::from_raw_os_error(number);
            missing(&format!("the kernel does not grant it here: {error}"))
        }
        (_, Outcome::NotTried) if namespace == Namespace::Pid => {
            missing("only the workers of a fork server have one (`WorkerType::ForkServer`)")
        }
        (_, Outcome::NotTried) => missing("it made none"),
    }
}

/// The users that its namespace knows. A worker's knows none, and no other one's map is empty.
fn users(who: &str) -> Option<String> {
    read(format!("/proc/{who}/uid_map")).ok()
}

/// A file of its network's: the kernel numbers those of each network anew.
fn network(who: &str) -> Option<(u64, u64)> {
    /// Where these numbers begin. What plays the kernel may number otherwise.
    const FIRST: u64 = 0xf000_0000;
    let file = fs::metadata(format!("/proc/{who}/net/dev")).ok()?;
    (file.ino() >= FIRST).then_some((file.dev(), file.ino()))
}

/// The number of the first mount that it can reach, if there is one. A copy of a mount has another number.
fn mounts(who: &str) -> Option<Option<u64>> {
    let file = File::open(format!("/proc/{who}/mountinfo")).ok()?;
    let mut line = String::new();
    BufReader::new(file.take(4096)).read_line(&mut line).ok()?;
    match line.split_whitespace().next() {
        None => Some(None),
        Some(number) => number.parse().ok().map(Some),
    }
}

/// In how many pid namespaces it has a number, as /proc sees it.
fn depth(who: &str) -> Option<usize> {
    let status = read(format!("/proc/{who}/status")).ok()?;
    Some(numbers(&status, "NSpid:").len()).filter(|depth| *depth > 0)
}
