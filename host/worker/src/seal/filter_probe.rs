//! What the kernel does with the tables: each call is made by a child under the real filter.
#![expect(
    unsafe_code,
    reason = "a child process that makes one raw system call and ends"
)]

use std::ffi::{c_int, c_long};
use std::os::fd::AsRawFd;

use super::*;

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It made the call and went on.
    Lived,
    /// The kernel killed it for the call.
    Killed,
    Other(c_int),
}

/// Stands for the id of the process that makes the call.
const OWN: c_long = c_long::MIN;

/// Makes a call with these arguments in a child, under a filter if there is one.
///
/// The rules may name the process that they are for, so the child itself makes them. It allocates although
/// the harness has other threads: the C library's `fork` leaves the allocator usable.
fn attempt(rules: Option<&dyn Fn() -> Vec<Rule>>, call: c_long, arguments: [c_long; 6]) -> End {
    // SAFETY: the child only allocates, makes system calls and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own = c_long::from(std::process::id());
        let [a, b, c, d, e, f] = arguments.map(|argument| match argument {
            OWN => own,
            other => other,
        });
        let filter = rules.map(|rules| compile(&rules()));
        match filter {
            Some(Ok(filter)) if seccompiler::apply_filter(&filter).is_ok() => {}
            None => {}
            // SAFETY: `_exit` is always sound.
            _ => unsafe { libc::_exit(9) },
        }
        // SAFETY: the arguments name memory of the kernel's choice or none, so no object is touched; and
        // whatever the call does to this process, it is about to end, as is one that it forks.
        unsafe {
            libc::syscall(call, a, b, c, d, e, f);
            libc::_exit(0)
        }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call, and the child is ours alone.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    match status {
        _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => End::Lived,
        _ if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS => End::Killed,
        other => End::Other(other),
    }
}

const EVENTFD: RawFd = 1000;
const PAGEMAP: RawFd = 1001;
const ARTIFACT: RawFd = 1002;

fn of_worker() -> Vec<Rule> {
    let fds = Fds {
        eventfd: EVENTFD,
        pagemap: Some(PAGEMAP),
    };
    worker(fds, false)
}

fn of_compiler() -> Vec<Rule> {
    compiler(ARTIFACT)
}

const ROLES: [fn() -> Vec<Rule>; 2] = [of_worker, of_compiler];

const RW: c_long = (libc::PROT_READ | libc::PROT_WRITE) as c_long;
const EXEC: c_long = libc::PROT_EXEC as c_long;
const ANON: c_long = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as c_long;

#[test]
fn what_an_escaped_guest_would_try_kills_it() {
    let own = c_long::from(std::process::id());
    // The greatest process id there can be is far below.
    let nobody = c_long::from(c_int::MAX);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = c_long::from(socket.as_raw_fd());
    let attempts: &[(c_long, [c_long; 6])] = &[
        (libc::SYS_openat, [-100, 0, 0, 0, 0, 0]),
        (libc::SYS_socket, [libc::AF_INET.into(), 1, 0, 0, 0, 0]),
        (libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]),
        (libc::SYS_connect, [socket, 0, 0, 0, 0, 0]),
        (libc::SYS_recvmsg, [0; 6]),
        // A process forked without a filter would end at once; with one it is never made.
        (libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0, 0, 0]),
        (libc::SYS_execve, [0; 6]),
        (
            libc::SYS_ptrace,
            [libc::PTRACE_TRACEME.into(), 0, 0, 0, 0, 0],
        ),
        (libc::SYS_process_vm_readv, [own, 0, 0, 0, 0, 0]),
        (libc::SYS_kill, [own, 0, 0, 0, 0, 0]),
        (libc::SYS_tgkill, [own, own, 0, 0, 0, 0]),
        (
            libc::SYS_tgkill,
            [nobody, nobody, libc::SIGABRT.into(), 0, 0, 0],
        ),
        (libc::SYS_memfd_create, [0; 6]),
        (libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_bpf, [0; 6]),
        (libc::SYS_userfaultfd, [0; 6]),
        (libc::SYS_keyctl, [0; 6]),
        (libc::SYS_unshare, [0; 6]),
        (
            libc::SYS_prctl,
            [libc::PR_SET_PDEATHSIG.into(), 0, 0, 0, 0, 0],
        ),
        (libc::SYS_dup, [0; 6]),
        (libc::SYS_fcntl, [0, libc::F_GETFD.into(), 0, 0, 0, 0]),
        (libc::SYS_close, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_read, [0; 6]),
        (libc::SYS_mmap, [0, 4096, RW | EXEC, ANON, -1, 0]),
        (libc::SYS_mprotect, [0, 0, EXEC, 0, 0, 0]),
        (libc::SYS_pkey_mprotect, [0, 0, EXEC, -1, 0, 0]),
        (libc::SYS_mremap, [0, 0, 0, libc::MREMAP_FIXED.into(), 0, 0]),
        (libc::SYS_write, [3, 0, 0, 0, 0, 0]),
        (libc::SYS_sendmsg, [3, 0, 0, 0, 0, 0]),
        (libc::SYS_ioctl, [0, c_long::from(PAGEMAP_SCAN), 0, 0, 0, 0]),
        (
            libc::SYS_ioctl,
            [PAGEMAP.into(), libc::TIOCSTI as c_long, 0, 0, 0, 0],
        ),
        (
            libc::SYS_rt_sigaction,
            [libc::SIGUSR1.into(), 0, 0, 8, 0, 0],
        ),
        (libc::SYS_madvise, [0, 0, libc::MADV_REMOVE.into(), 0, 0, 0]),
        (libc::SYS_futex, [0, libc::FUTEX_REQUEUE.into(), 0, 0, 0, 0]),
        (libc::SYS_seccomp, [2, 0, 0, 0, 0, 0]),
    ];
    for &(call, arguments) in attempts {
        // Alone it does no harm to a test, so only the filter can be what kills.
        assert_eq!(
            attempt(None, call, arguments),
            End::Lived,
            "{call} {arguments:?}"
        );
        for rules in ROLES {
            let end = attempt(Some(&rules), call, arguments);
            assert_eq!(end, End::Killed, "{call} {arguments:?}");
        }
    }
}

