//! What a host is doing.

/// A look at a host, taken at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The worker processes, oldest first.
    pub workers: Vec<WorkerStats>,
    /// How many spare workers are ready to take the place of one that is lost: see
    /// [`crate::WorkerType::ForkServer`]. They are in none of the other numbers.
    pub spare: usize,
    /// How many calls wait for a permit or a worker.
    pub waiting: usize,
    /// What has become of the calls so far.
    pub calls: CallCounts,
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
    /// The most memory that it has had resident, in bytes, as the kernel says; `None` when it is gone.
    pub peak_resident_bytes: Option<u64>,
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
    /// Retired: the guest's own `#[retire]` function said so, or failed.
    pub retired_guest: u64,
    /// Retired: [`crate::Host::reload`] gave the host another module.
    pub retired_reload: u64,
    /// Asked to end by [`crate::Host::close`], and ended by themselves.
    pub closed: u64,
    /// Killed by the host: they did not stop or end in time, or were not believed.
    pub killed: u64,
    /// Died by themselves, or were killed by somebody else.
    pub died: u64,
    /// Never became ready.
    pub not_ready: u64,
}

/// What has become of a host's calls since it was built.
///
/// `submitted` is the sum of `finished`, `failed`, `cancelled`, `timed_out`, `rejected`, `running` and `queued`.
/// A call is submitted when it is first polled; one that is made and never polled is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallCounts {
    /// All calls.
    pub submitted: u64,
    /// They had a result.
    pub finished: u64,
    /// They failed, by cause.
    pub failed: FailureCounts,
    /// They were cancelled, or dropped before they were over.
    pub cancelled: u64,
    /// A time limit of theirs passed, waiting or running.
    pub timed_out: u64,
    /// They were refused before they reached a worker: no such function, other types, arguments that do not
    /// encode, too many waiting, a closed host.
    pub rejected: u64,
    /// They have a worker now.
    pub running: u64,
    /// They wait for a permit or a worker now, or travel with others and their callers have not looked since.
    pub queued: u64,
    /// They waited in line and travelled with others of the same function: one worker has run several of them, one
    /// after the other, without anybody being woken in between. Each is counted elsewhere, too.
    pub together: u64,
    /// Bytes of encoded arguments that were given to workers.
    pub bytes_in: u64,
    /// Bytes of encoded results that came back.
    pub bytes_out: u64,
}

/// Failed calls by cause; see [`crate::Cause`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureCounts {
    /// A trap.
    pub trap: u64,
    /// A panic.
    pub panic: u64,
    /// More memory than the limit.
    pub out_of_memory: u64,
    /// The guest's stack was used up.
    pub stack_overflow: u64,
    /// The guest called `proc_exit`.
    pub guest_exit: u64,
    /// The worker's process died.
    pub died: u64,
    /// More CPU time than the limit.
    pub cpu_time: u64,
    /// A system call that the seal forbids.
    pub policy_violation: u64,
    /// The guest or the worker broke the rules of the interface.
    pub protocol: u64,
    /// No worker took the call up.
    pub unresponsive: u64,
    /// Arguments or results that do not decode, or are too large.
    pub codec: u64,
    /// A host function that the guest called failed.
    pub host_function: u64,
    /// No worker could be started.
    pub no_worker: u64,
}

impl FailureCounts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.trap
            + self.panic
            + self.out_of_memory
            + self.stack_overflow
            + self.guest_exit
            + self.died
            + self.cpu_time
            + self.policy_violation
            + self.protocol
            + self.unresponsive
            + self.codec
            + self.host_function
            + self.no_worker
    }
}
