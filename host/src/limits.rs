//! Ceilings, and what may be chosen about a pool.

use std::time::Duration;

use crate::Error;

/// Ceilings of one call.
///
/// Each is a promise to the server: nothing that a guest does costs it more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most memory of an instance in bytes, all its memories together; 512 MiB by default. A guest that
    /// wants more is refused by `memory.grow`, and most then give up: [`crate::Cause::OutOfMemory`].
    pub memory_bytes: usize,
    /// The most elements of an instance's tables, all together; 20 000 by default.
    pub table_elements: usize,
    /// The stack of guest code in bytes; 512 KiB by default, 4 MiB at most.
    pub stack_bytes: usize,
    /// The longest encoded arguments and the longest encoded result in bytes; 64 MiB by default, 2 GiB at
    /// most.
    pub payload_bytes: usize,
    /// How many bytes of stdout and of stderr are kept per call, the last ones, rounded up to pages of
    /// 4 KiB; 64 KiB by default. A guest may write more; that is lost and does not fail.
    pub output_bytes: usize,
    /// The longest file in bytes that a guest may make where it was granted a directory to write; 256 MiB by
    /// default. A write beyond that is refused with an error of its own (`EFBIG`). How many files it makes is
    /// not limited, nor what they take together: give guests a file system with a quota.
    pub file_bytes: u64,
    /// The longest module in bytes; 64 MiB by default.
    pub module_bytes: usize,
    /// For how long a module may be compiled; 60 s by default.
    pub compile_time: Duration,
    /// For how long a guest's `#[init]` function may run, once, when the module is compiled; 10 s by default.
    /// Where it runs in each instance instead, see [`crate::Inspection::init`], the limits of a worker's start
    /// hold.
    pub init_time: Duration,
    /// The CPU time that a call may use; no limit by default.
    pub cpu_time: Option<Duration>,
    /// For how long a call may run from its dispatch, unless the call says otherwise; no limit by default.
    pub timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 512 << 20,
            table_elements: 20_000,
            stack_bytes: 512 << 10,
            payload_bytes: 64 << 20,
            output_bytes: 64 << 10,
            file_bytes: 256 << 20,
            module_bytes: 64 << 20,
            compile_time: Duration::from_secs(60),
            init_time: Duration::from_secs(10),
            cpu_time: None,
            timeout: None,
        }
    }
}

impl Limits {
    /// Each value against what it can mean.
    pub(crate) fn check(&self) -> Result<(), Error> {
        const PAGE: usize = 64 << 10;
        let at_least = |field, value: usize, least: usize| {
            if value >= least {
                return Ok(());
            }
            Err(Error::config(
                field,
                format!("{value} is too small to be useful: give at least {least}"),
            ))
        };
        let at_most = |field, value: usize, most: usize| {
            if value <= most {
                return Ok(());
            }
            Err(Error::config(
                field,
                format!("{value} is more than a 32-bit guest can use: give at most {most}"),
            ))
        };
        at_least("limits.memory_bytes", self.memory_bytes, PAGE)?;
        at_most("limits.memory_bytes", self.memory_bytes, 4 << 30)?;
        at_most("limits.table_elements", self.table_elements, 10_000_000)?;
        at_least("limits.stack_bytes", self.stack_bytes, 16 << 10)?;
        if self.stack_bytes > 4 << 20 {
            let reason = format!(
                "{} does not fit in a worker's stack: give at most {}",
                self.stack_bytes,
                4 << 20
            );
            return Err(Error::config("limits.stack_bytes", reason));
        }
        at_least("limits.payload_bytes", self.payload_bytes, 64)?;
        at_most("limits.payload_bytes", self.payload_bytes, 1 << 31)?;
        at_most("limits.output_bytes", self.output_bytes, 1 << 30)?;
        at_least("limits.module_bytes", self.module_bytes, 8)?;
        at_most("limits.module_bytes", self.module_bytes, 1 << 30)?;
        for (field, time) in [
            ("limits.compile_time", Some(self.compile_time)),
            ("limits.init_time", Some(self.init_time)),
            ("limits.cpu_time", self.cpu_time),
            ("limits.timeout", self.timeout),
        ] {
            if time == Some(Duration::ZERO) {
                return Err(Error::config(
                    field,
                    "zero would fail every time: give a positive duration",
                ));
            }
        }
        Ok(())
    }
}

/// Whether a call gets a fresh instance or the one that the last call left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// Each call gets a pristine instance: no call sees what another left. It costs a few microseconds,
    /// spent while nobody waits.
    #[default]
    Fresh,
    /// An instance serves one call after the other until it fails. Which worker a call meets is not for the
    /// caller to choose, so this is for caches, not for sessions.
    Keep,
}

/// How a call is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Interrupt {
    /// Ask the guest first, by an epoch that its code checks at every loop and function entry; its process
    /// serves on. SIGKILL only if that takes longer than the interrupt grace.
    #[default]
    Epoch,
    /// Ask the guest first, by a signal that moves it, wherever its code is, to an instruction that traps. Its code has
    /// no checks, as with [`Self::KillOnly`], and its process serves on, as with [`Self::Epoch`]. A signal that comes while
    /// the guest is not in its own code is followed by another one every 20 us: of a guest that spends nearly all of its
    /// time in copies and fills of large pieces of memory, none may meet it within the interrupt grace. Then its process is
    /// killed.
    Signal,
    /// Kill the worker process. Guest code has no epoch checks, with which real programs take 1.1 to 1.25 times as long,
    /// and one that does nothing but call itself 1.4 times (`benches/RESULTS.md`, `workloads` and `cpu`).
    KillOnly,
}

/// What happens to a call whose future is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnDrop {
    /// It is stopped.
    #[default]
    Cancel,
    /// It goes on unobserved, and its result is discarded. It ends with its host at the latest.
    Detach,
}

/// How worker processes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WorkerType {
    /// Each is started as a program of its own, with its own address space layout.
    #[default]
    Spawn,
    /// Each is forked from one process per host that has loaded the module's code already, which takes a fraction of
    /// the time and of the memory; one more is kept ready, so that a worker that is lost is replaced at once. All
    /// workers of a host share one address space layout. Not for guests with granted directories.
    ForkServer,
}

/// How much of the kernel a worker leaves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Hardening {
    /// Everything that a worker does not need is given up before guest code runs. A wall that cannot be put
    /// up is an error of [`crate::HostBuilder::build`], never a silent lack.
    #[default]
    Default,
    /// The same, and the kernel must have Landlock. Others are required by name, see
    /// [`crate::HostBuilder::require_wall`].
    Strict,
    /// Only the WebAssembly sandbox and the process border: for systems without seccomp, and for debugging
    /// workers. An escaped guest has the server's rights. Said once, as a warning, through `tracing`.
    Insecure,
}

/// How arguments and results are encoded for guests of the stockade ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// bincode 2, standard configuration: compact and fast, not self-describing. What `serde_json::Value`
    /// and serde's `untagged` and `flatten` need is not in it.
    #[default]
    Bincode,
    /// JSON: for guests in other languages, for dynamic values and for debugging.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed() {
        Limits::default().check().unwrap();
    }
}
