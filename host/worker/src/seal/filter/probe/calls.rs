//! Calls that are made under the tables. None does harm where it is allowed: the process that makes it is a child that
//! ends, and most of them fail for another reason.

use std::ffi::{c_int, c_long};
use std::os::fd::RawFd;

use stockade_wire::message::FILES_FROM;

use super::super::{files, forking};
use crate::page_map;

/// A call and its arguments.
pub(super) type Call = (c_long, [c_long; 6]);

/// Stands for the id of the process that makes the call.
pub(super) const OWN: c_long = c_long::MIN;

pub(super) const EVENTFD: RawFd = 1000;
pub(super) const PAGEMAP: RawFd = 1001;
/// What a compiler or an initialiser writes.
pub(super) const OUTPUT: RawFd = 1002;

/// A descriptor that a guest opened, and the last one that is the process's own. None is open under either.
const FILE: c_long = FILES_FROM as c_long;
const NO_FILE: c_long = FILE - 1;

/// The greatest process id there can be is far below.
const NOBODY: c_long = c_int::MAX as c_long;

const RW: c_long = (libc::PROT_READ | libc::PROT_WRITE) as c_long;
const EXEC: c_long = libc::PROT_EXEC as c_long;
const ANON: c_long = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as c_long;
const SHARED: c_long = (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as c_long;
const GROWING: c_long = ANON | libc::MAP_GROWSDOWN as c_long;
const PRIVATE: c_long = libc::FUTEX_PRIVATE_FLAG as c_long;

/// A call with these arguments, the others zero.
const fn call<const N: usize>(number: c_long, arguments: [c_long; N]) -> Call {
    let mut all = [0; 6];
    let mut index = 0;
    while index < N {
        all[index] = arguments[index];
        index += 1;
    }
    (number, all)
}

/// The same with arguments that are constants of the C library.
const fn with<const N: usize>(number: c_long, arguments: [c_int; N]) -> Call {
    let mut wide = [0; N];
    let mut index = 0;
    while index < N {
        wide[index] = arguments[index] as c_long;
        index += 1;
    }
    call(number, wide)
}

/// What every role needs.
pub(super) const COMMON: &[Call] = &[
    call(libc::SYS_brk, []),
    call(libc::SYS_mmap, [0, 4096, RW, ANON, -1]),
    call(libc::SYS_mprotect, [0, 0, RW]),
    call(libc::SYS_munmap, []),
    with(libc::SYS_mremap, [0, 0, 0, libc::MREMAP_MAYMOVE]),
    with(libc::SYS_madvise, [0, 0, libc::MADV_DONTNEED]),
    with(libc::SYS_madvise, [0, 0, libc::MADV_FREE]),
    with(libc::SYS_madvise, [0, 0, libc::MADV_HUGEPAGE]),
    with(libc::SYS_madvise, [0, 0, libc::MADV_NOHUGEPAGE]),
    // Nothing to return to: it crashes, if it is allowed to.
    call(libc::SYS_rt_sigreturn, []),
    call(libc::SYS_rt_sigprocmask, [0, 0, 0, 8]),
    call(libc::SYS_sigaltstack, []),
    with(libc::SYS_rt_sigaction, [libc::SIGSEGV, 0, 0, 8]),
    with(libc::SYS_rt_sigaction, [libc::SIGBUS, 0, 0, 8]),
    with(libc::SYS_rt_sigaction, [libc::SIGILL, 0, 0, 8]),
    with(libc::SYS_rt_sigaction, [libc::SIGFPE, 0, 0, 8]),
    with(libc::SYS_rt_sigaction, [libc::SIGABRT, 0, 0, 8]),
    call(libc::SYS_getpid, []),
    call(libc::SYS_gettid, []),
    call(libc::SYS_tgkill, [OWN, OWN, libc::SIGABRT as c_long]),
    call(libc::SYS_getrandom, []),
    call(libc::SYS_clock_gettime, []),
    call(libc::SYS_restart_syscall, []),
    call(libc::SYS_sched_yield, []),
    with(libc::SYS_prctl, [libc::PR_SET_VMA]),
    call(libc::SYS_exit, []),
    call(libc::SYS_exit_group, []),
    call(libc::SYS_sendmsg, [0]),
    call(libc::SYS_write, [2]),
    with(libc::SYS_futex, [0, libc::FUTEX_WAIT]),
    with(libc::SYS_futex, [0, libc::FUTEX_WAKE]),
    call(libc::SYS_futex, [0, PRIVATE | libc::FUTEX_WAIT as c_long]),
    call(libc::SYS_futex, [0, PRIVATE | libc::FUTEX_WAKE as c_long]),
];

/// What a worker needs for a host that sleeps, or polls.
pub(super) const RING: &[Call] = &[
    with(libc::SYS_write, [EVENTFD]),
    call(libc::SYS_getcpu, []),
    call(libc::SYS_sched_getaffinity, []),
    call(libc::SYS_sched_setaffinity, []),
];

/// What looking again for a guest needs that a signal has not met.
pub(super) const ALARM: &[Call] = &[with(libc::SYS_setitimer, [libc::ITIMER_REAL as c_int])];

/// What the reset of an instance needs.
pub(super) const RESET: &[Call] = &[
    call(
        libc::SYS_ioctl,
        [PAGEMAP as c_long, page_map::SCAN as c_long],
    ),
    with(libc::SYS_getrusage, [libc::RUSAGE_THREAD]),
];

/// What leaves something behind for the host.
pub(super) const OUTPUTS: &[Call] = &[with(libc::SYS_pwrite64, [OUTPUT])];

/// What nobody may do in whose process a module's code is, or that of a hostile compiler.
pub(super) const BY_ESCAPED: &[Call] = &[
    call(libc::SYS_openat, [-100]),
    with(libc::SYS_socket, [libc::AF_INET, libc::SOCK_STREAM]),
    with(libc::SYS_socketpair, [libc::AF_UNIX, libc::SOCK_STREAM]),
    call(libc::SYS_connect, [-1]),
    call(libc::SYS_recvmsg, []),
    // A process forked without a filter would end at once; with one it is never made.
    with(libc::SYS_clone, [libc::SIGCHLD]),
    call(libc::SYS_execve, []),
    call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as c_long]),
    with(libc::SYS_getrusage, [libc::RUSAGE_CHILDREN]),
    call(libc::SYS_process_vm_readv, [OWN]),
    call(libc::SYS_kill, [OWN]),
    with(libc::SYS_setitimer, [libc::ITIMER_PROF as c_int]),
    call(libc::SYS_tgkill, [OWN, OWN]),
    call(libc::SYS_tgkill, [NOBODY, NOBODY, libc::SIGABRT as c_long]),
    call(libc::SYS_sched_getaffinity, [NOBODY]),
    call(libc::SYS_sched_setaffinity, [NOBODY]),
    call(libc::SYS_memfd_create, []),
    call(libc::SYS_io_uring_setup, [1]),
    call(libc::SYS_bpf, []),
    call(libc::SYS_userfaultfd, []),
    call(libc::SYS_keyctl, []),
    call(libc::SYS_unshare, []),
    with(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG]),
    call(libc::SYS_dup, []),
    with(libc::SYS_fcntl, [0, libc::F_GETFD]),
    call(libc::SYS_close, []),
    call(libc::SYS_read, []),
    call(libc::SYS_mmap, [0, 4096, RW | EXEC, ANON, -1]),
    call(libc::SYS_mmap, [0, 4096, RW, SHARED, -1]),
    call(libc::SYS_mmap, [0, 4096, RW, GROWING, -1]),
    call(libc::SYS_mprotect, [0, 0, EXEC]),
    call(libc::SYS_pkey_mprotect, [0, 0, EXEC, -1]),
    with(libc::SYS_mremap, [0, 0, 0, libc::MREMAP_FIXED]),
    call(libc::SYS_write, [3]),
    call(libc::SYS_pwrite64, [3]),
    call(libc::SYS_sendmsg, [3]),
    call(libc::SYS_ioctl, [0, page_map::SCAN as c_long]),
    call(
        libc::SYS_ioctl,
        [PAGEMAP as c_long, libc::TIOCSTI as c_long],
    ),
    with(libc::SYS_rt_sigaction, [libc::SIGUSR1, 0, 0, 8]),
    with(libc::SYS_madvise, [0, 0, libc::MADV_REMOVE]),
    with(libc::SYS_futex, [0, libc::FUTEX_REQUEUE]),
    call(libc::SYS_seccomp, [2]),
];

