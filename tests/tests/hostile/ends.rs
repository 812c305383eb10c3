//! How a hostile guest's call must end, as a word in a table.

use stockade::{Cause, Error, Phase, Trap};

/// The end of a call, or of a build.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Ends {
    /// It did no harm, and returned this number.
    Returns(i64),
    Trap(Trap),
    OutOfMemory,
    StackOverflow,
    Exit(i32),
    /// It panicked, and the message begins so.
    Panics(&'static str),
    /// It broke the rules of the ABI, and the error says this of it.
    BreaksRules(&'static str),
    /// It is stopped when its time is over.
    TimesOut,
    /// Its result is too long.
    TooLarge,
    /// Its result is no value of the type that is wanted.
    NoValue,
    /// It says that it did not understand its arguments.
    NoArguments,
    /// It is never called: its start code fails, and the error says this of it.
    NeverStarts(&'static str),
    /// It is never compiled, for this reason.
    Invalid(&'static str),
}

impl Ends {
    /// Whether there is no host to call.
    pub(crate) fn at_build(self) -> bool {
        matches!(self, Self::NeverStarts(_) | Self::Invalid(_))
    }

    /// Compares what happened with this.
    #[track_caller]
    pub(crate) fn check(self, name: &str, result: Result<i64, Error>) {
        let fits = match &result {
            Ok(value) => self == Self::Returns(*value),
            Err(Error::BrokenWorker(broken)) => self.fits_cause(broken.cause()),
            Err(Error::Timeout {
                phase: Phase::Running,
                ..
            }) => self == Self::TimesOut,
            Err(Error::PayloadTooLarge { .. }) => self == Self::TooLarge,
            Err(Error::DecodeResult { .. }) => self == Self::NoValue,
            Err(Error::DecodeArgs { .. }) => self == Self::NoArguments,
            Err(Error::Init { reason }) => {
                matches!(self, Self::NeverStarts(says) if reason.contains(says))
            }
            Err(Error::InvalidModule { reason }) => {
                matches!(self, Self::Invalid(says) if reason.contains(says))
            }
            Err(_) => false,
        };
        assert!(fits, "{name} must end by {self:?}, but: {result:?}");
        if let Err(error) = result {
            let text = error.to_string();
            // An operator's terminal and log see this.
            assert!(!text.chars().any(char::is_control), "{name}: {text:?}");
            assert!(text.len() < 64 << 10, "{name}: {} bytes", text.len());
        }
    }

    fn fits_cause(self, cause: &Cause) -> bool {
        match (self, cause) {
            (Self::Trap(expected), Cause::Trap(trap)) => expected == *trap,
            (Self::OutOfMemory, Cause::OutOfMemory { .. })
            | (Self::StackOverflow, Cause::StackOverflow) => true,
            (Self::Exit(expected), Cause::GuestExit(code)) => expected == *code,
            (Self::Panics(begins), Cause::Panic { message, .. }) => message.starts_with(begins),
            (Self::BreaksRules(says), Cause::Protocol(what)) => what.contains(says),
            _ => false,
        }
    }
}
