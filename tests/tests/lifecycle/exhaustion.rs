//! What a host does when the system has no more to give: it says so, and serves on when there is.
#![expect(unsafe_code, reason = "a test becomes an unprivileged user")]

use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit};
use stockade::{Error, Host, HostBuilder, Limiter, WorkerState, WorkerStats};
use stockade_tests::alone::alone_with;
use stockade_tests::{
    BOUND, Census, Scratch, alone, by_hand::ByHand, census, eventually, guest, host_of,
};

/// The number that the next descriptor of this process gets.
fn next_descriptor() -> u64 {
    let used = census().fds;
    (0..).find(|fd| !used.contains_key(fd)).map_or(0, u64::from)
}

/// Does `work` with a soft limit of `most`, and puts the old one back.
fn limited<T>(resource: Resource, most: u64, work: impl FnOnce() -> T) -> T {
    let before = rustix::process::getrlimit(resource);
    let lower = Rlimit {
        current: Some(most),
        maximum: before.maximum,
    };
    rustix::process::setrlimit(resource, lower).unwrap();
    let result = work();
    rustix::process::setrlimit(resource, before).unwrap();
    result
}

fn echo(host: &Host) -> Result<u64, Error> {
    ByHand::new(host.run_sync("echo_u64", (7u64,))).finish()
}

/// What comes of a call that needs a second worker.
fn on_a_second(host: &Host) -> Result<u64, Error> {
    let mut first = ByHand::new(host.run_sync::<_, _, ()>("spin", ()));
    let begun = std::time::Instant::now();
    let is_running = |worker: &WorkerStats| worker.state == WorkerState::Running;
    while !host.stats().workers.iter().any(is_running) && begun.elapsed() < BOUND {
        if let std::task::Poll::Ready(result) = first.poll() {
            return result.map(|()| 0);
        }
        std::thread::yield_now();
    }
    echo(host)
}

/// Whether an error says that the system had no more to give.
#[track_caller]
fn is_told(error: &Error) {
    assert!(
        matches!(
            error,
            Error::Io(_) | Error::Spawn { .. } | Error::Compile { .. }
        ),
        "{error:?}"
    );
    assert!(!error.to_string().contains('\n'), "{error}");
}

/// A host of two workers that is built, and one that has yet to be, meet `limits` one after the other.
fn each_limit_is_told_and_then_the_host_serves(
    builder: impl Fn() -> HostBuilder,
    resource: Resource,
    limits: impl Fn() -> Vec<u64>,
) {
    // Everything that a first host costs.
    drop(builder().build_blocking().unwrap());
    // Its thread is the last that goes.
    let is_over =
        |now: Census| now.children.is_empty() && !now.threads.contains(&"stockade".into());
    eventually(BOUND, || is_over(census()));
    let before = census();
    let mut refused = [0; 2];
    for most in limits() {
        match limited(resource, most, || builder().build_blocking()) {
            Ok(host) => drop(echo(&host)),
            Err(error) => {
                refused[0] += 1;
                is_told(&error);
            }
        }
        eventually(BOUND, || census().counts() == before.counts());
    }
    let host = builder().build_blocking().unwrap();
    for most in limits() {
        echo(&host).unwrap();
        if let Err(error) = limited(resource, most, || on_a_second(&host)) {
            refused[1] += 1;
            is_told(&error);
        }
        // What is lacking is not asked for again at once.
        eventually(BOUND, || on_a_second(&host).is_ok());
        // The second worker is to be missing again.
        for worker in host.stats().workers {
            stockade_tests::signals::send(worker.pid, rustix::process::Signal::KILL);
        }
        eventually(BOUND, || host.stats().workers.is_empty());
    }
    drop(host);
    eventually(BOUND, || census().counts() == before.counts());
    assert!(
        refused.iter().all(|times| *times > 0),
        "no exhaustion: {refused:?}"
    );
}

fn two_workers() -> HostBuilder {
    host_of(guest::probe()).workers(2).limiter(Limiter::new(2))
}

#[test]
fn without_descriptors_hosts_and_calls_fail_with_errors_and_later_serve() {
    alone(|| {
        each_limit_is_told_and_then_the_host_serves(two_workers, Resource::Nofile, || {
            let used = next_descriptor();
            (used..used + 24).collect()
        });
    });
}