const BY_HAND: c_int = libc::O_NOFOLLOW | libc::O_CLOEXEC;

/// Where no text is: the kernel's answer is `EFAULT`.
const NOWHERE: c_long = 1;

/// What a worker needs for the files of its guest, and no other role.
pub(super) const FILES_NEEDED: &[Call] = &[
    call(libc::SYS_openat2, [-1, 0, 0, 24]),
    with(libc::SYS_openat, [-1, 0, BY_HAND]),
    call(libc::SYS_close, [FILE]),
    call(libc::SYS_statx, [-1]),
    call(libc::SYS_getdents64, [FILE]),
    call(libc::SYS_pread64, [FILE]),
    call(libc::SYS_pwrite64, [FILE]),
    call(
        libc::SYS_pwritev2,
        [FILE, 0, 0, 0, 0, libc::RWF_APPEND as c_long],
    ),
    call(libc::SYS_ftruncate, [FILE]),
    call(libc::SYS_fadvise64, [FILE]),
    call(libc::SYS_fsync, [FILE]),
    call(libc::SYS_fdatasync, [FILE]),
    call(libc::SYS_utimensat, [FILE]),
    call(libc::SYS_mkdirat, [-1]),
    call(libc::SYS_unlinkat, [-1]),
    call(files::RENAMEAT, [-1, 0, -1]),
    call(libc::SYS_linkat, [-1, 0, -1]),
    call(libc::SYS_symlinkat, [0, -1]),
    call(libc::SYS_readlinkat, [-1]),
    call(libc::SYS_fcntl, [FILE, libc::F_GETFL as c_long]),
    call(libc::SYS_fcntl, [FILE, libc::F_GETFD as c_long]),
    POLITELY_REFUSED[0],
    POLITELY_REFUSED[1],
];

