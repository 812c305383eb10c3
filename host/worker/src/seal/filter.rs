//! The system calls that a sealed process may make. Everything else is not done, and ends it: the kernel sends a
//! signal that cannot be ignored, whose handler says which call it was and dies of the next one.
//!
//! A table: each row names a call, what its arguments must be, and why it is there. A row without need is a
//! hole; a need without a row kills innocent guests. No row may make memory executable, open or receive a
//! descriptor, or name another process; those of [`files`], for granted directories, may open files, and those of
//! [`forking`] make processes.

pub(super) mod files;
pub(super) mod forking;
mod program;

use std::ffi::c_long;
use std::io;
use std::os::fd::RawFd;

use program::{Answer, program};
use stockade_wire::message::StopBy;

pub(super) use program::Program;

use crate::page_map;

/// One row. Several rows for one call are alternatives.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    call: c_long,
    checks: Vec<Check>,
    /// For readers and for tests: no row without a reason.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by tests"))]
    why: &'static str,
}

/// What an argument must be. The kernel's `int` and `unsigned int` are 32 bits wide, and it ignores the rest
/// of their registers.
#[derive(Debug, Clone, Copy)]
enum Check {
    /// This 32-bit number.
    Int(u8, u32),
    /// No bit of this mask.
    Without(u8, u64),
    /// These bits of a mask, both 32 bits wide: mask, bits.
    Bits(u8, u32, u32),
    /// A 32-bit number, at least this one.
    AtLeast(u8, u32),
    /// No null pointer.
    NotNull(u8),
}

/// Stands for the process's own id in a table whose program is made before the process is: nobody has it.
const OWN_PID: u32 = u32::MAX;

/// Descriptors that a worker's rules name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fds {
    /// Its doorbell.
    pub(crate) eventfd: RawFd,
    /// Absent when the kernel has no such interface, or does not let us, or nothing is reset by it.
    pub(crate) pagemap: Option<RawFd>,
}

const SOCKET: u32 = 0;
const DIAGNOSTICS: u32 = 2;

fn rule(call: c_long, checks: &[Check], why: &'static str) -> Rule {
    Rule {
        call,
        checks: checks.to_vec(),
        why,
    }
}

fn own_pid() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get() as u32
}

/// What every role needs of a process with this id.
fn common(own_pid: u32) -> Vec<Rule> {
    use Check::{Int, Without};
    let exec = libc::PROT_EXEC as u64;
    let uncounted = (libc::MAP_SHARED | libc::MAP_GROWSDOWN) as u64;
    let mut rules = vec![
        rule(libc::SYS_brk, &[], "the C library's allocator"),
        rule(
            libc::SYS_mmap,
            &[Without(2, exec), Without(3, uncounted)],
            "allocators, and a memory's image over its slot; none of the kinds of memory that no limit counts",
        ),
        rule(
            libc::SYS_mprotect,
            &[Without(2, exec)],
            "memory.grow makes reserved pages usable",
        ),
        rule(libc::SYS_munmap, &[], "allocators"),
        rule(
            libc::SYS_mremap,
            &[Int(3, libc::MREMAP_MAYMOVE as u32)],
            "realloc of large blocks",
        ),
        rule(
            libc::SYS_rt_sigreturn,
            &[],
            "the end of every signal handler: traps, and the stop signal",
        ),
        rule(
            libc::SYS_rt_sigprocmask,
            &[],
            "abort(3) unblocks its signal",
        ),
        rule(
            libc::SYS_sigaltstack,
            &[],
            "trap handlers have their own stack",
        ),
        rule(libc::SYS_getpid, &[], "abort(3) names itself"),
        rule(libc::SYS_gettid, &[], "abort(3) names itself"),
        rule(
            libc::SYS_tgkill,
            &[Int(0, own_pid), Int(2, libc::SIGABRT as u32)],
            "abort(3) dies by its own signal",
        ),
        rule(
            libc::SYS_getrandom,
            &[],
            "seeds of hash tables, and a guest's randomness",
        ),
        rule(
            libc::SYS_clock_gettime,
            &[],
            "clocks that the kernel does not serve without a call",
        ),
        rule(
            libc::SYS_restart_syscall,
            &[],
            "a timed wait goes on after the process was stopped and continued",
        ),
        rule(
            libc::SYS_sched_yield,
            &[],
            "whoever polls lets others have the CPU",
        ),
        rule(
            libc::SYS_prctl,
            &[Int(0, libc::PR_SET_VMA as u32)],
            "mimalloc labels its memory for /proc; nothing else of prctl(2) is allowed",
        ),
        rule(libc::SYS_exit, &[], "the end"),
        rule(libc::SYS_exit_group, &[], "the end"),
        rule(
            libc::SYS_write,
            &[Int(0, DIAGNOSTICS)],
            "the line that a panic leaves",
        ),
        rule(
            libc::SYS_sendmsg,
            &[Int(0, SOCKET)],
            "what the host is told",
        ),
    ];
    for advice in [
        libc::MADV_DONTNEED,
        libc::MADV_FREE,
        libc::MADV_HUGEPAGE,
        libc::MADV_NOHUGEPAGE,
    ] {
        rules.push(rule(
            libc::SYS_madvise,
            &[Int(2, advice as u32)],
            "allocators give memory back; so does the reset of a large instance",
        ));
    }
    for signal in [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGABRT,
    ] {
        rules.push(rule(
            libc::SYS_rt_sigaction,
            &[Int(0, signal as u32)],
            "a crash that is not the guest's restores the default action, so that the true signal is seen",
        ));
    }
    for operation in [libc::FUTEX_WAIT, libc::FUTEX_WAKE] {
        for private in [0, libc::FUTEX_PRIVATE_FLAG] {
            rules.push(rule(
                libc::SYS_futex,
                &[Int(1, (operation | private) as u32)],
                "the doorbell, every sleep, and locks of the standard library",
            ));
        }
    }
    rules
}

