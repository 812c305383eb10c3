//! What can go wrong, for callers who branch on it.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why a host could not be built or a call has no result.
///
/// The text of `Display` is one line for people; it may change. Branch on the variants and the `is_*`
/// methods.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The guest failed, or its worker process died. Only this call is affected.
    BrokenWorker(BrokenWorkerError),
    /// The call was cancelled.
    Cancelled,
    /// A time limit of the call passed.
    Timeout {
        /// What the call was doing.
        phase: Phase,
        /// For how long: since the call was first awaited, or since it was dispatched once it runs.
        elapsed: Duration,
    },
    /// Too many calls wait already.
    Saturated {
        /// How many.
        waiting: usize,
    },
    /// The host is closed.
    Closed,
    /// The module has no such function.
    NoSuchFunction {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        available: Vec<String>,
    },
    /// The call's types are not the function's.
    Signature {
        /// The function's name.
        function: String,
        /// The function as the module has it.
        expected: String,
        /// The types of the call.
        found: String,
    },
    /// The arguments could not be encoded.
    EncodeArgs {
        /// The function's name.
        function: String,
        /// What the encoder says.
        reason: String,
    },
    /// The guest could not decode the arguments.
    DecodeArgs {
        /// The function's name.
        function: String,
        /// What the guest says.
        reason: String,
    },
    /// The guest could not encode its result.
    EncodeResult {
        /// The function's name.
        function: String,
        /// What the guest says.
        reason: String,
    },
    /// The result does not decode as the type that the call expects.
    DecodeResult {
        /// The function's name.
        function: String,
        /// What the decoder says.
        reason: String,
    },
    /// The arguments or the result are longer than [`crate::Limits::payload_bytes`].
    PayloadTooLarge {
        /// Their encoded length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The module is not one that can be run.
    InvalidModule {
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The module could not be compiled.
    Compile {
        /// What the compiler says.
        reason: String,
    },
    /// No worker process could be started.
    Spawn {
        /// What failed, and what to do.
        reason: String,
    },
    /// The module's own start code failed, so no worker can serve it.
    Init {
        /// What failed.
        reason: String,
    },
    /// This system cannot isolate workers.
    Unsupported {
        /// The operating system.
        os: &'static str,
        /// The processor.
        arch: &'static str,
    },
    /// A setting makes no sense.
    Config {
        /// Which one.
        field: &'static str,
        /// Why, and what would.
        reason: String,
    },
    /// The system refused something.
    Io(io::Error),
}

/// What a call was doing when its time was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It waited for a permit or for a worker.
    Queued,
    /// It waited for a worker process to start.
    Starting,
    /// Its guest code ran.
    Running,
}

impl Error {
    /// Whether the guest failed or its worker died.
    #[must_use]
    pub fn is_broken_worker(&self) -> bool {
        matches!(self, Self::BrokenWorker(_))
    }

    /// Whether a time limit passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether the call was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// Whether the same call may well succeed later, with nothing changed: the pool was full, a worker
    /// could not be started, or its process died.
    ///
    /// A call whose worker died may have run in part. A guest that trapped, panicked or hit a limit will do
    /// so again, so those are not retryable.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Saturated { .. } | Self::Spawn { .. } => true,
            Self::Timeout { phase, .. } => *phase != Phase::Running,
            Self::BrokenWorker(broken) => {
                matches!(broken.cause(), Cause::Died | Cause::Unresponsive)
            }
            _ => false,
        }
    }

    pub(crate) fn config(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Config {
            field,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenWorker(broken) => broken.fmt(f),
            Self::Cancelled => f.write_str("the call was cancelled"),
            Self::Timeout { phase, elapsed } => {
                let doing = match phase {
                    Phase::Queued => "waiting in the queue",
                    Phase::Starting => "waiting for a worker to start",
                    Phase::Running => "running",
                };
                write!(f, "the call timed out after {elapsed:?} of {doing}")
            }
            Self::Saturated { waiting } => {
                write!(
                    f,
                    "{waiting} calls wait already: retry later, or raise `queue_limit` or `workers`"
                )
            }
            Self::Closed => f.write_str("the host is closed"),
            Self::NoSuchFunction { name, available } if available.is_empty() => {
                write!(
                    f,
                    "no function `{}`: the module exports none that can be called",
                    Shown(name)
                )
            }
            Self::NoSuchFunction { name, available } => {
                write!(f, "no function `{}`: the module has ", Shown(name))?;
                const SHOWN: usize = 20;
                for (i, name) in available.iter().take(SHOWN).enumerate() {
                    write!(f, "{}`{}`", if i > 0 { ", " } else { "" }, Shown(name))?;
                }
                match available.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::Signature {
                function,
                expected,
                found,
            } => write!(
                f,
                "function `{}` is `{}`, but the call is `{}`: give the types that the guest has",
                Shown(function),
                Shown(expected),
                Shown(found)
            ),
            Self::EncodeArgs { function, reason } => {
                write!(
                    f,
                    "the arguments of `{}` cannot be encoded: {}",
                    Shown(function),
                    Shown(reason)
                )
            }
            Self::DecodeArgs { function, reason } => {
                write!(
                    f,
                    "`{}` did not understand its arguments: {}",
                    Shown(function),
                    Shown(reason)
                )
            }
            Self::EncodeResult { function, reason } => {
                write!(
                    f,
                    "`{}` could not encode its result: {}",
                    Shown(function),
                    Shown(reason)
                )
            }
            Self::DecodeResult { function, reason } => write!(
                f,
                "the result of `{}` does not decode as the expected type: {}",
                Shown(function),
                Shown(reason)
            ),
            Self::PayloadTooLarge { bytes, limit } => write!(
                f,
                "a payload of {bytes} bytes exceeds the limit of {limit}: raise `Limits::payload_bytes`"
            ),
            Self::InvalidModule { reason } => {
                write!(f, "the module cannot be run: {}", Shown(reason))
            }
            Self::Compile { reason } => write!(f, "the module does not compile: {}", Shown(reason)),
            Self::Spawn { reason } => write!(f, "no worker could be started: {}", Shown(reason)),
            Self::Init { reason } => write!(f, "the module's start code failed: {}", Shown(reason)),
            Self::Unsupported { os, arch } => {
                write!(
                    f,
                    "workers cannot be isolated on {os}/{arch}: use Linux on x86-64 or aarch64"
                )
            }
            Self::Config { field, reason } => write!(f, "setting `{field}`: {reason}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Text from a guest or a worker, made fit for one line of a terminal or a log.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for c in self.0.chars() {
            match c {
                '\n' => f.write_str("; ")?,
                // Bidirectional overrides reorder what a person reads.
                c if c.is_control()
                    || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
                {
                    write!(f, "{}", c.escape_unicode())?;
                }
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A call that ended because its guest failed or its worker process died.
#[derive(Debug)]
pub struct BrokenWorkerError(Box<Broken>);

#[derive(Debug)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_cross_threads() {
        fn check<T: std::error::Error + Send + Sync + 'static>() {}
        check::<Error>();
        check::<BrokenWorkerError>();
    }

    #[test]
    fn hostile_text_stays_on_its_line() {
        let text = Shown("a\u{1b}[31mred\r\nnext\u{202e}");
        assert_eq!(text.to_string(), "a\\u{1b}[31mred\\u{d}; next\\u{202e}");
    }
}
