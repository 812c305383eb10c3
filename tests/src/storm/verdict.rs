//! What must hold whatever the weather, and what was found that did not.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// Each call resolves exactly once, as its own answer or as an error that something caused.
    Resolves,
    /// What a guest does to the world happens at most once, and exactly once when the call is answered.
    Effects,
    /// A worker that somebody kills takes at most one call with it, and no other worker dies.
    Kills,
    /// When the last worker has been killed, there are soon as many as there may be.
    Strength,
    /// Descriptors, threads, children, memfds and their mappings are what they were before.
    Nothing,
    /// The numbers of a host add up, and are those that its callers saw.
    Counters,
}

impl Invariant {
    /// All, in the order of a report.
    pub const ALL: [Self; 6] = [
        Self::Resolves,
        Self::Effects,
        Self::Kills,
        Self::Strength,
        Self::Nothing,
        Self::Counters,
    ];

    fn says(self) -> &'static str {
        match self {
            Self::Resolves => "every call resolves once, with its own answer",
            Self::Effects => {
                "a side effect happens at most once, and once when the call is answered"
            }
            Self::Kills => "a killed worker costs at most one call",
            Self::Strength => "full strength comes back",
            Self::Nothing => "nothing is left behind",
            Self::Counters => "the counters reconcile",
        }
    }
}

/// What was found of one invariant.
#[derive(Debug)]
pub struct Verdict {
    /// Which.
    pub invariant: Invariant,
    /// How it was broken: the first few cases.
    pub broken: Vec<String>,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.broken.is_empty() {
            "held"
        } else {
            "BROKEN"
        };
        write!(f, "{held:<7}{}: {}", self.invariant.says(), self.seen)?;
        for case in &self.broken {
            write!(f, "\n       {case}")?;
        }
        Ok(())
    }
}

/// More cases of one kind say no more.
const CASES_MAX: usize = 10;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Mutex<Vec<(Invariant, String)>>);

impl Findings {
    pub(super) fn broken(&self, invariant: Invariant, how: impl Into<String>) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.iter().filter(|(of, _)| *of == invariant).count() < CASES_MAX {
            found.push((invariant, how.into()));
        }
    }

    pub(super) fn expect(&self, holds: bool, invariant: Invariant, how: impl FnOnce() -> String) {
        if !holds {
            self.broken(invariant, how());
        }
    }

    pub(super) fn of(&self, invariant: Invariant) -> Vec<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cases = found.iter().filter(|(of, _)| *of == invariant);
        cases.map(|(_, how)| how.clone()).collect()
    }
}
