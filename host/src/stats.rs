//! What a host is doing.

/// A look at a host, taken at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The worker processes, oldest first.
    pub workers: Vec<WorkerStats>,
    /// How many calls wait for a permit or a worker.
    pub waiting: usize,
    /// What has become of the workers so far.
    pub worker_counts: WorkerCounts,
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

/// What has become of a host's workers since it was built. Those that are neither ended nor failed are in
/// [`Stats::workers`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerCounts {
    /// Processes that were started.
    pub started: u64,
    /// Retired: no call for [`crate::HostBuilder::idle_timeout`].
    pub retired_idle: u64,
    /// Retired: [`crate::Retire::after_calls`].
    pub retired_calls: u64,
    /// Retired: [`crate::Retire::after_age`].
    pub retired_age: u64,
    /// Retired: [`crate::Retire::above_rss`].
    pub retired_rss: u64,
    /// Asked to end by [`crate::Host::close`], and ended by themselves.
    pub closed: u64,
    /// Killed by the host: they did not stop or end in time, or were not believed.
    pub killed: u64,
    /// Died by themselves, or were killed by somebody else.
    pub died: u64,
    /// Never became ready.
    pub not_ready: u64,
}