/// What of that the other filter answers.
pub(super) const POLITELY_REFUSED: &[Call] = &[
    call(libc::SYS_utimensat, [-1, NOWHERE]),
    call(libc::SYS_fstatfs, [-1]),
];

/// What a worker with files may not do to them, to what else the process has, or in other ways.
pub(super) const NOT_ON_FILES: &[Call] = &[
    // On what the process itself holds.
    call(libc::SYS_close, [NO_FILE]),
    call(libc::SYS_getdents64, [NO_FILE]),
    call(libc::SYS_pread64, [NO_FILE]),
    call(libc::SYS_pwrite64, [NO_FILE]),
    call(
        libc::SYS_pwritev2,
        [NO_FILE, 0, 0, 0, 0, libc::RWF_APPEND as c_long],
    ),
    call(libc::SYS_ftruncate, [NO_FILE, -1]),
    call(libc::SYS_fadvise64, [NO_FILE]),
    call(libc::SYS_fsync, [NO_FILE]),
    call(libc::SYS_fdatasync, [NO_FILE]),
    call(libc::SYS_fcntl, [NO_FILE, libc::F_GETFL as c_long]),
    call(libc::SYS_fcntl, [NO_FILE, libc::F_GETFD as c_long]),
    // In other ways.
    with(libc::SYS_openat, [-1, 0, libc::O_CLOEXEC]),
    with(libc::SYS_openat, [-1, 0, libc::O_NOFOLLOW]),
    with(libc::SYS_openat, [-1, 0, libc::O_TMPFILE | BY_HAND]),
    call(libc::SYS_openat2, [-1, 0, 0, 4096]),
    with(libc::SYS_linkat, [-1, 0, -1, 0, libc::AT_SYMLINK_FOLLOW]),
    with(libc::SYS_linkat, [-1, 0, -1, 0, libc::AT_EMPTY_PATH]),
    call(libc::SYS_pwritev2, [FILE]),
    call(libc::SYS_fcntl, [FILE, libc::F_SETOWN as c_long]),
    call(libc::SYS_fcntl, [FILE, libc::F_DUPFD_CLOEXEC as c_long]),
    call(libc::SYS_write, [FILE]),
    // What Landlock does not know about.
    call(libc::SYS_fchmod, [FILE]),
    call(libc::SYS_fchmodat, [-1]),
    call(libc::SYS_fchown, [FILE]),
    call(libc::SYS_fchownat, [-1]),
    call(libc::SYS_fsetxattr, [FILE]),
    call(libc::SYS_setxattr, []),
    call(libc::SYS_truncate, []),
    call(libc::SYS_fallocate, [FILE]),
    call(libc::SYS_flock, [FILE]),
    call(libc::SYS_renameat2, [-1, 0, -1]),
    call(libc::SYS_mknodat, [-1]),
    call(libc::SYS_chdir, []),
    call(libc::SYS_fchdir, [FILE]),
    call(libc::SYS_chroot, []),
    call(libc::SYS_mount, []),
    call(libc::SYS_execveat, [-1]),
    call(libc::SYS_name_to_handle_at, [-1]),
    call(libc::SYS_open_by_handle_at, [-1]),
    call(libc::SYS_inotify_init1, []),
];