/// A call and its arguments.
type Call = (c_long, [c_long; 6]);

/// What both roles need, once for each row of [`common`].
const NEEDED: &[Call] = &[
    (libc::SYS_brk, [0; 6]),
    (libc::SYS_mmap, [0, 4096, RW, ANON, -1, 0]),
    (libc::SYS_mprotect, [0, 0, RW, 0, 0, 0]),
    (libc::SYS_munmap, [0; 6]),
    (
        libc::SYS_mremap,
        [0, 0, 0, libc::MREMAP_MAYMOVE as c_long, 0, 0],
    ),
    (
        libc::SYS_madvise,
        [0, 0, libc::MADV_DONTNEED as c_long, 0, 0, 0],
    ),
    (
        libc::SYS_madvise,
        [0, 0, libc::MADV_FREE as c_long, 0, 0, 0],
    ),
    (
        libc::SYS_madvise,
        [0, 0, libc::MADV_HUGEPAGE as c_long, 0, 0, 0],
    ),
    (
        libc::SYS_madvise,
        [0, 0, libc::MADV_NOHUGEPAGE as c_long, 0, 0, 0],
    ),
    // Nothing to return to: it crashes, if it is allowed to.
    (libc::SYS_rt_sigreturn, [0; 6]),
    (libc::SYS_rt_sigprocmask, [0, 0, 0, 8, 0, 0]),
    (libc::SYS_sigaltstack, [0; 6]),
    (
        libc::SYS_rt_sigaction,
        [libc::SIGSEGV as c_long, 0, 0, 8, 0, 0],
    ),
    (
        libc::SYS_rt_sigaction,
        [libc::SIGBUS as c_long, 0, 0, 8, 0, 0],
    ),
    (
        libc::SYS_rt_sigaction,
        [libc::SIGILL as c_long, 0, 0, 8, 0, 0],
    ),
    (
        libc::SYS_rt_sigaction,
        [libc::SIGFPE as c_long, 0, 0, 8, 0, 0],
    ),
    (
        libc::SYS_rt_sigaction,
        [libc::SIGABRT as c_long, 0, 0, 8, 0, 0],
    ),
    (libc::SYS_getpid, [0; 6]),
    (libc::SYS_gettid, [0; 6]),
    (
        libc::SYS_tgkill,
        [OWN, OWN, libc::SIGABRT as c_long, 0, 0, 0],
    ),
    (libc::SYS_getrandom, [0; 6]),
    (libc::SYS_clock_gettime, [0; 6]),
    (libc::SYS_restart_syscall, [0; 6]),
    (libc::SYS_sched_yield, [0; 6]),
    (libc::SYS_prctl, [libc::PR_SET_VMA as c_long, 0, 0, 0, 0, 0]),
    (libc::SYS_exit, [0; 6]),
    (libc::SYS_exit_group, [0; 6]),
    (libc::SYS_sendmsg, [0; 6]),
    (libc::SYS_write, [2, 0, 0, 0, 0, 0]),
    (libc::SYS_futex, [0, libc::FUTEX_WAIT as c_long, 0, 0, 0, 0]),
    (libc::SYS_futex, [0, libc::FUTEX_WAKE as c_long, 0, 0, 0, 0]),
    (
        libc::SYS_futex,
        [0, PRIVATE | libc::FUTEX_WAIT as c_long, 0, 0, 0, 0],
    ),
    (
        libc::SYS_futex,
        [0, PRIVATE | libc::FUTEX_WAKE as c_long, 0, 0, 0, 0],
    ),
];

