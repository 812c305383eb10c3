//! The probe: a process that seals itself as a worker does and tries its walls, so that a host can tell what
//! stands from what is only said to.
//!
//! What the kernel shows of a worker, the host reads for every worker. This is about the rest, which is the
//! same for all workers of one program on one kernel: one probe answers for them. It also does what every
//! worker's own code does under the seal, because that is the application's code, too: its allocator's above
//! all.
#![expect(
    unsafe_code,
    reason = "children of a process of one thread, which end without destructors"
)]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, waitpid};
use stockade_wire::message::{ProbeMessage, StopBy, Trial, WasiSetup};
use stockade_wire::namespaces::Namespace;
use stockade_wire::role::{Assignment, Role, VARIABLE};

use crate::config::{InstanceLimits, Scanning};
use crate::guest::{Alone, Program, Runtime};
use crate::reset_proof::{REFUTED, ResetProof};
use crate::seal::{Fds, Landlock, Sealing, identity};
use crate::{compiler, page_map, process, signals};

/// What its guest may use. More than the self-test allocates.
const LIMITS: InstanceLimits = InstanceLimits {
    memory_bytes: 64 << 20,
    tables: 0,
    table_elements: 0,
    stack_bytes: 512 << 10,
};

/// A module with nothing but memory.
const MODULE: &[u8] = br#"(module (memory (export "memory") 2))"#;

/// Something that must happen has not happened if it takes longer than this on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest block of the self-test: far beyond what allocators treat like small ones.
const BLOCK_BYTES_MAX: usize = 8 << 20;

/// How much of a block is written. An allocator does not know, and the host's first build waits for every page.
const WRITTEN_MAX: usize = 64 << 10;

/// Runs the role. Never returns.
pub(crate) fn role(assignment: Assignment) -> ! {
    match run(assignment) {
        Ok(()) => process::tell(&ProbeMessage::Over),
        Err(reason) => {
            process::tell(&ProbeMessage::Refused(process::text(reason)));
            process::exit(1)
        }
    }
    // The last wall is tried by what becomes of this process, which the kernel tells the host.
    let opened = File::open("/");
    process::exit(if opened.is_ok() { 0 } else { 1 })
}

fn run(assignment: Assignment) -> Result<(), String> {
    tried(Trial::Descriptors, descriptors());
    tried(Trial::Environment, environment());
    tried(
        Trial::DeathString,
        death_string().unwrap_or_else(|error| Some(error.to_string())),
    );
    let neighbour = Neighbour::start().map_err(|error| error.to_string())?;

    // What a worker gets from a compiler process. Its own module needs none.
    let compiled = compiler::compile(MODULE, StopBy::Epoch).map_err(|(_, message)| message)?;
    // Closing it would be a system call that the seal forbids, as those of the engine are.
    let bell = Box::leak(Box::new(
        eventfd(0, EventfdFlags::CLOEXEC).map_err(|error| error.to_string())?,
    ));
    // They could not be opened later.
    let maps = File::open("/proc/self/maps").ok();
    let links = Links::open();
    let fds = Fds {
        eventfd: bell.as_raw_fd(),
        pagemap: page_map::open(),
    };
    let begun = Sealing::worker(
        assignment,
        LIMITS,
        StopBy::Epoch,
        fds,
        None,
        Landlock::IfThere,
        None,
    )
    .map_err(|breach| breach.to_string())?;
    let scanning = fds.pagemap.map(|page_map| Scanning {
        page_map,
        has_small_tables: true,
    });
    let runtime = Runtime::scanning(StopBy::Epoch, LIMITS, scanning)
        .map_err(|error| format!("cannot set Wasmtime up: {error:#}"))?;
    signals::stop_with(StopBy::Epoch, runtime.engine()).map_err(|error| error.to_string())?;
    let sealing = begun.with_engine().map_err(|breach| breach.to_string())?;
    tried(
        Trial::NotDumpable,
        neighbour
            .look()
            .unwrap_or_else(|error| Some(error.to_string())),
    );
    tried(Trial::Landlock, landlock());
    if let Some(links) = &links {
        for namespace in Namespace::ALL {
            if sealing.namespaces().has(namespace) {
                tried(Trial::Namespace(namespace), links.left(namespace));
            }
        }
    }
    let program: Program<Alone> = runtime
        .load_compiled(&compiled, &WasiSetup::default())
        .map_err(|error| format!("cannot load a module: {error:?}"))?;
    let program = Box::leak(Box::new(program));
    wasmtime::Engine::tls_eager_initialize();
    tried(Trial::NoNewCode, maps.as_ref().and_then(no_new_code));
    sealing.finish().map_err(|breach| breach.to_string())?;

    tried(Trial::ResetProof, reset_proof(program)?);
    std::mem::forget((runtime, compiled, maps, links));
    exercise();
    Ok(())
}