/// What a fork server needs besides, and what it forks, until that has sealed itself.
pub(super) const OF_FORK_SERVER: &[Call] = &[
    call(libc::SYS_mmap, [0, 4096, RW, SHARED, -1]),
    call(libc::SYS_recvmsg, []),
    call(libc::SYS_ppoll, [0, 1]),
    call(libc::SYS_set_robust_list, []),
    call(libc::SYS_pidfd_open, []),
    with(libc::SYS_wait4, [-1, 0, libc::WNOHANG]),
    call(libc::SYS_read, [-1]),
    call(libc::SYS_openat, [-1]),
    call(libc::SYS_close, [-1]),
    call(libc::SYS_dup3, [-1, -1]),
    with(libc::SYS_prctl, [libc::PR_SET_NAME]),
    with(libc::SYS_prctl, [libc::PR_SET_DUMPABLE]),
    with(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS]),
    call(libc::SYS_prlimit64, [0, -1]),
    call(libc::SYS_landlock_create_ruleset, []),
    call(libc::SYS_landlock_restrict_self, [-1]),
    call(libc::SYS_seccomp, [1]),
    call(libc::SYS_clone, [forking::FORKS[0] as c_long]),
    call(libc::SYS_clone, [forking::FORKS[1] as c_long]),
    with(libc::SYS_fcntl, [-1, libc::F_SETOWN]),
    with(
        libc::SYS_fcntl,
        [-1, stockade_wire::sys::death_string::SET_SIGNAL],
    ),
    with(libc::SYS_fcntl, [-1, libc::F_GETFD]),
    with(libc::SYS_fcntl, [-1, libc::F_SETFL, libc::O_ASYNC]),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_poll, [0, 1]),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_dup2, [-1, -1]),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_fork, []),
];

/// What it needs only while it loads its artifact.
pub(super) const OF_LOADING: &[Call] = &[
    call(libc::SYS_mmap, [0, 4096, RW | EXEC, ANON, -1]),
    call(libc::SYS_mprotect, [0, 0, EXEC]),
    call(libc::SYS_memfd_create, []),
    call(libc::SYS_pwrite64, [-1]),
    call(libc::SYS_ftruncate, [-1]),
    call(libc::SYS_statx, [-1]),
    call(libc::SYS_getdents64, [-1]),
    call(libc::SYS_newfstatat, [-1]),
    call(libc::SYS_fstat, [-1]),
    with(libc::SYS_fcntl, [-1, libc::F_DUPFD]),
    with(libc::SYS_fcntl, [-1, libc::F_SETFL]),
    // What is left to forbid if the command is not looked at.
    with(libc::SYS_fcntl, [-1, libc::F_DUPFD, libc::O_ASYNC]),
    call(libc::SYS_prctl, [forking::REFUSE_NEW_CODE as c_long]),
    with(libc::SYS_rt_sigaction, [libc::SIGCHLD, 0, 0, 8]),
    #[cfg(target_arch = "aarch64")]
    with(libc::SYS_membarrier, [libc::MEMBARRIER_CMD_GLOBAL]),
    #[cfg(target_arch = "aarch64")]
    with(
        libc::SYS_membarrier,
        [libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE],
    ),
    #[cfg(target_arch = "aarch64")]
    with(
        libc::SYS_membarrier,
        [libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE],
    ),
];

/// What process 1 of a pid namespace needs: to wait, and to end.
pub(super) const OF_PID_ONE: &[Call] = &[
    call(libc::SYS_read, []),
    call(libc::SYS_restart_syscall, []),
    call(libc::SYS_exit_group, []),
];

