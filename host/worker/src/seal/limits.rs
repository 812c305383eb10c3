//! Resource limits.
//!
//! `DATA` counts private memory that is writable: all that a guest can use up, but not what escaped code has written
//! and then made unwritable. `AS` counts all that is mapped, and Wasmtime reserves far more than it uses: so it can be
//! taken only when everything is reserved and loaded. Escaped code that gives up what is reserved can fill that, some 4
//! GiB, with memory that it hides from `DATA` in this way, and no more. Shared memory, and such as grows downwards, the
//! filter keeps from it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a worker's native side may use besides the guest's memory: the allocator, and the line tables of a
/// guest that was built with debug information, which are read for a backtrace.
const NATIVE_BYTES: u64 = 128 << 20;

/// What a compiler may use. Cranelift's peak is some 50 times a module's largest function.
pub(super) const COMPILER_BYTES: u64 = 4 << 30;

/// A fork server's own are a dozen, and those of one worker half as many.
const FORK_SERVER_DESCRIPTORS: u64 = 64;

/// A fork server itself, and some that it may be wrong about.
const FORK_SERVER_PROCESSES: u64 = 16;

/// Workers that a host has ready besides those that it may have.
const SPARES: u64 = 1;

/// The longest artifact.
pub(super) const ARTIFACT_BYTES_MAX: u64 = 2 << 30;

/// Native frames below the wasm stack.
const NATIVE_STACK_BYTES: u64 = 2 << 20;

/// What an allocator may reserve without using it.
const RESERVED_BYTES: u64 = 1 << 30;

/// The kernel keeps at least 128 MiB of address space free for a program's stack, minus what it randomises.
const STACK_BYTES_MAX: u64 = 64 << 20;

/// Of the program's stack, which `DATA` does not count.
const STACK_MAX: u64 = STACK_BYTES_MAX + NATIVE_STACK_BYTES;

/// A resource and the most of it.
pub(super) type Ceiling = (Resource, u64);

/// What neither role ever needs.
const NEVER: &[Ceiling] = &[
    // A dump would hold arguments of other callers.
    (Resource::Core, 0),
    (Resource::Nproc, 0),
    (Resource::Memlock, 0),
    (Resource::Msgqueue, 0),
    (Resource::Nice, 0),
    (Resource::Rtprio, 0),
];

/// For a worker, besides [`data`].
pub(super) fn worker() -> Vec<Ceiling> {
    [NEVER, &[(Resource::Stack, STACK_MAX)]].concat()
}

/// For a process whose engine has been made, pools and all, and that is to run a guest with so much memory.
pub(super) fn data(usage: &Usage, memory_bytes: u64) -> io::Result<Ceiling> {
    // What is mapped already depends on the executable, which may be anybody's application.
    let data = usage.data()?.saturating_add(worker_bytes(memory_bytes));
    Ok((Resource::Data, data))
}

/// How much memory a worker may come to use, of which a guest has so much.
pub(super) fn worker_bytes(memory_bytes: u64) -> u64 {
    memory_bytes.saturating_add(NATIVE_BYTES)
}

/// For a process that has reserved and loaded everything, and may come to use and to map so much more.
pub(super) fn address_space(usage: Usage, bytes: u64) -> io::Result<Ceiling> {
    let more = bytes
        .saturating_add(RESERVED_BYTES)
        .saturating_add(STACK_MAX);
    Ok((Resource::As, usage.mapped()?.saturating_add(more)))
}

/// For a fork server whose engine has been made. A worker that is forked has the same, and [`forked`] besides.
pub(super) fn fork_server(usage: &Usage, memory_bytes: u64) -> io::Result<Vec<Ceiling>> {
    let mut ceilings = worker();
    ceilings.retain(|(resource, _)| *resource != Resource::Nproc);
    ceilings.push(data(usage, memory_bytes)?);
    ceilings.push((Resource::Nofile, FORK_SERVER_DESCRIPTORS));
    Ok(ceilings)
}

/// The processes of a fork server whose user is nobody else's: the kernel counts by user, wherever its processes are.
///
/// A worker may still be dying, and wait to be reaped, when another one has its place.
pub(super) fn family(workers: u64) -> Ceiling {
    let at_once = workers.saturating_add(SPARES).saturating_mul(2);
    (
        Resource::Nproc,
        at_once.saturating_add(FORK_SERVER_PROCESSES),
    )
}

/// What a worker gives up that its fork server needs.
pub(super) fn forked() -> [Ceiling; 1] {
    [(Resource::Nproc, 0)]
}

