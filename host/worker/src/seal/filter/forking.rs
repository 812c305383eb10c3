//! The system calls of a fork server, and of what it forks until that has sealed itself.
//!
//! Filters stack, and the strictest answer counts: what a worker may do must be allowed here, too. Descriptors and
//! process ids that a worker's own rows name are not known yet, so these rows name none. No row executes a program
//! or makes a socket, and none can open a file for writing.

use stockade_wire::message::StopBy;
use stockade_wire::sys::death_string::SET_SIGNAL;

use crate::page_map;

use super::Check::{Bits, Int, Without};
use super::{Rule, SOCKET, common, own_pid, room_for_hosts, rule, stop_again};

/// What the C library's `fork` passes: the first is glibc's, which also keeps the child's id; the second musl's.
pub(super) const FORKS: [u32; 2] = [
    (libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD) as u32,
    libc::SIGCHLD as u32,
];

/// The access mode, and everything that changes a file system.
const WRITING: u32 =
    (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_TMPFILE | libc::O_APPEND) as u32
        & !(libc::O_DIRECTORY as u32);

/// `PR_SET_MDWE`.
pub(super) const REFUSE_NEW_CODE: u32 = 65;

const SET_MODE_FILTER: u32 = 1;

/// What the artifact is loaded under: its code becomes executable, and images of memories become files.
pub(in crate::seal) fn loading(stop: StopBy) -> Vec<Rule> {
    let mut rules = serving(stop);
    rules
        .retain(|rule| ![libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_fcntl].contains(&rule.call));
    for (call, why) in [
        (libc::SYS_mmap, "the artifact is mapped"),
        (libc::SYS_mprotect, "its code becomes executable"),
        (libc::SYS_fcntl, "copies of descriptors; seals of an image"),
        (libc::SYS_memfd_create, "the image of a memory"),
        (libc::SYS_ftruncate, "the image of a memory"),
        (libc::SYS_pwrite64, "the image of a memory"),
        (libc::SYS_statx, "the length of the artifact"),
        (libc::SYS_getdents64, "process 1 keeps no descriptor"),
        (libc::SYS_newfstatat, "what it keeps none of is a directory"),
        (libc::SYS_fstat, "as `newfstatat`"),
    ] {
        rules.push(rule(call, &[], why));
    }
    rules.push(rule(
        libc::SYS_prctl,
        &[Int(0, REFUSE_NEW_CODE)],
        "when it is loaded, nothing more becomes executable",
    ));
    rules.push(rule(
        libc::SYS_rt_sigaction,
        &[Int(0, libc::SIGCHLD as u32)],
        "process 1 has the kernel reap what it inherits",
    ));
    // Where new code is not seen by itself.
    #[cfg(target_arch = "aarch64")]
    for command in BARRIERS {
        rules.push(rule(
            libc::SYS_membarrier,
            &[Int(0, command)],
            "no CPU has fetched what was there before the code",
        ));
    }
    rules
}

/// Of `membarrier(2)`, as Wasmtime uses them: the one that it wants, the registration for that, and the one of kernels
/// before 4.16.
#[cfg(target_arch = "aarch64")]
const BARRIERS: [u32; 3] = [
    libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE as u32,
    libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE as u32,
    libc::MEMBARRIER_CMD_GLOBAL as u32,
];

/// What process 1 of the workers' namespace may do: wait.
pub(in crate::seal) fn pid_one() -> Vec<Rule> {
    vec![
        rule(libc::SYS_read, &[Int(0, SOCKET)], "until the host is gone"),
        rule(
            libc::SYS_restart_syscall,
            &[],
            "it was stopped and continued",
        ),
        rule(libc::SYS_exit_group, &[], "the end"),
    ]
}

