//! Whether it makes sense to start another worker.
//!
//! A module whose start code fails, or a machine that has no room for a process, fails every start. After
//! some in a row the pool stops trying and answers with the last error, until some time has passed.

use std::time::{Duration, Instant};

use super::StartError;
use crate::Error;

/// Failures in a row after which no more is tried for a while.
const FAILURES_MAX: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How the last starts went.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// How many starts have failed in all.
    total: u64,
    in_a_row: u32,
    last: Option<Reason>,
    paused_until: Option<Instant>,
}

/// What is told to calls while nothing is tried.
#[derive(Debug, Clone)]
enum Reason {
    Init(String),
    Spawn(String),
}

impl Health {
    pub(super) fn started(&mut self) {
        self.in_a_row = 0;
        self.paused_until = None;
    }

    pub(super) fn failed(&mut self, error: &StartError, now: Instant) {
        self.total += 1;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = Some(match error {
            StartError::Error(Error::Init { reason }) => Reason::Init(reason.clone()),
            StartError::Error(Error::Spawn { reason }) => Reason::Spawn(reason.clone()),
            StartError::Error(other) => Reason::Spawn(other.to_string()),
            StartError::Artifact(reason) => Reason::Spawn(reason.clone()),
        });
        let Some(doublings) = self.in_a_row.checked_sub(FAILURES_MAX) else {
            return;
        };
        let pause = FIRST_PAUSE
            .saturating_mul(1 << doublings.min(16))
            .min(LONGEST_PAUSE);
        self.paused_until = Some(now + pause);
    }

    /// How many starts have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.total
    }

    /// The last failure, if there was one since there had been `failures`.
    pub(super) fn failed_since(&self, failures: u64) -> Option<StartError> {
        (self.total > failures).then(|| self.error()).flatten()
    }

    fn error(&self) -> Option<StartError> {
        let error = match self.last.clone()? {
            Reason::Init(reason) => Error::Init { reason },
            Reason::Spawn(reason) => Error::Spawn { reason },
        };
        Some(StartError::Error(error))
    }

    /// When to try again, and until then what to tell calls.
    pub(super) fn pause(&self) -> Option<(Instant, StartError)> {
        // Read only when there is a pause at all.
        let until = self.paused_until.filter(|until| *until > Instant::now())?;
        Some((until, self.error()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> StartError {
        StartError::Error(Error::Init {
            reason: "no".into(),
        })
    }

    #[test]
    fn some_failures_in_a_row_make_a_pause_that_grows_to_a_bound() {
        let mut health = Health::default();
        let now = Instant::now();
        for _ in 1..FAILURES_MAX {
            health.failed(&failure(), now);
            assert!(health.pause().is_none());
        }
        assert!(health.failed_since(health.failures()).is_none());
        let mut last = Duration::ZERO;
        for _ in 0..100 {
            health.failed(&failure(), now);
            let until = health.paused_until.unwrap();
            assert!(until - now >= last && until - now <= LONGEST_PAUSE);
            last = until - now;
        }
        let (_, error) = health.pause().unwrap();
        assert!(matches!(error, StartError::Error(Error::Init { .. })));
        assert_eq!(last, LONGEST_PAUSE);
        health.started();
        assert!(health.pause().is_none());
        assert!(health.failed_since(health.failures() - 1).is_some());
    }
}
