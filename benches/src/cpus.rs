//! Which CPU a thread runs on. For baselines only: the product runs where the kernel puts it.

use anyhow::{Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Two CPUs of this process, for the two ends of a baseline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TwoCpus {
    pub(crate) ours: usize,
    pub(crate) theirs: usize,
}

impl TwoCpus {
    /// The first two that this process may use.
    pub(crate) fn pick() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        match (usable.next(), usable.next()) {
            (Some(ours), Some(theirs)) => Ok(Self { ours, theirs }),
            _ => bail!("this measurement needs two CPUs"),
        }
    }
}

/// Keeps this thread on one CPU while it lives.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    pub(crate) fn to(cpu: usize) -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was allowed before, so it is allowed now.
        let restored = sched_setaffinity(None, &self.before);
        debug_assert!(restored.is_ok());
    }
}