pub(super) fn compiler(cpu_time: Duration) -> Vec<Ceiling> {
    let seconds = cpu_time
        .as_secs()
        .saturating_add(u64::from(cpu_time.subsec_nanos() > 0));
    [
        NEVER,
        &[
            (Resource::Data, COMPILER_BYTES),
            (Resource::Cpu, seconds.max(1).saturating_add(1)),
        ],
    ]
    .concat()
}

/// What can only be taken when everything is loaded.
pub(super) fn last(file_bytes_max: u64, descriptors_end: u32) -> [Ceiling; 2] {
    [
        // Loading may put a memory's image into a file of its own.
        (Resource::Fsize, file_bytes_max),
        // By number, not by count: those that are open stay open.
        (Resource::Nofile, descriptors_end.into()),
    ]
}

/// The longest file that may be written, for a process that is not sealed.
pub(crate) fn limit_files(bytes_max: u64) -> Result<(), String> {
    apply(&[(Resource::Fsize, bytes_max)])
}

pub(super) fn apply(ceilings: &[Ceiling]) -> Result<(), String> {
    for &(resource, most) in ceilings {
        // A lower limit of the machine's stays.
        let most = getrlimit(resource)
            .maximum
            .map_or(most, |now| now.min(most));
        // At the lower limit of processor time comes SIGXCPU, which tells the host why; at the upper SIGKILL,
        // which would not.
        let grace = u64::from(resource == Resource::Cpu);
        let limit = Rlimit {
            current: Some(most.saturating_sub(grace)),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(|error| format!("{resource:?} at {most}: {error}"))?;
    }
    Ok(())
}

/// Makes sure that the stack can hold a guest's, which runs on it.
pub(crate) fn reserve_stack(wasm_bytes: u64) -> Result<(), String> {
    if wasm_bytes > STACK_BYTES_MAX {
        return Err(format!(
            "a stack of {wasm_bytes} bytes is more than the {STACK_BYTES_MAX} that a worker can give"
        ));
    }
    let need = wasm_bytes + NATIVE_STACK_BYTES;
    let now = getrlimit(Resource::Stack);
    if now.current.is_none_or(|current| current >= need) {
        return Ok(());
    }
    let limit = Rlimit {
        current: Some(need),
        maximum: now.maximum,
    };
    setrlimit(Resource::Stack, limit)
        .map_err(|error| format!("a stack of {need} bytes is not allowed here: {error}"))
}

/// What the kernel says of this process's memory; open from before it begins to seal itself, as it could not open it
/// afterwards.
#[derive(Debug)]
pub(super) struct Usage(File);

impl Usage {
    pub(super) fn open() -> io::Result<Self> {
        File::open("/proc/self/statm").map(Self)
    }

    /// All that is mapped, in bytes. Can be asked once.
    fn mapped(mut self) -> io::Result<u64> {
        let mut text = [0; 256];
        // A fork server is forbidden to say where to read by then.
        let len = self.0.read(&mut text)?;
        Self::bytes(&text[..len], 0)
    }

    /// The private writable memory in bytes.
    fn data(&self) -> io::Result<u64> {
        let mut text = [0; 256];
        let len = self.0.read_at(&mut text, 0)?;
        Self::bytes(&text[..len], 5)
    }

    fn bytes(text: &[u8], at: usize) -> io::Result<u64> {
        let text = str::from_utf8(text).map_err(io::Error::other)?;
        let pages: u64 = text
            .split_whitespace()
            .nth(at)
            .and_then(|pages| pages.parse().ok())
            .ok_or_else(|| io::Error::other("/proc/self/statm lacks a number"))?;
        Ok(pages.saturating_mul(rustix::param::page_size() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_rounded_up_to_the_seconds_that_the_kernel_counts() {
        let seconds = |time| {
            compiler(time)
                .into_iter()
                .find_map(|(resource, most)| (resource == Resource::Cpu).then_some(most))
        };
        // One more: the process is told at one second less.
        assert_eq!(seconds(Duration::from_millis(1)), Some(1 + 1));
        assert_eq!(seconds(Duration::ZERO), Some(1 + 1));
        assert_eq!(seconds(Duration::from_millis(2001)), Some(3 + 1));
        assert_eq!(seconds(Duration::MAX).map(|s| s > 1 << 60), Some(true));
    }

    #[test]
    fn a_worker_may_use_what_it_has_and_its_guests_memory() {
        let usage = Usage::open().unwrap();
        let (_, most) = data(&usage, 1 << 30).unwrap();
        assert!(most > (1 << 30) + NATIVE_BYTES);
        assert!(data(&usage, u64::MAX).is_ok());
        assert_eq!(address_space(usage, u64::MAX).unwrap().1, u64::MAX);
        let usage = || Usage::open().unwrap();
        assert!(address_space(usage(), 0).unwrap().1 > usage().mapped().unwrap());
    }
}
