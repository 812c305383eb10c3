//! What a host is doing.

/// A look at a host, taken at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The worker processes, oldest first.
    pub workers: Vec<WorkerStats>,
    /// How many calls wait for a permit or a worker.
    pub waiting: usize,
}

/// One worker process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its number, unique within its host.
    pub id: u64,
    /// Its process id.
    pub pid: u32,
    /// What it does.
    pub state: WorkerState,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerState {
    /// It is being started.
    Starting,
    /// It waits for a call.
    Idle,
    /// It was given a call and has not taken it up: if it dies now, the call runs elsewhere.
    Dispatched,
    /// It runs a call.
    Running,
    /// Its call was stopped, and it has not reacted yet, or it is about to die.
    Stopping,
}
