//! What closing a host found.

use std::time::Duration;

use crate::error::Exit;

/// How the workers of a closed host ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// How many ended by themselves, with exit code 0, when they were asked to.
    pub clean: usize,
    /// How many were killed: their call did not end in time, or they did not.
    pub killed: usize,
    /// Every worker that was there when closing began, in the order of their ends; those of modules that were
    /// replaced first.
    pub exits: Vec<WorkerExit>,
    /// How many spare workers were killed, which had never had a call: see [`crate::WorkerType::ForkServer`]. They
    /// are in none of the other numbers.
    pub spare: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl ShutdownReport {
    /// The report of two pools that were closed together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.clean += other.clean;
        self.killed += other.killed;
        self.exits.extend(other.exits);
        self.spare += other.spare;
        self.elapsed = self.elapsed.max(other.elapsed);
        self
    }
}

/// How one worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerExit {
    /// Its number, unique within its host.
    pub worker_id: u64,
    /// Its process id.
    pub pid: u32,
    /// Its exit status, unless somebody else took that.
    pub exit: Option<Exit>,
    /// Whether this host killed it.
    pub killed: bool,
}

impl WorkerExit {
    pub(crate) fn is_clean(&self) -> bool {
        self.exit == Some(Exit::Code(0))
    }
}