/// What a worker may do from the moment its artifact is loaded.
pub(super) fn worker(fds: Fds, stop: StopBy, with_files: bool) -> Vec<Rule> {
    let mut rules = serving(own_pid(), fds, stop);
    if with_files {
        rules.extend(files::rules());
    }
    rules
}

/// The same for one that is yet to be forked, without files; see [`Program::of_this_process`].
pub(super) fn forked_worker(fds: Fds, stop: StopBy) -> Vec<Rule> {
    serving(OWN_PID, fds, stop)
}

fn serving(own_pid: u32, fds: Fds, stop: StopBy) -> Vec<Rule> {
    let mut rules = common(own_pid);
    rules.push(rule(
        libc::SYS_write,
        &[Check::Int(0, fds.eventfd as u32)],
        "the ring for a reply that the host sleeps for",
    ));
    rules.extend(room_for_hosts());
    rules.extend(stop_again(stop));
    rules.extend(fds.pagemap.into_iter().flat_map(reset));
    rules
}

fn stop_again(stop: StopBy) -> Option<Rule> {
    (stop == StopBy::Signal).then(|| {
        rule(
            libc::SYS_setitimer,
            &[Check::Int(0, libc::ITIMER_REAL as u32)],
            "a guest that a stop signal did not meet in its own code is looked for again",
        )
    })
}

fn room_for_hosts() -> [Rule; 3] {
    const WHY: &str = "a worker that polls leaves the CPU that its host polls on";
    let own = [Check::Int(0, 0)];
    [
        rule(
            libc::SYS_getcpu,
            &[],
            "which CPU that is, where the C library does not know",
        ),
        rule(libc::SYS_sched_getaffinity, &own, WHY),
        rule(libc::SYS_sched_setaffinity, &own, WHY),
    ]
}

fn reset(pagemap: RawFd) -> [Rule; 2] {
    [
        rule(
            libc::SYS_ioctl,
            &[Check::Int(0, pagemap as u32), Check::Int(1, page_map::SCAN)],
            "the reset asks which pages an instance wrote",
        ),
        rule(
            libc::SYS_getrusage,
            &[Check::Int(0, libc::RUSAGE_THREAD as u32)],
            "the reset asks whether there can be others than before",
        ),
    ]
}

/// What a process may do that runs a module's initialisation, from the moment its artifact is loaded.
pub(super) fn initializer(dump: RawFd) -> Vec<Rule> {
    let mut rules = common(own_pid());
    rules.push(rule(
        libc::SYS_pwrite64,
        &[Check::Int(0, dump as u32)],
        "the state that the initialisation left",
    ));
    rules
}