/// Tells the host; with a reason, the wall does not stand.
fn tried(wall: Trial, reason: Option<String>) {
    process::tell(&ProbeMessage::Tried(wall, reason.map(process::text)));
}

/// Of whoever started it, as nothing has been opened yet.
fn descriptors() -> Option<String> {
    let listed = match fs::read_dir("/proc/self/fd") {
        Ok(listed) => listed,
        Err(error) => return Some(format!("/proc does not show its descriptors: {error}")),
    };
    let numbers = listed.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let inherited = numbers.filter(|number: &u32| *number >= process::FIRST_INHERITED);
    // One is the list's own.
    match inherited.count() {
        0 | 1 => None,
        some => Some(format!("it was started with {} more descriptors", some - 1)),
    }
}

fn environment() -> Option<String> {
    if let Some((name, _)) = std::env::vars_os().next() {
        return Some(format!("{} is still set", name.display()));
    }
    // What it was started with: its role, and nothing of the application's.
    let Ok(block) = fs::read("/proc/self/environ") else {
        return None;
    };
    let role = format!("{VARIABLE}=");
    let mut entries = block.split(|byte| *byte == 0);
    entries
        .find(|entry| !entry.is_empty() && !entry.starts_with(role.as_bytes()))
        .map(|entry| {
            let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
            let name = std::ffi::OsStr::from_bytes(name).display().to_string();
            format!("it was started with {name}")
        })
}

/// Starts a process that starts another one and ends, and sees whether that one ends, too.
fn death_string() -> io::Result<Option<String>> {
    // What is left behind becomes a child of this process: nobody else is to find it.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let (mut life, held) = io::pipe()?;
    let parent = fork()?;
    if parent == 0 {
        drop(life);
        end(start_orphan(held).is_err());
    }
    drop(held);
    wait(parent)?;
    let mut orphan = [0; 4];
    if life.read_exact(&mut orphan).is_err() {
        return Ok(Some("it could not be tied to a process".to_owned()));
    }
    let orphan = libc::pid_t::from_ne_bytes(orphan);
    // Its end of the pipe is open for as long as it lives.
    let mut fds = [PollFd::new(&life, PollFlags::IN)];
    let outlived = poll(&mut fds, Timespec::try_from(PATIENCE).ok().as_ref())? == 0;
    // SAFETY: nobody has waited for it, so the number is its own.
    unsafe { libc::kill(orphan, libc::SIGKILL) };
    wait(orphan)?;
    Ok(outlived.then(|| "a process outlived the one that started it".to_owned()))
}

/// What is left behind by the calling process, which ends when this returns.
fn start_orphan(mut held: io::PipeWriter) -> io::Result<()> {
    let assignment = Assignment {
        role: Role::Probe,
        host: std::process::id(),
    };
    let (mut told, tell) = io::pipe()?;
    if fork()? == 0 {
        drop(told);
        if process::die_with_host(assignment).is_err() {
            end(true);
        }
        let _ = held.write_all(&std::process::id().to_ne_bytes());
        drop(tell);
        loop {
            // SAFETY: `pause` waits for a signal and takes nothing.
            unsafe { libc::pause() };
        }
    }
    drop(tell);
    // Until it has been tied, or could not be.
    told.read_to_end(&mut Vec::new()).map(drop)
}

/// Another process of the same user, which tries to look into this one.
struct Neighbour {
    pid: libc::pid_t,
    asked: io::PipeWriter,
    answer: io::PipeReader,
}

impl Neighbour {
    fn start() -> io::Result<Self> {
        let target = std::process::id();
        let (mut question, asked) = io::pipe()?;
        let (answer, mut said) = io::pipe()?;
        let pid = fork()?;
        if pid == 0 {
            drop((asked, answer));
            if question.read_exact(&mut [0]).is_err() {
                end(true);
            }
            // It may not know itself who it is, in a namespace without users.
            let same = owner_of(target)
                .and_then(|uid| identity::follow(uid, uid).map_err(io::Error::from))
                .and_then(|()| identity::drop_capabilities().map_err(io::Error::from));
            let saw = File::open(format!("/proc/{target}/mem"));
            let word: &[u8] = match (same, saw) {
                (Err(_), _) => b"it could not become the same user",
                (Ok(()), Ok(_)) => b"another process of its user can read its memory",
                (Ok(()), Err(_)) => b"",
            };
            end(said.write_all(word).is_err());
        }
        Ok(Self { pid, asked, answer })
    }

    /// To be called when this process may not be looked into any more.
    fn look(mut self) -> io::Result<Option<String>> {
        self.asked.write_all(&[1])?;
        drop(self.asked);
        let mut said = String::new();
        self.answer.read_to_string(&mut said)?;
        wait(self.pid)?;
        Ok(Some(said).filter(|said| !said.is_empty()))
    }
}