/// Every call that another role makes or must not make, and which that process may not: but for those of which a
/// process dies that has no filter.
pub(super) fn to_pid_one() -> Vec<Call> {
    const DEADLY: [Call; 2] = [
        call(libc::SYS_rt_sigreturn, []),
        call(libc::SYS_tgkill, [OWN, OWN, libc::SIGABRT as c_long]),
    ];
    let mut all = [
        COMMON,
        RING,
        ALARM,
        RESET,
        OUTPUTS,
        BY_ESCAPED,
        FILES_NEEDED,
        NOT_ON_FILES,
        OF_FORK_SERVER,
        OF_LOADING,
        TO_FORK_SERVER,
    ]
    .concat();
    all.retain(|call| !OF_PID_ONE.contains(call) && !DEADLY.contains(call));
    all.sort_unstable();
    all.dedup();
    all
}

const fn open_for(flags: c_int) -> Call {
    with(libc::SYS_openat, [-1, 0, flags])
}

/// What a fork server may do at no time: execute anything, reach anybody, write a file.
pub(super) const TO_FORK_SERVER: &[Call] = &[
    with(libc::SYS_setitimer, [libc::ITIMER_PROF as c_int]),
    call(libc::SYS_execve, []),
    call(libc::SYS_execveat, [-1]),
    with(libc::SYS_socket, [libc::AF_INET, libc::SOCK_STREAM]),
    with(libc::SYS_socketpair, [libc::AF_UNIX, libc::SOCK_STREAM]),
    call(libc::SYS_connect, [-1]),
    call(libc::SYS_recvmsg, [3]),
    call(libc::SYS_sendmsg, [3]),
    open_for(libc::O_WRONLY),
    open_for(libc::O_RDWR),
    open_for(libc::O_CREAT),
    open_for(libc::O_TRUNC),
    open_for(libc::O_APPEND),
    open_for(libc::O_TMPFILE),
    call(libc::SYS_openat2, [-1, 0, 0, 24]),
    call(libc::SYS_kill, [OWN]),
    call(libc::SYS_tgkill, [OWN, OWN]),
    call(libc::SYS_sched_getaffinity, [NOBODY]),
    call(libc::SYS_sched_setaffinity, [NOBODY]),
    call(libc::SYS_pidfd_send_signal, [-1]),
    call(libc::SYS_pidfd_getfd, [-1]),
    call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as c_long]),
    call(libc::SYS_process_vm_readv, [OWN]),
    call(libc::SYS_unshare, []),
    call(libc::SYS_setns, [-1]),
    call(libc::SYS_setuid, [-1]),
    // Threads, which share more than this, namespaces, and children that share memory.
    with(libc::SYS_clone, [libc::CLONE_THREAD | libc::SIGCHLD]),
    with(libc::SYS_clone, [libc::CLONE_NEWUSER | libc::SIGCHLD]),
    with(
        libc::SYS_clone,
        [libc::CLONE_VM | libc::CLONE_NEWUSER | libc::CLONE_FS],
    ),
    call(libc::SYS_clone3, []),
    with(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG]),
    with(libc::SYS_prctl, [libc::PR_SET_DUMPABLE, 1]),
    call(libc::SYS_prlimit64, [1]),
    call(libc::SYS_ioctl, [0, libc::TIOCSTI as c_long]),
    call(libc::SYS_io_uring_setup, [1]),
    call(libc::SYS_bpf, []),
    call(libc::SYS_userfaultfd, []),
    call(libc::SYS_keyctl, []),
    call(libc::SYS_seccomp, [2]),
    with(
        libc::SYS_seccomp,
        [1, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as c_int],
    ),
    call(libc::SYS_pkey_mprotect, [0, 0, EXEC, -1]),
    call(libc::SYS_mremap, [0, 0, 0, libc::MREMAP_FIXED as c_long]),
    with(libc::SYS_rt_sigaction, [libc::SIGUSR1, 0, 0, 8]),
    with(libc::SYS_madvise, [0, 0, libc::MADV_REMOVE]),
    with(libc::SYS_futex, [0, libc::FUTEX_REQUEUE]),
    #[cfg(target_arch = "aarch64")]
    call(libc::SYS_membarrier, []),
];