#[test]
fn without_address_space_hosts_and_calls_fail_with_errors_and_later_serve() {
    alone(|| {
        each_limit_is_told_and_then_the_host_serves(two_workers, Resource::As, || {
            let used = stockade_tests::census::status_bytes("VmSize");
            // Between what small allocations need and what a slot does.
            (4..16).map(|step| used + (step << 24)).collect()
        });
    });
}

#[test]
fn without_processes_hosts_and_calls_fail_with_errors_and_later_serve() {
    let cache = Scratch::new();
    let shared = cache.path().to_owned();
    alone_with(
        |command: &mut Command| command.env("STOCKADE_TEST_CACHE", &shared),
        || {
            let cache = std::env::var_os("STOCKADE_TEST_CACHE").unwrap();
            become_nobody(Path::new(&cache));
            each_limit_is_told_and_then_the_host_serves(
                || two_workers().cache_dir(&cache),
                Resource::Nproc,
                || (1..4).collect(),
            );
        },
    );
}

/// Root's processes are not counted. Of this user there are no others, wherever the tests run.
fn become_nobody(owns: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let user = 64_000 + std::process::id() % 1_000;
    std::os::unix::fs::chown(owns, Some(user), Some(user)).unwrap();
    // SAFETY: plain system calls; the C library has every thread of the process follow.
    let became = unsafe { libc::setgid(user) == 0 && libc::setuid(user) == 0 };
    assert!(became, "{}", std::io::Error::last_os_error());
    // A process that changed its user hides its /proc from it, and a worker is to be looked at.
    // SAFETY: it takes numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) }, 0);
}

#[test]
fn a_full_disk_costs_a_compilation_and_nothing_else() {
    let scratch = Scratch::new();
    let full = scratch.path().to_owned();
    alone_with(
        |command: &mut Command| command.env("STOCKADE_TEST_FULL", &full),
        || {
            let dir = std::path::PathBuf::from(std::env::var_os("STOCKADE_TEST_FULL").unwrap());
            let mounted = mount_small(&dir);
            if !mounted {
                println!("no file system can be mounted here: not tried");
                return;
            }
            let cache = dir.join("cache");
            let build = || {
                let host = host_of(guest::hello()).cache_dir(&cache).workers(1);
                host.build_blocking().unwrap()
            };
            for _ in 0..2 {
                let host = build();
                let sum: u64 = ByHand::new(host.run_sync("add", (2u32, 3u32)))
                    .finish()
                    .unwrap();
                assert_eq!(sum, 5);
            }
            // Nothing of an artifact that did not fit takes room from others.
            let kept = std::fs::read_dir(&cache)
                .unwrap()
                .map(|entry| entry.unwrap());
            let left: Vec<_> = kept
                .map(|entry| entry.file_name().into_string().unwrap())
                .filter(|name| !name.starts_with("lock-") && !name.starts_with("program-"))
                .collect();
            assert!(left.is_empty(), "{left:?}");
        },
    );
}

/// A file system of four pages, seen by this thread and those that it starts.
fn mount_small(at: &Path) -> bool {
    let at = std::ffi::CString::new(at.as_os_str().as_encoded_bytes()).unwrap();
    let mount = |at: &std::ffi::CStr, kind: &std::ffi::CStr, flags, options: &std::ffi::CStr| {
        // SAFETY: all four are strings that end, and outlive the call.
        let done = unsafe {
            libc::mount(
                c"none".as_ptr(),
                at.as_ptr(),
                kind.as_ptr(),
                flags,
                options.as_ptr().cast(),
            )
        };
        done == 0
    };
    // SAFETY: it takes a number only; the thread shares no file system state that another relies on.
    let apart = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
    apart
        && mount(c"/", c"none", libc::MS_PRIVATE | libc::MS_REC, c"")
        && mount(&at, c"tmpfs", 0, c"size=16k")
}

#[test]
fn a_file_size_limit_fails_builds_with_an_error() {
    alone(|| {
        // SAFETY: the disposition is replaced by one that runs no code: without it the limit kills.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        drop(two_workers().build_blocking().unwrap());
        eventually(BOUND, || census().children.is_empty());
        let before = census();
        for most in [0, 1 << 12, 1 << 20] {
            let error =
                limited(Resource::Fsize, most, || two_workers().build_blocking()).unwrap_err();
            is_told(&error);
            eventually(BOUND, || census().counts() == before.counts());
        }
        let host = two_workers().build_blocking().unwrap();
        echo(&host).unwrap();
        is_told(&limited(Resource::Fsize, 1 << 12, || on_a_second(&host)).unwrap_err());
        eventually(BOUND, || on_a_second(&host).is_ok());
    });
}