/// The user that a process is, as the kernel shows it to this one.
fn owner_of(pid: u32) -> io::Result<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    uid.ok_or_else(|| io::Error::other("/proc does not say whose it is"))
}

fn landlock() -> Option<String> {
    match fs::read_dir("/") {
        Ok(_) => Some("it can open a directory".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => Some(format!(
            "it cannot open a directory, for another reason: {error}"
        )),
    }
}

/// Which namespaces this process was in, and is.
struct Links {
    directory: File,
    before: [Option<OsString>; Namespace::ALL.len()],
}

impl Links {
    fn open() -> Option<Self> {
        let directory = File::open("/proc/self/ns").ok()?;
        let before = Namespace::ALL.map(|namespace| link(&directory, namespace));
        Some(Self { directory, before })
    }

    fn left(&self, namespace: Namespace) -> Option<String> {
        let now = link(&self.directory, namespace);
        (now == self.before[namespace as usize])
            .then(|| "it is in the same namespace as before".to_owned())
    }
}

fn link(directory: &File, namespace: Namespace) -> Option<OsString> {
    let target = rustix::fs::readlinkat(directory, namespace.link(), Vec::new()).ok()?;
    Some(OsString::from_vec(target.into_bytes()))
}

fn no_new_code(mut file: &File) -> Option<String> {
    let mut maps = String::new();
    file.read_to_string(&mut maps).ok()?;
    let line = maps.lines().find(|line| {
        let mode = line.split(' ').nth(1).unwrap_or_default();
        mode.contains('w') && mode.contains('x')
    })?;
    Some(format!(
        "memory of this program is writable and executable, made by a library of it or by an executable \
         stack: {line}"
    ))
}

/// As every worker proves of its first instance.
fn reset_proof(program: &Program<Alone>) -> Result<Option<String>, String> {
    let failed = |_| "cannot instantiate a module".to_owned();
    let mut first = program.instantiate(Alone).map_err(failed)?;
    let Some(mut proof) = ResetProof::of(&mut first) else {
        return Err("an instance has no memory".to_owned());
    };
    proof.leave_mark(&mut first);
    drop(first);
    let mut second = program.instantiate(Alone).map_err(failed)?;
    let refuted = proof.is_refuted_by(&mut second);
    std::mem::forget(second);
    Ok(refuted.then(|| REFUTED.to_owned()))
}

/// What a worker's own code does between calls: memory of every size, text, hashing, the clock.
fn exercise() {
    let mut kept = Vec::new();
    let mut size = 1;
    while size <= BLOCK_BYTES_MAX {
        let mut block = Vec::with_capacity(size);
        block.resize(size.min(WRITTEN_MAX), 1u8);
        block.reserve_exact(size + size / 2);
        block.truncate(size / 2);
        block.shrink_to(size / 2);
        if size <= WRITTEN_MAX {
            kept.push(block);
        }
        size *= 4;
    }
    let mut names = std::collections::HashMap::new();
    for block in &kept {
        names.insert(
            block.len(),
            format!("{:.3?} {:?}", block.len() as f64, std::time::Instant::now()),
        );
    }
    std::thread::yield_now();
    std::hint::black_box((&kept, &names));
}

/// A child, which has this process's memory and its one thread.
fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: this process has one thread, so the child may do everything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

fn end(failed: bool) -> ! {
    process::exit(failed.into())
}

fn wait(pid: libc::pid_t) -> io::Result<()> {
    match waitpid(Pid::from_raw(pid), WaitOptions::empty()) {
        // An application that ignores SIGCHLD has the kernel wait for our children, too.
        Ok(_) | Err(Errno::CHILD) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The process of a test has none of these walls.
    #[test]
    fn where_a_wall_does_not_stand_its_trial_says_so() {
        assert!(environment().is_some());
        assert!(landlock().is_some());
        let without_capabilities = fork().unwrap();
        if without_capabilities == 0 {
            let dropped = identity::drop_capabilities();
            let said = Neighbour::start().and_then(Neighbour::look);
            let seen = matches!(said, Ok(Some(said)) if said.contains("can read its memory"));
            end(dropped.is_err() || !seen);
        }
        let (_, status) = waitpid(Pid::from_raw(without_capabilities), WaitOptions::empty())
            .unwrap()
            .unwrap();
        assert_eq!(status.exit_status(), Some(0), "{status:?}");
        let maps = File::open("/proc/self/maps").unwrap();
        assert_eq!(no_new_code(&maps), None);
        let rwx = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
        let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new page aliases nothing.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rwx, anonymous, -1, 0) };
        let maps = File::open("/proc/self/maps").unwrap();
        assert!(no_new_code(&maps).is_some_and(|said| said.contains("rwx")));
        // SAFETY: the page was made above, and nothing refers to it.
        unsafe { libc::munmap(page, 4096) };
    }
}