const PRIVATE: c_long = libc::FUTEX_PRIVATE_FLAG as c_long;

/// What only this role needs.
const NEEDED_BY: [&[Call]; 2] = [
    &[
        (libc::SYS_write, [EVENTFD as c_long, 0, 0, 0, 0, 0]),
        (
            libc::SYS_ioctl,
            [PAGEMAP as c_long, PAGEMAP_SCAN as c_long, 0, 0, 0, 0],
        ),
    ],
    &[(libc::SYS_pwrite64, [ARTIFACT as c_long, 0, 0, 0, 0, 0])],
];

#[test]
fn what_is_needed_is_allowed() {
    for (rules, own) in ROLES.into_iter().zip(NEEDED_BY) {
        for &(call, arguments) in NEEDED.iter().chain(own) {
            let end = attempt(Some(&rules), call, arguments);
            assert_ne!(end, End::Killed, "{call} {arguments:?}");
        }
    }
    let [worker, compiler] = NEEDED_BY;
    for (rules, others) in ROLES.into_iter().zip([compiler, worker]) {
        for &(call, arguments) in others {
            assert_eq!(attempt(Some(&rules), call, arguments), End::Killed);
        }
    }
}

/// Filters stack: what a server forbids its workers cannot do.
#[test]
fn what_a_worker_needs_its_fork_server_allows() {
    for rules in [forking::loading, forking::serving] {
        assert_eq!(rules().iter().filter(|rule| rule.why.is_empty()).count(), 0);
        for &(call, arguments) in NEEDED.iter().chain(NEEDED_BY[0]) {
            let end = attempt(Some(&rules), call, arguments);
            assert_ne!(end, End::Killed, "{call} {arguments:?}");
        }
    }
}

#[test]
fn a_fork_server_can_execute_nothing_reach_nobody_and_write_no_file() {
    let path = c"/dev/null".as_ptr() as c_long;
    let open_for = |flags: c_int| [libc::AT_FDCWD.into(), path, flags.into(), 0, 0, 0];
    let always: &[Call] = &[
        (libc::SYS_execve, [0; 6]),
        (libc::SYS_execveat, [0; 6]),
        (libc::SYS_socket, [libc::AF_INET.into(), 1, 0, 0, 0, 0]),
        (libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]),
        (libc::SYS_connect, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_recvmsg, [3, 0, 0, 0, 0, 0]),
        (libc::SYS_sendmsg, [3, 0, 0, 0, 0, 0]),
        (libc::SYS_openat, open_for(libc::O_WRONLY)),
        (libc::SYS_openat, open_for(libc::O_RDWR)),
        (libc::SYS_openat, open_for(libc::O_CREAT)),
        (libc::SYS_openat, open_for(libc::O_TRUNC)),
        (libc::SYS_openat, open_for(libc::O_TMPFILE)),
        (libc::SYS_openat2, [-1, 0, 0, 24, 0, 0]),
        (libc::SYS_kill, [OWN, 0, 0, 0, 0, 0]),
        (libc::SYS_tgkill, [OWN, OWN, 0, 0, 0, 0]),
        (libc::SYS_pidfd_send_signal, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0, 0]),
        (
            libc::SYS_ptrace,
            [libc::PTRACE_TRACEME.into(), 0, 0, 0, 0, 0],
        ),
        (libc::SYS_process_vm_readv, [OWN, 0, 0, 0, 0, 0]),
        (libc::SYS_unshare, [0; 6]),
        (libc::SYS_setns, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_setuid, [-1, 0, 0, 0, 0, 0]),
        // Threads, namespaces, and children that share memory.
        (libc::SYS_clone, [libc::CLONE_VM.into(), 0, 0, 0, 0, 0]),
        (
            libc::SYS_clone,
            [(libc::CLONE_NEWUSER | libc::SIGCHLD).into(), 0, 0, 0, 0, 0],
        ),
        (libc::SYS_clone3, [0; 6]),
        (
            libc::SYS_prctl,
            [libc::PR_SET_PDEATHSIG.into(), 0, 0, 0, 0, 0],
        ),
        (
            libc::SYS_prctl,
            [libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0, 0],
        ),
        (libc::SYS_prlimit64, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_ioctl, [0, libc::TIOCSTI as c_long, 0, 0, 0, 0]),
        (libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        (libc::SYS_bpf, [0; 6]),
        (libc::SYS_userfaultfd, [0; 6]),
        (libc::SYS_keyctl, [0; 6]),
        (libc::SYS_pkey_mprotect, [0, 0, EXEC, -1, 0, 0]),
    ];
    let loaded: &[Call] = &[
        (libc::SYS_mmap, [0, 4096, RW | EXEC, ANON, -1, 0]),
        (libc::SYS_mprotect, [0, 0, EXEC, 0, 0, 0]),
        (libc::SYS_memfd_create, [0; 6]),
        (libc::SYS_pwrite64, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_ftruncate, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_fcntl, [0, libc::F_DUPFD.into(), 0, 0, 0, 0]),
        (libc::SYS_fcntl, [0, libc::F_SETFL.into(), 0, 0, 0, 0]),
    ];
    for &(call, arguments) in always.iter().chain(loaded) {
        let end = attempt(Some(&forking::serving), call, arguments);
        assert_eq!(end, End::Killed, "{call} {arguments:?}");
    }
    for &(call, arguments) in always {
        let end = attempt(Some(&forking::loading), call, arguments);
        assert_eq!(end, End::Killed, "{call} {arguments:?}");
    }
    // What loading takes, and what is gone afterwards.
    for &(call, arguments) in loaded {
        let end = attempt(Some(&forking::loading), call, arguments);
        assert_eq!(end, End::Lived, "{call} {arguments:?}");
    }
}

