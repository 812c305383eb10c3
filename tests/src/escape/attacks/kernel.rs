//! Parts of the kernel that no guest needs and many an exploit began with.

use super::{Attack, Field, attack};
use crate::escape::call::{address, call, signed, text};
use crate::escape::outcome::Attempt;

pub(super) const ATTACKS: &[Attack] = &[
    attack("io-uring", io_uring),
    attack("userfaultfd", |_| {
        call(libc::SYS_userfaultfd, [USER_MODE_ONLY]).map(drop)
    }),
    attack("keyring", keyring),
    attack("bpf", bpf),
    attack("perf-event", perf_event),
    attack("mount", mount),
    attack("change-root", change_root),
    attack("new-user-namespace", |_| unshare(libc::CLONE_NEWUSER)),
    attack("new-network-namespace", |_| unshare(libc::CLONE_NEWNET)),
    attack("enter-namespace", enter_namespace),
    attack("new-filter", new_filter),
    attack("inotify", |_| call(libc::SYS_inotify_init1, [0]).map(drop)),
    attack("fanotify", |_| {
        call(libc::SYS_fanotify_init, [0, 0]).map(drop)
    }),
    attack("epoll", |_| call(libc::SYS_epoll_create1, [0]).map(drop)),
    attack("timer", |_| {
        call(
            libc::SYS_timerfd_create,
            [libc::CLOCK_MONOTONIC as usize, 0],
        )
        .map(drop)
    }),
    attack("learn-host-name", |_| {
        let mut name = [0u8; 390];
        call(libc::SYS_uname, [address(&mut name)]).map(drop)
    }),
    attack("signal-handler", signal_handler),
];

const USER_MODE_ONLY: usize = 1;

fn io_uring(_: &Field<'_>) -> Attempt {
    let mut parameters = [0u64; 15];
    call(libc::SYS_io_uring_setup, [1, address(&mut parameters)]).map(drop)
}

fn keyring(_: &Field<'_>) -> Attempt {
    let get_id = libc::KEYCTL_GET_KEYRING_ID as usize;
    let session = signed(libc::KEY_SPEC_SESSION_KEYRING);
    call(libc::SYS_keyctl, [get_id, session, 1]).map(drop)
}

/// Makes a map.
fn bpf(_: &Field<'_>) -> Attempt {
    // An array of one 4-byte value under a 4-byte key.
    let mut attributes = [0u32; 18];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
    let bytes = size_of_val(&attributes);
    call(libc::SYS_bpf, [0, address(&mut attributes), bytes]).map(drop)
}

/// A counter of this process's own page faults.
fn perf_event(_: &Field<'_>) -> Attempt {
    let mut attributes = [0u32; 28];
    attributes[..3].copy_from_slice(&[1, 112, 2]);
    // Neither the kernel nor a hypervisor.
    attributes[10] = 0b110_0000;
    call(
        libc::SYS_perf_event_open,
        [address(&mut attributes), 0, signed(-1), signed(-1), 0],
    )
    .map(drop)
}

/// In a namespace of its own where it can have one: else an ordinary user may not, and root would be heard.
fn mount(field: &Field<'_>) -> Attempt {
    unshare(libc::CLONE_NEWNS).or_else(|_| unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS))?;
    let private = (libc::MS_REC | libc::MS_PRIVATE) as usize;
    call(libc::SYS_mount, [0, text(c"/"), 0, private, 0])?;
    let dir = crate::escape::call::c_string(field.stage.dir.to_str().unwrap_or_default());
    call(
        libc::SYS_mount,
        [text(c"none"), text(&dir), text(c"tmpfs"), 0, 0],
    )
    .map(drop)
}

fn change_root(_: &Field<'_>) -> Attempt {
    call(libc::SYS_chroot, [text(c"/")])
        .or_else(|_| {
            unshare(libc::CLONE_NEWUSER)?;
            call(libc::SYS_chroot, [text(c"/")])
        })
        .map(drop)
}

fn unshare(what: i32) -> Attempt {
    call(libc::SYS_unshare, [what as usize]).map(drop)
}

/// The one that it is in already, which only asks for the right to.
fn enter_namespace(_: &Field<'_>) -> Attempt {
    let enter = || {
        let fd = call(
            libc::SYS_openat,
            [
                signed(libc::AT_FDCWD),
                text(c"/proc/self/ns/uts"),
                libc::O_RDONLY as usize,
                0,
            ],
        )?;
        call(libc::SYS_setns, [fd, libc::CLONE_NEWUTS as usize])
    };
    enter()
        .or_else(|_| {
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWUTS)?;
            enter()
        })
        .map(drop)
}

/// One that allows everything: its owner could be told of calls and answer them.
fn new_filter(_: &Field<'_>) -> Attempt {
    call(
        libc::SYS_prctl,
        [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0],
    )?;
    // BPF_RET | BPF_K, SECCOMP_RET_ALLOW.
    let mut program = [0x0006u64 | (0x7fff_0000 << 32)];
    let mut filter = [1, address(&mut program)];
    call(
        libc::SYS_seccomp,
        [
            libc::SECCOMP_SET_MODE_FILTER as usize,
            0,
            address(&mut filter),
        ],
    )
    .map(drop)
}

/// Of a signal that the host sends, or that ends a process which made a forbidden call.
fn signal_handler(_: &Field<'_>) -> Attempt {
    let mut ignored = [0u64; 4];
    ignored[0] = libc::SIG_IGN as u64;
    let bytes = size_of::<u64>();
    for signal in [libc::SIGSYS, libc::SIGUSR1] {
        call(
            libc::SYS_rt_sigaction,
            [signal as usize, address(&mut ignored), 0, bytes],
        )?;
    }
    Ok(())
}