/// What is left when it is loaded.
pub(in crate::seal) fn serving(stop: StopBy) -> Vec<Rule> {
    let mut rules = common(own_pid());
    rules.retain(|rule| ![libc::SYS_mmap, libc::SYS_write, libc::SYS_tgkill].contains(&rule.call));
    rules.extend([
        rule(
            libc::SYS_mmap,
            &[Without(2, libc::PROT_EXEC as u64)],
            "a worker maps its slot before it forbids itself to map what it shares",
        ),
        rule(
            libc::SYS_write,
            &[],
            "a worker's ring; what is open for writing is the diagnostics, and its slot",
        ),
        rule(
            libc::SYS_tgkill,
            &[Int(2, libc::SIGABRT as u32)],
            "abort(3) of a worker dies by its own signal",
        ),
        rule(
            libc::SYS_ioctl,
            &[Int(1, page_map::SCAN)],
            "a worker's reset asks which pages an instance wrote",
        ),
        rule(
            libc::SYS_getrusage,
            &[],
            "a worker's reset asks whether there can be others than before",
        ),
        rule(libc::SYS_recvmsg, &[Int(0, SOCKET)], "orders"),
        rule(
            libc::SYS_ppoll,
            &[],
            "waiting for orders and deaths; a cut death string",
        ),
        rule(
            libc::SYS_set_robust_list,
            &[],
            "the C library's `fork`, in the child",
        ),
        rule(libc::SYS_pidfd_open, &[], "what the host gets of a worker"),
        rule(libc::SYS_wait4, &[], "how a worker ended"),
        rule(libc::SYS_read, &[], "deaths"),
        rule(
            libc::SYS_openat,
            &[Bits(2, WRITING, 0)],
            "a worker opens its own page map",
        ),
        rule(libc::SYS_close, &[], "what was another worker's"),
        rule(
            libc::SYS_dup3,
            &[],
            "a worker's own socket and diagnostics, and page map",
        ),
        rule(
            libc::SYS_prctl,
            &[Int(0, libc::PR_SET_NAME as u32)],
            "a worker's name",
        ),
        rule(
            libc::SYS_prctl,
            &[Int(0, libc::PR_SET_DUMPABLE as u32), Int(1, 0)],
            "a worker lets nobody look into it",
        ),
        rule(
            libc::SYS_prctl,
            &[Int(0, libc::PR_SET_NO_NEW_PRIVS as u32)],
            "what comes before a filter and before Landlock",
        ),
        rule(
            libc::SYS_prlimit64,
            &[Int(0, 0)],
            "a worker's own resource limits",
        ),
        rule(
            libc::SYS_landlock_create_ruleset,
            &[],
            "a worker has no /proc",
        ),
        rule(
            libc::SYS_landlock_restrict_self,
            &[],
            "a worker has no /proc",
        ),
        rule(
            libc::SYS_seccomp,
            &[Int(0, SET_MODE_FILTER), Int(1, 0)],
            "a worker's own filter, which nobody else is told of",
        ),
    ]);
    rules.extend(room_for_hosts());
    rules.extend(stop_again(stop));
    for flags in FORKS {
        rules.push(rule(libc::SYS_clone, &[Int(0, flags)], "a worker"));
    }
    for (what, why) in [
        (libc::F_SETOWN, "the death string"),
        (SET_SIGNAL, "the death string"),
        (
            libc::F_GETFD,
            "a debug build asks whether what it closes is open",
        ),
    ] {
        rules.push(rule(libc::SYS_fcntl, &[Int(1, what as u32)], why));
    }
    rules.push(rule(
        libc::SYS_fcntl,
        &[Int(1, libc::F_SETFL as u32), Int(2, libc::O_ASYNC as u32)],
        "the death string",
    ));
    #[cfg(target_arch = "x86_64")]
    rules.extend([
        rule(libc::SYS_poll, &[], "waiting for orders and deaths"),
        rule(libc::SYS_dup2, &[], "as `dup3`"),
        rule(libc::SYS_fork, &[], "a worker, where the C library is musl"),
    ]);
    rules
}
