//! What can go wrong, for callers who branch on it.

mod broken;

use std::fmt;
use std::io;
use std::time::Duration;

pub(crate) use self::broken::Broken;
pub use self::broken::{BrokenWorkerError, Cause, Exit, Trap};

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
    /// A host function that the guest called failed; the guest was stopped.
    HostFunction {
        /// The host function's name.
        function: String,
        /// How: a panic's message, or that its runtime has ended.
        reason: String,
    },
    /// The arguments, the result, or something that the guest emitted or asked of its host are longer than
    /// [`crate::Limits::payload_bytes`].
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
    /// The module's own start code, or its `#[init]` function, failed, so no worker can serve it.
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
            Self::Saturated { waiting: 0 } => {
                f.write_str(
                    "no worker and permit is free for a call that may not wait: retry later, or raise `workers` or the limiter's total",
                )
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
            Self::HostFunction { function, reason } => write!(
                f,
                "the host function `{}` failed, so the call that waited for it was stopped: {}",
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