fn of_worker_with_files() -> Vec<Rule> {
    let fds = Fds {
        eventfd: 5,
        pagemap: Some(6),
    };
    worker(fds, true)
}

/// A descriptor that a guest opened: none is open under it here, so that every call fails at once.
const FILE: c_long = stockade_wire::message::FILES_FROM as c_long;

#[test]
fn with_files_their_calls_are_allowed_and_no_others() {
    let path = c"/nowhere/at/all".as_ptr() as c_long;
    let by_hand = c_long::from(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let allowed: &[(c_long, [c_long; 6])] = &[
        (libc::SYS_openat2, [-1, 0, 0, 24, 0, 0]),
        (libc::SYS_openat, [-1, 0, by_hand, 0, 0, 0]),
        (libc::SYS_close, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_statx, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_getdents64, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_pread64, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_pwrite64, [FILE, 0, 0, 0, 0, 0]),
        (
            libc::SYS_pwritev2,
            [FILE, 0, 0, 0, 0, libc::RWF_APPEND.into()],
        ),
        (libc::SYS_ftruncate, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_fadvise64, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_fsync, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_fdatasync, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_utimensat, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_mkdirat, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_unlinkat, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_renameat, [-1, 0, -1, 0, 0, 0]),
        (libc::SYS_linkat, [-1, 0, -1, 0, 0, 0]),
        (libc::SYS_symlinkat, [0, -1, 0, 0, 0, 0]),
        (libc::SYS_readlinkat, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_fcntl, [FILE, libc::F_GETFL.into(), 0, 0, 0, 0]),
        (libc::SYS_fcntl, [FILE, libc::F_GETFD.into(), 0, 0, 0, 0]),
        // Answered by the other filter, where both stand.
        (libc::SYS_utimensat, [-1, path, 0, 0, 0, 0]),
        (libc::SYS_fstatfs, [-1, 0, 0, 0, 0, 0]),
    ];
    for &(call, arguments) in allowed {
        let end = attempt(Some(&of_worker_with_files), call, arguments);
        assert_eq!(end, End::Lived, "{call} {arguments:?}");
        // Each of them is there for files alone.
        let end = attempt(Some(&of_worker), call, arguments);
        assert_eq!(end, End::Killed, "{call} {arguments:?}");
    }
    let tmpfile = c_long::from(libc::O_TMPFILE) | by_hand;
    let refused: &[(c_long, [c_long; 6])] = &[
        // On what the process itself holds.
        (libc::SYS_close, [0; 6]),
        (libc::SYS_close, [FILE - 1, 0, 0, 0, 0, 0]),
        (libc::SYS_pread64, [6, 0, 0, 0, 0, 0]),
        (libc::SYS_pwrite64, [5, 0, 0, 0, 0, 0]),
        (libc::SYS_ftruncate, [FILE - 1, 0, 0, 0, 0, 0]),
        (libc::SYS_getdents64, [3, 0, 0, 0, 0, 0]),
        (libc::SYS_fsync, [3, 0, 0, 0, 0, 0]),
        (libc::SYS_fcntl, [0, libc::F_GETFL.into(), 0, 0, 0, 0]),
        // In other ways.
        (libc::SYS_openat, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_openat, [-1, 0, libc::O_CLOEXEC.into(), 0, 0, 0]),
        (libc::SYS_openat, [-1, 0, tmpfile, 0, 0, 0]),
        (libc::SYS_openat2, [-1, 0, 0, 4096, 0, 0]),
        (
            libc::SYS_linkat,
            [-1, 0, -1, 0, libc::AT_SYMLINK_FOLLOW.into(), 0],
        ),
        (
            libc::SYS_linkat,
            [-1, 0, -1, 0, libc::AT_EMPTY_PATH.into(), 0],
        ),
        (libc::SYS_pwritev2, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_fcntl, [FILE, libc::F_SETOWN.into(), 0, 0, 0, 0]),
        (
            libc::SYS_fcntl,
            [FILE, libc::F_DUPFD_CLOEXEC.into(), 0, 0, 0, 0],
        ),
        (libc::SYS_write, [FILE, 0, 0, 0, 0, 0]),
        // What Landlock does not know about.
        (libc::SYS_fchmod, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_fchmodat, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_fchown, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_fchownat, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_fsetxattr, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_setxattr, [0; 6]),
        (libc::SYS_truncate, [0; 6]),
        (libc::SYS_fallocate, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_flock, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_renameat2, [-1, 0, -1, 0, 0, 0]),
        (libc::SYS_mknodat, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_chdir, [0; 6]),
        (libc::SYS_fchdir, [FILE, 0, 0, 0, 0, 0]),
        (libc::SYS_chroot, [0; 6]),
        (libc::SYS_mount, [0; 6]),
        (libc::SYS_execveat, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_name_to_handle_at, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0, 0]),
        (libc::SYS_inotify_init1, [0; 6]),
    ];
    for &(call, arguments) in refused {
        let end = attempt(Some(&of_worker_with_files), call, arguments);
        assert_eq!(end, End::Killed, "{call} {arguments:?}");
    }
}

