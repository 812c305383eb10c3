//! Other processes, the host and a sibling, and what the kernel keeps about this one.

use std::ffi::c_long;

use super::{Attack, Field, attack};
use crate::escape::call::{address, call, signed};
use crate::escape::outcome::{Attempt, Errno, NOTHING_THERE};
use crate::escape::stage::MARK;

pub(super) const ATTACKS: &[Attack] = &[
    attack("signal-host", |f| signal(signed(f.stage.host))),
    attack("signal-sibling", |f| signal(signed(f.sibling))),
    attack("signal-thread-of-host", signal_thread_of_host),
    attack("trace-host", |f| trace(signed(f.stage.host))),
    attack("trace-sibling", |f| trace(signed(f.sibling))),
    attack("read-host", |f| move_mark(libc::SYS_process_vm_readv, f)),
    attack("write-host", |f| move_mark(libc::SYS_process_vm_writev, f)),
    attack("open-pidfd-of-host", |f| open_pidfd(f).map(drop)),
    attack("signal-host-by-pidfd", signal_host_by_pidfd),
    attack("take-host-descriptor", take_host_descriptor),
    attack("change-host-limits", change_host_limits),
    attack("slow-host-down", slow_host_down),
    attack("raise-own-limits", raise_own_limits),
    attack("clear-death-signal", |_| prctl(libc::PR_SET_PDEATHSIG, 0)),
    attack("become-dumpable", |_| prctl(libc::PR_SET_DUMPABLE, 1)),
    attack("become-root", |_| {
        call(libc::SYS_setresuid, [0, 0, 0]).map(drop)
    }),
    attack("leave-session", |_| call(libc::SYS_setsid, []).map(drop)),
];

/// Asks whether a signal could be sent, and sends none.
fn signal(to: usize) -> Attempt {
    call(libc::SYS_kill, [to, 0]).map(drop)
}

fn signal_thread_of_host(field: &Field<'_>) -> Attempt {
    let host = field.stage.host as usize;
    call(libc::SYS_tgkill, [host, host, 0]).map(drop)
}

/// Without stopping it.
fn trace(process: usize) -> Attempt {
    call(
        libc::SYS_ptrace,
        [libc::PTRACE_SEIZE as usize, process, 0, 0],
    )
    .map(drop)
}

fn move_mark(direction: c_long, field: &Field<'_>) -> Attempt {
    let mut here = MARK.load(std::sync::atomic::Ordering::Relaxed);
    let mut local = [address(&mut here), 8];
    let mut remote = [MARK.as_ptr().expose_provenance(), 8];
    let host = field.stage.host as usize;
    let moved = call(
        direction,
        [host, address(&mut local), 1, address(&mut remote), 1, 0],
    )?;
    (moved == 8).then_some(()).ok_or(NOTHING_THERE)
}

fn open_pidfd(field: &Field<'_>) -> Result<usize, Errno> {
    call(libc::SYS_pidfd_open, [field.stage.host as usize, 0])
}

fn signal_host_by_pidfd(field: &Field<'_>) -> Attempt {
    let pidfd = open_pidfd(field)?;
    call(libc::SYS_pidfd_send_signal, [pidfd, 0, 0, 0]).map(drop)
}

fn take_host_descriptor(field: &Field<'_>) -> Attempt {
    let pidfd = open_pidfd(field)?;
    let fd = field.stage.host_fd() as usize;
    call(libc::SYS_pidfd_getfd, [pidfd, fd, 0]).map(drop)
}

/// To what they are.
fn change_host_limits(field: &Field<'_>) -> Attempt {
    let host = field.stage.host as usize;
    let which = libc::RLIMIT_CORE as usize;
    let mut limits = [0u64; 2];
    let limits = address(&mut limits);
    call(libc::SYS_prlimit64, [host, which, 0, limits])?;
    call(libc::SYS_prlimit64, [host, which, limits, 0]).map(drop)
}

/// To the CPUs that it may use already.
fn slow_host_down(field: &Field<'_>) -> Attempt {
    let host = field.stage.host as usize;
    let mut cpus = [0u64; 16];
    let bytes = size_of_val(&cpus);
    let cpus = address(&mut cpus);
    call(libc::SYS_sched_getaffinity, [host, bytes, cpus])?;
    call(libc::SYS_sched_setaffinity, [host, bytes, cpus]).map(drop)
}

/// To one descriptor more than a fork server may have, which may have more than any worker.
fn raise_own_limits(_: &Field<'_>) -> Attempt {
    let mut limits = [65u64; 2];
    let which = libc::RLIMIT_NOFILE as usize;
    call(libc::SYS_prlimit64, [0, which, address(&mut limits), 0]).map(drop)
}

fn prctl(what: i32, value: usize) -> Attempt {
    call(libc::SYS_prctl, [what as usize, value, 0, 0, 0]).map(drop)
}
