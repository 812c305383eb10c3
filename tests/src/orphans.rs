//! Host processes that end at a random moment in every disorderly way, and what is left of them.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use stockade::{Host, Limiter, WorkerState, WorkerType};

use crate::by_hand::ByHand;
use crate::wait::{BOUND, RESOLVES};
use crate::{Random, guest, host_of};

/// How a host process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Somebody sends it SIGKILL.
    Killed,
    /// The same, when it has a fork that lives on.
    KilledWithFork,
    /// It becomes another program.
    Execs,
    /// It panics, with calls under way.
    Panics,
    /// It aborts.
    Aborts,
    /// It exits without dropping anything.
    Exits,
}

impl End {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Killed,
        Self::KilledWithFork,
        Self::Execs,
        Self::Panics,
        Self::Aborts,
        Self::Exits,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::KilledWithFork => "killed-with-fork",
            Self::Execs => "execs",
            Self::Panics => "panics",
            Self::Aborts => "aborts",
            Self::Exits => "exits",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.name() == name)
    }
}

/// The line with which a host process says that its workers are there.
const READY: &str = "the workers are there";

/// Is a host process that ends so. One of its workers spins, one sleeps, and the third serves calls, or is being
/// started, at any moment.
///
/// # Panics
/// When that is the end; or when the host cannot be built.
pub fn victim(end: End, worker_type: Option<WorkerType>) {
    // By this it and all that it starts are found, whoever is their parent then.
    let _ = rustix::process::setsid();
    let mut builder = host_of(guest::probe()).workers(3).limiter(Limiter::new(8));
    if let Some(worker_type) = worker_type {
        builder = builder.worker_type(worker_type);
    }
    let host = builder.build_blocking().expect("the guest is sound");
    let mut spinning = ByHand::new(host.run_sync::<_, _, ()>("spin", ()));
    let mut asleep = ByHand::new(host.run_sync::<_, _, ()>("sleep_ms", (3_600_000u64,)));
    let running = |host: &Host| {
        let workers = host.stats().workers;
        let running = workers
            .iter()
            .filter(|worker| worker.state == WorkerState::Running);
        running.count()
    };
    let begun = Instant::now();
    while running(&host) < 2 {
        let _ = (spinning.poll(), asleep.poll());
        assert!(begun.elapsed() < RESOLVES, "the calls do not run");
        std::thread::sleep(Duration::from_millis(1));
    }
    let echo = |n: u64| ByHand::new(host.run_sync::<_, _, u64>("echo_u64", (n,))).finish();
    let _ = echo(0);
    println!("\n{READY}");
    match end {
        // Not for ever, should its parent fail.
        End::Killed => serve_until_killed(&host),
        End::KilledWithFork => {
            if fork() == Forked::Child {
                std::thread::sleep(RESOLVES);
                // Not by the parent's destructors and exit handlers.
                rustix::process::kill_process(rustix::process::getpid(), Signal::KILL)
                    .expect("a signal to oneself");
            }
            serve_until_killed(&host);
        }
        End::Execs => {
            let error = Command::new("/bin/sleep").arg("30").exec();
            panic!("sleep does not run: {error}");
        }
        End::Panics => panic!("as it was asked to"),
        End::Aborts => std::process::abort(),
        End::Exits => std::process::exit(7),
    }
}

