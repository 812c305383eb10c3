//! How a call broke: what the guest did, or what became of its worker.

use std::fmt;
use std::time::Duration;

use super::{Error, Shown};

/// A call that ended because its guest failed or its worker process died.
#[derive(Debug, Clone)]
pub struct BrokenWorkerError(Box<Broken>);

#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) function: String,
    pub(crate) worker_id: u64,
    pub(crate) pid: u32,
    pub(crate) cause: Cause,
    pub(crate) exit: Option<Exit>,
    pub(crate) stderr_tail: String,
    pub(crate) elapsed: Duration,
    pub(crate) backtrace: Option<String>,
    pub(crate) process_died: bool,
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        Self::BrokenWorker(BrokenWorkerError(Box::new(broken)))
    }
}

impl BrokenWorkerError {
    /// The function that was called.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.0.function
    }

    /// The number of the worker, unique within its host.
    #[must_use]
    pub fn worker_id(&self) -> u64 {
        self.0.worker_id
    }

    /// The worker's process id, which may belong to another process by now.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// What happened.
    #[must_use]
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// How the process ended, if it did and the kernel told us.
    ///
    /// `None` also when the application waits for children that are not its own, or ignores SIGCHLD.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.0.exit
    }

    /// The end of what the guest, and after it the worker itself, wrote to stderr during the call.
    #[must_use]
    pub fn stderr_tail(&self) -> &str {
        &self.0.stderr_tail
    }

    /// How long the call had been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed
    }

    /// The guest's frames, innermost first, one a line.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        self.0.backtrace.as_deref()
    }

    /// Whether the worker process is gone. Otherwise it serves on, with a new instance.
    #[must_use]
    pub fn process_died(&self) -> bool {
        self.0.process_died
    }
}

impl fmt::Display for BrokenWorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken {
            function,
            worker_id,
            pid,
            cause,
            exit,
            stderr_tail,
            ..
        } = &*self.0;
        write!(
            f,
            "call of `{}` in worker {worker_id} (pid {pid}): {cause}",
            Shown(function)
        )?;
        if let (true, Some(exit)) = (self.0.process_died, exit) {
            write!(f, " ({exit})")?;
        }
        if let (Cause::Died, Some(last)) = (cause, stderr_tail.trim_end().lines().last()) {
            write!(f, ": {}", Shown(last))?;
        }
        Ok(())
    }
}

impl std::error::Error for BrokenWorkerError {}

/// Why a call broke.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The guest trapped.
    Trap(Trap),
    /// The guest panicked.
    Panic {
        /// The panic's message.
        message: String,
        /// File, line and column in the guest's source.
        location: String,
    },
    /// The guest wanted more memory than it may have, and gave up.
    OutOfMemory {
        /// The limit in bytes.
        limit: u64,
        /// What its memory would have grown to, in bytes.
        requested: u64,
    },
    /// The guest used up its stack.
    StackOverflow,
    /// The guest ended its program with this code, in the middle of the call.
    GuestExit(i32),
    /// The worker process died.
    Died,
    /// The call used more CPU time than it may.
    CpuTime {
        /// The limit.
        limit: Duration,
    },
    /// The worker process was killed by the kernel for a system call that it may not make.
    PolicyViolation {
        /// Its number, as reported by the worker: unlike the kill itself, nobody vouches for it.
        syscall: Option<u32>,
    },
    /// The guest or its worker broke the rules between guest, worker and host.
    Protocol(String),
    /// The worker did not react, several times in a row.
    Unresponsive,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trap(trap) => write!(f, "the guest trapped: {trap}"),
            Self::Panic { message, location } => {
                write!(
                    f,
                    "the guest panicked at {}: {}",
                    Shown(location),
                    Shown(message)
                )
            }
            Self::OutOfMemory { limit, requested } => write!(
                f,
                "the guest ran out of memory: it wanted {requested} bytes, the limit is {limit} \
                 (`Limits::memory_bytes`)"
            ),
            Self::StackOverflow => f.write_str(
                "the guest overflowed its stack (`Limits::stack_bytes`, or endless recursion)",
            ),
            Self::GuestExit(code) => write!(f, "the guest called exit({code})"),
            Self::Died => f.write_str("the worker process died"),
            Self::CpuTime { limit } => write!(f, "the call used more than {limit:?} of CPU time"),
            Self::PolicyViolation {
                syscall: Some(number),
            } => {
                write!(
                    f,
                    "the worker tried a forbidden system call (number {number}, by its own word)"
                )
            }
            Self::PolicyViolation { syscall: None } => {
                f.write_str("the worker tried a forbidden system call")
            }
            Self::Protocol(what) => write!(f, "the protocol was broken: {}", Shown(what)),
            Self::Unresponsive => f.write_str("no worker reacted"),
        }
    }
}

/// The ways in which WebAssembly code traps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Trap {
    /// It executed `unreachable`: an assertion, an abort, or a failed allocation.
    Unreachable,
    /// It reached outside its memory.
    MemoryOutOfBounds,
    /// It reached outside a table.
    TableOutOfBounds,
    /// It called through an empty table element.
    IndirectCallToNull,
    /// It called a function of another type through a table.
    BadSignature,
    /// An integer operation overflowed.
    IntegerOverflow,
    /// An integer was divided by zero.
    IntegerDivisionByZero,
    /// A float does not fit in an integer.
    BadConversionToInteger,
    /// Anything else.
    Other,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "`unreachable` executed",
            Self::MemoryOutOfBounds => "memory access out of bounds",
            Self::TableOutOfBounds => "table access out of bounds",
            Self::IndirectCallToNull => "indirect call to null",
            Self::BadSignature => "indirect call of the wrong type",
            Self::IntegerOverflow => "integer overflow",
            Self::IntegerDivisionByZero => "integer division by zero",
            Self::BadConversionToInteger => "float does not fit in an integer",
            Self::Other => "another trap",
        })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The signal of a system call that a filter forbids.
    pub(crate) const SIGSYS: i32 = 31;
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
        }
    }
}

/// Linux's numbers, which x86-64 and aarch64 share.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}
