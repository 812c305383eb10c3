//! Signals to workers of this process, and to nobody else.

use crate::{BOUND, eventually};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Sends `signal` to a worker. A process that is gone, or not started by this one, is left alone.
///
/// # Panics
/// When no process can have this id.
#[track_caller]
pub fn send(pid: u32, signal: Signal) {
    let raw = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else {
        return;
    };
    // Looked at after the pidfd was opened: from then on the id cannot mean another process.
    if is_ours(pid) {
        let _ = pidfd_send_signal(pidfd, signal);
    }
}

/// Whether a process is a child of this one, or of a child: a fork server has the workers.
fn is_ours(pid: u32) -> bool {
    let myself = std::process::id();
    let above = parent(pid);
    above == Some(myself) || above.and_then(parent) == Some(myself)
}

/// The state of a process, as `ps` shows it.
#[must_use]
pub fn state(pid: u32) -> Option<char> {
    stat(pid)?.chars().next()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.split_whitespace().nth(1)?.parse().ok()
}

/// What follows the name in parentheses, which may contain anything.
fn stat(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

/// Waits until a worker that was given the call `spin` runs guest code: it has accepted the call then.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn until_spinning(pid: u32) {
    let before = cpu_time(pid);
    eventually(BOUND, || cpu_time(pid) > before + 3_000_000);
}

/// Nanoseconds of CPU time that a process has used.
fn cpu_time(pid: u32) -> u64 {
    let schedstat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    schedstat
        .split(' ')
        .next()
        .and_then(|ns| ns.parse().ok())
        .unwrap_or(0)
}