/// Serves calls on one worker, which it has replaced again and again.
fn serve_until_killed(host: &Host) {
    let begun = Instant::now();
    let mut n = 0;
    while begun.elapsed() < RESOLVES {
        n += 1;
        let _ = ByHand::new(host.run_sync::<_, _, u64>("echo_u64", (n,))).finish();
        if n % 50 == 0 {
            let _ = ByHand::new(host.run_sync::<_, _, ()>("abort", ())).finish();
            let idle = host.stats().workers.into_iter();
            let mut idle = idle.filter(|w| w.state == WorkerState::Idle);
            if let Some(worker) = idle.next() {
                crate::signals::send(worker.pid, Signal::KILL);
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Forked {
    Parent,
    Child,
}

#[expect(unsafe_code, reason = "the application forks")]
fn fork() -> Forked {
    // SAFETY: the child sleeps and exits; it uses no lock that another thread can have held but the
    // allocator's, which the C library's fork takes care of.
    match unsafe { libc::fork() } {
        0 => Forked::Child,
        _ => Forked::Parent,
    }
}

/// What was left of host processes.
#[derive(Debug, Default)]
pub struct Orphans {
    /// How many host processes ended.
    pub hosts: u64,
    /// How many processes they had at their end.
    pub processes: u64,
    /// The longest time from a host's end to that of the last process that it had started.
    pub longest: Duration,
    /// What must not happen.
    pub broken: Vec<String>,
}

impl fmt::Display for Orphans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.broken.is_empty() {
            "held"
        } else {
            "BROKEN"
        };
        write!(
            f,
            "{held:<7}nothing outlives a host process: {} ended with {} processes, the last of which was gone {:.1} ms after its host at most",
            self.hosts,
            self.processes,
            self.longest.as_secs_f64() * 1e3
        )?;
        for case in &self.broken {
            write!(f, "\n       {case}")?;
        }
        Ok(())
    }
}

/// Has host processes end so, and looks what is left of them. `command` gives a program that calls
/// [`victim`] with its argument.
///
/// # Panics
/// When a host process does not come up.
pub fn run(ends: &[End], seed: u64, mut command: impl FnMut(End) -> Command) -> Orphans {
    let mut random = Random::of(seed, 0);
    let mut seen = Orphans::default();
    for end in ends {
        let mut child = command(*end)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let stdout = child.stdout.take().expect("it is a pipe");
        // A third of those that are killed are killed on their way up.
        let early = *end == End::Killed && random.below(3) == 0;
        if early {
            std::thread::sleep(Duration::from_micros(random.below(60_000)));
        } else {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            assert!(
                lines.any(|line| line == READY),
                "a host process did not come up"
            );
            if matches!(end, End::Killed | End::KilledWithFork) {
                std::thread::sleep(Duration::from_micros(random.below(30_000)));
            }
        }
        seen.hosts += 1;
        look(&mut child, *end, &mut seen);
    }
    seen
}

/// Ends a host process, or lets it end, and waits for what it had started.
fn look(child: &mut Child, end: End, seen: &mut Orphans) {
    let host = child.id();
    let may_stay = match end {
        End::KilledWithFork => 1,
        End::Execs => 1,
        _ => 0,
    };
    let killed = matches!(end, End::Killed | End::KilledWithFork);
    let before = of_session(host);
    if killed {
        let _ = child.kill();
    }
    if end == End::Execs {
        let begun = Instant::now();
        let is_sleep = || {
            fs::read_to_string(format!("/proc/{host}/comm"))
                .is_ok_and(|name| name.trim() == "sleep")
        };
        while !is_sleep() && begun.elapsed() < RESOLVES {
            std::thread::sleep(Duration::from_micros(200));
        }
    } else {
        let _ = child.wait();
    }
    let begun = Instant::now();
    let left = loop {
        let left = of_session(host);
        if left.len() <= may_stay || begun.elapsed() > BOUND {
            break left;
        }
        std::thread::sleep(Duration::from_micros(500));
    };
    seen.longest = seen.longest.max(begun.elapsed());
    seen.processes += before.len().saturating_sub(1) as u64;
    if left.len() > may_stay {
        seen.broken
            .push(format!("{left:?} of host {host}, which {}", end.name()));
    }
    for pid in left {
        // What may stay, or must not: nothing outlives this look.
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    }
    let _ = child.wait();
}

/// The processes of a session that are no zombies: those are their new parent's to reap.
fn of_session(session: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let session = session.to_string();
    pids.filter(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let words = stat.rsplit_once(") ").map(|(_, after)| after);
        let words: Vec<&str> = words.unwrap_or_default().split_whitespace().collect();
        // State, parent, group, session.
        !matches!(words.first(), None | Some(&("Z" | "X"))) && words.get(3) == Some(&&*session)
    })
    .collect()
}