/// What a compiler may do from before it looks at the module.
pub(super) fn compiler(artifact: RawFd) -> Vec<Rule> {
    let mut rules = common(own_pid());
    rules.push(rule(
        libc::SYS_pwrite64,
        &[Check::Int(0, artifact as u32)],
        "the artifact",
    ));
    rules
}

/// Makes the kernel's program of a table: what is not in it kills.
pub(super) fn compile(rules: &[Rule]) -> io::Result<Program> {
    // Not the end at once: nobody would learn which call it was. The call is denied either way, and the table lets
    // nobody change what the signal does.
    program(rules, Answer::Trap, Answer::Allow)
}

#[cfg(test)]
mod probe;

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> [Vec<Rule>; 6] {
        let fds = |pagemap| Fds {
            eventfd: 7,
            pagemap,
        };
        [
            worker(fds(Some(9)), StopBy::Signal, false),
            worker(fds(None), StopBy::Epoch, false),
            worker(fds(Some(9)), StopBy::Signal, true),
            forked_worker(fds(Some(9)), StopBy::Epoch),
            initializer(7),
            compiler(5),
        ]
    }

    #[test]
    fn every_row_has_a_reason_and_an_effect() {
        let of_fork_servers = [
            forking::loading(StopBy::Signal),
            forking::serving(StopBy::Signal),
            forking::pid_one(),
        ];
        for rules in tables().into_iter().chain(of_fork_servers) {
            for (index, rule) in rules.iter().enumerate() {
                assert!(!rule.why.is_empty());
                let others = rules
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != index);
                // A conditional row beside an unconditional one would say nothing.
                for (_, other) in others.filter(|(_, other)| other.call == rule.call) {
                    assert!(!rule.checks.is_empty() && !other.checks.is_empty());
                    assert_ne!(format!("{:?}", rule.checks), format!("{:?}", other.checks));
                }
            }
            assert!(compile(&rules).is_ok());
        }
    }

    const LABEL: u32 = libc::PR_SET_VMA as u32;

    #[test]
    fn no_row_makes_memory_executable_or_a_descriptor() {
        for rules in tables() {
            for call in [libc::SYS_mmap, libc::SYS_mprotect] {
                for rule in rules.iter().filter(|rule| rule.call == call) {
                    assert!(rule.checks.iter().any(|check| matches!(
                        check,
                        Check::Without(2, mask) if mask & libc::PROT_EXEC as u64 != 0
                    )));
                }
            }
            let never = [
                libc::SYS_socket,
                libc::SYS_recvmsg,
                libc::SYS_clone,
                libc::SYS_clone3,
                libc::SYS_execve,
                libc::SYS_dup,
                libc::SYS_kill,
                libc::SYS_ptrace,
                libc::SYS_memfd_create,
                libc::SYS_pkey_mprotect,
                libc::SYS_process_vm_writev,
                libc::SYS_io_uring_setup,
            ];
            assert!(rules.iter().all(|rule| !never.contains(&rule.call)));
            let of_files = [libc::SYS_openat, libc::SYS_openat2, libc::SYS_fcntl];
            let has_files = rules.iter().any(|rule| rule.call == libc::SYS_pread64);
            let has = |call| rules.iter().any(|rule| rule.call == call);
            assert!(of_files.into_iter().all(|call| has(call) == has_files));
            // The death signal, capabilities and dumpability are prctl's, too.
            for rule in rules.iter().filter(|rule| rule.call == libc::SYS_prctl) {
                assert!(matches!(rule.checks[..], [Check::Int(0, LABEL)]));
            }
        }
    }

    #[test]
    fn a_program_that_is_made_before_its_process_becomes_that_processes() {
        let fds = Fds {
            eventfd: 7,
            pagemap: Some(9),
        };
        for stop in [StopBy::Epoch, StopBy::Signal, StopBy::Kill] {
            let mut before = compile(&forked_worker(fds, stop)).unwrap();
            let own = compile(&worker(fds, stop, false)).unwrap();
            assert_ne!(format!("{before:?}"), format!("{own:?}"));
            before.of_this_process();
            assert_eq!(format!("{before:?}"), format!("{own:?}"));
        }
    }
}
