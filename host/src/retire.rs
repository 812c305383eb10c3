//! When a worker has served long enough.

use std::time::Duration;

use crate::Error;

/// When a worker is replaced, although nothing is wrong with it.
///
/// A guest that escaped its sandbox and keeps answering would see the arguments of every later call of its
/// worker; so workers do not live for ever. The conditions are combined by "or". The successor is started
/// first, and the old worker goes when that one is ready and its own call is over, so no call waits for it.
///
/// Under [`crate::State::Keep`] a guest may have a say, too: its `#[retire]` function is asked after each call,
/// whatever the conditions here, and at most ten workers a second are replaced for it.
///
/// Default: after 10 000 calls, or ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Retire {
    pub(crate) calls: Option<u64>,
    pub(crate) age: Option<Duration>,
    pub(crate) rss: Option<u64>,
}

impl Retire {
    /// Workers serve until something else ends them.
    pub const fn never() -> Self {
        Self {
            calls: None,
            age: None,
            rss: None,
        }
    }

    /// After at most this many calls; from eight on up to an eighth earlier, so that the successor is ready
    /// in time.
    pub const fn after_calls(mut self, calls: u64) -> Self {
        self.calls = Some(calls);
        self
    }

    /// After this time since the process was started, once it has no call.
    pub const fn after_age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// When the process has more than this many bytes of memory resident. It is looked at some ten times a
    /// second while the worker has calls.
    pub const fn above_rss(mut self, bytes: u64) -> Self {
        self.rss = Some(bytes);
        self
    }

    /// The call at whose dispatch the successor is to be started.
    pub(crate) fn heir_at(&self) -> u64 {
        self.calls.map_or(u64::MAX, |calls| calls - calls / 8)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |what: &str| {
            let reason = format!(
                "{what} of zero would retire every worker before its first call; leave the condition out"
            );
            Err(Error::config("retire", reason))
        };
        match self {
            Self { calls: Some(0), .. } => refuse("`after_calls`"),
            Self { age: Some(age), .. } if age.is_zero() => refuse("`after_age`"),
            Self { rss: Some(0), .. } => refuse("`above_rss`"),
            _ => Ok(()),
        }
    }
}

impl Default for Retire {
    fn default() -> Self {
        Self::never()
            .after_calls(10_000)
            .after_age(Duration::from_secs(600))
    }
}
