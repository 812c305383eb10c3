//! What the kernel shows about a process, and which of its walls that proves.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{Mode, OFlags};
use stockade_wire::message::FILES_END;
use stockade_wire::sys::landlock;

use super::{Wall, WallState, claimed, descriptors, missing};
use crate::limits::Hardening;
use crate::proc_file;
use crate::wasi::Directories;

/// What the kernel shows about a process, read once: this takes a good part of its start.
pub(super) struct Kernel {
    pid: u32,
    /// `/proc/PID`.
    directory: Option<OwnedFd>,
    status: String,
    limits: String,
    /// Whom its files in /proc belong to: not its user, when nobody may look into it.
    shown_owner: Option<u32>,
}

impl Kernel {
    pub(super) fn about(pid: u32) -> Self {
        let directory = rustix::fs::open(
            format!("/proc/{pid}"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let directory = directory.ok();
        let open = |name| open_in(directory.as_ref()?, name, OFlags::RDONLY).ok();
        let said = |file| proc_file::text(file).ok();
        let status = open("status");
        Self {
            pid,
            limits: open("limits").and_then(said).unwrap_or_default(),
            shown_owner: status
                .as_ref()
                .and_then(|status| status.metadata().ok())
                .map(|shown| shown.uid()),
            status: status.and_then(said).unwrap_or_default(),
            directory,
        }
    }

    pub(super) fn state(
        &self,
        wall: Wall,
        hardening: Hardening,
        granted: &Directories,
    ) -> WallState {
        // Some kernels and some mounts of /proc do not show it: then there is only the worker's word.
        let shows = |line: &str| self.status.contains(line);
        let if_shown = |line: &str, holds: bool, reason: &str| match shows(line) {
            true if holds => WallState::Verified,
            true => missing(reason),
            false => claimed(hardening),
        };
        let is = |holds: bool, reason: &str| match holds {
            true => WallState::Verified,
            false => missing(reason),
        };
        let uid = self.numbers("Uid:").first().copied();
        let descriptors_end = match granted.is_empty() {
            true => "0".to_owned(),
            false => FILES_END.to_string(),
        };
        match wall {
            Wall::NoNewPrivileges => if_shown(
                "NoNewPrivs:",
                self.numbers("NoNewPrivs:") == [1],
                "the kernel does not show it",
            ),
            Wall::SystemCallFilter => if_shown(
                "Seccomp:",
                self.numbers("Seccomp:") == [2] && self.has_a_filter_of_its_own(),
                "the kernel shows no filter of its own: seccomp must be allowed, as it is by default in containers",
            ),
            Wall::NoCapabilities => if_shown(
                "CapEff:",
                ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"]
                    .iter()
                    .all(|set| {
                        self.text(set)
                            .is_some_and(|bits| bits.bytes().all(|b| b == b'0'))
                    }),
                "the kernel shows some",
            ),
            Wall::ResourceLimits if self.limits.is_empty() => claimed(hardening),
            Wall::ResourceLimits => is(
                ["Max core file size", "Max processes"]
                    .iter()
                    .all(|name| self.hard_limit(name) == Some("0"))
                    && self.hard_limit("Max open files") == Some(&*descriptors_end),
                "the kernel shows higher ones",
            ),
            // To root everything of root's looks the same.
            Wall::NotDumpable if uid == Some(0) || uid.is_none() => claimed(hardening),
            Wall::NotDumpable => is(
                self.shown_owner.map(u64::from) != uid,
                "its files in /proc belong to its user",
            ),
            Wall::OneThread => if_shown(
                "Threads:",
                self.numbers("Threads:") == [1],
                "the kernel shows more",
            ),
            Wall::Descriptors => {
                let found = self.directory.as_ref().map(|directory| {
                    let fds = open_in(directory, "fd", OFlags::RDONLY | OFlags::DIRECTORY);
                    descriptors::first_foreign(fds?.into(), granted, self.is_forked())
                });
                match found {
                    Some(Ok(None)) => WallState::Verified,
                    Some(Ok(Some(link))) => missing(&format!(
                        "it has a descriptor that is none of a worker's: {link}"
                    )),
                    Some(Err(_)) | None => claimed(hardening),
                }
            }
            Wall::Environment | Wall::DeathString | Wall::ResetProof => claimed(hardening),
            Wall::Landlock => match landlock::abi() {
                Some(_) => claimed(hardening),
                None => missing(
                    "this kernel has no Landlock, or it is not in its list of security modules (`lsm=landlock,…`)",
                ),
            },
            Wall::OwnUser if uid.is_some() && uid == granted.owner().map(u64::from) => {
                missing("it runs as the user who owns the directories that guests may write")
            }
            Wall::OwnUser => {
                let ours = u64::from(rustix::process::getuid().as_raw());
                is(
                    uid.is_some_and(|uid| uid != ours),
                    "it runs as the host's user: hosts that are started as root give workers one of their own",
                )
            }
            Wall::UserNamespace
            | Wall::NetworkNamespace
            | Wall::IpcNamespace
            | Wall::MountNamespace
            | Wall::UtsNamespace
            | Wall::CgroupNamespace
            | Wall::PidNamespace => claimed(hardening),
            Wall::Cgroup => {
                let of = |who: &str| proc_file::read(format!("/proc/{who}/cgroup")).ok();
                let theirs = of(&self.pid.to_string());
                is(
                    theirs.is_some() && theirs != of("self"),
                    "it is in the host's",
                )
            }
        }
    }

    /// The application may live under a filter already, which its children inherit.
    fn has_a_filter_of_its_own(&self) -> bool {
        // Of the thread that starts workers, if it is that one which looks. Not by prctl(2), for which a filter may kill.
        let ours = proc_file::read("/proc/thread-self/status").unwrap_or_default();
        let count = |status| numbers(status, "Seccomp_filters:").first().copied();
        match (count(&self.status), count(&ours)) {
            (Some(theirs), Some(ours)) => theirs > ours,
            // Kernels before 5.10 do not count them.
            _ => numbers(&ours, "Seccomp:") == [0],
        }
    }

    /// Whether another process than this one is its parent.
    fn is_forked(&self) -> bool {
        self.numbers("PPid:") != [u64::from(std::process::id())]
    }

    fn numbers(&self, name: &str) -> Vec<u64> {
        numbers(&self.status, name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let line = self
            .status
            .lines()
            .find_map(|line| line.strip_prefix(name))?;
        Some(line.trim())
    }

    fn hard_limit(&self, name: &str) -> Option<&str> {
        let line = self
            .limits
            .lines()
            .find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)
    }
}

fn open_in(directory: &OwnedFd, name: &str, how: OFlags) -> io::Result<File> {
    let opened = rustix::fs::openat(directory, name, how | OFlags::CLOEXEC, Mode::empty());
    Ok(opened?.into())
}

pub(super) fn numbers(status: &str, name: &str) -> Vec<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let words = line.into_iter().flat_map(str::split_whitespace);
    words.filter_map(|word| word.parse().ok()).collect()
}