#[test]
fn polite_refusals_are_errors() {
    let path = c"/".as_ptr() as c_long;
    let refused: &[(c_long, [c_long; 6])] = &[
        (
            libc::SYS_utimensat,
            [libc::AT_FDCWD.into(), path, 0, 0, 0, 0],
        ),
        (libc::SYS_fstatfs, [0; 6]),
    ];
    for &(call, [a, b, c, d, e, f]) in refused {
        // SAFETY: the child only allocates, makes system calls and ends by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let up = rustix::thread::set_no_new_privs(true).is_ok()
                && files::refusals().is_ok_and(|filter| seccompiler::apply_filter(&filter).is_ok())
                && compile(&of_worker_with_files())
                    .is_ok_and(|filter| seccompiler::apply_filter(&filter).is_ok());
            // SAFETY: the pointer, where there is one, is that of a string; no call changes memory.
            let refused = unsafe { libc::syscall(call, a, b, c, d, e, f) } == -1
                && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOTSUP);
            // SAFETY: `_exit` is always sound.
            unsafe { libc::_exit(if up && refused { 0 } else { 1 }) }
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call, and the child is ours alone.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "{call}");
    }
}

/// A row that nothing needs is a hole; one that is lost must be missed.
#[test]
fn without_any_one_row_something_needed_is_forbidden() {
    for (rules, own) in ROLES.into_iter().zip(NEEDED_BY) {
        for (index, lost) in rules().iter().enumerate() {
            let remaining = || {
                let mut rules = rules();
                rules.remove(index);
                rules
            };
            let missed = NEEDED
                .iter()
                .chain(own)
                .filter(|(call, _)| *call == lost.call)
                .any(|&(call, arguments)| {
                    attempt(Some(&remaining), call, arguments) == End::Killed
                });
            assert!(missed, "nothing needs {lost:?}");
        }
        assert_eq!(rules().len(), NEEDED.len() + own.len());
    }
}
