//! Directories that a guest was granted, and nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use stockade::{
    Clock, Error, Hardening, Host, HostBuilder, Limits, Output, Retire, State, Wall, WallState,
    Wasi,
};
use stockade_tests::alone::{alone, alone_as_nobody, is_root};
use stockade_tests::{BOUND, Scratch, census, eventually, guest, host_of};

/// WASI's number for a file that would be too long.
const FBIG: i32 = 22;

fn builder(wasi: Wasi) -> HostBuilder {
    host_of(guest::probe()).workers(1).wasi(wasi)
}

async fn host_in(wasi: Wasi) -> Host {
    builder(wasi).build().await.unwrap()
}

/// The result of a function of the probe's about files.
macro_rules! files {
    ($host:expr, $function:ident $(, $argument:expr)*) => {
        $host.run_sync(probe::files::$function, ($($argument,)*)).await.unwrap()
    };
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Everything that `std::fs` offers, each with its effect outside.
async fn work_with_files(host: &Host, scratch: &Scratch) {
    files!(host, write, "/data/a", "text").unwrap();
    assert_eq!(fs::read(scratch.join("a")).unwrap(), b"text");
    files!(host, append, "/data/a", " and more").unwrap();
    assert_eq!(*files!(host, read, "/data/a").unwrap(), *b"text and more");
    assert_eq!(*files!(host, read_range, "/data/a", 5, 8).unwrap(), *b"and");
    files!(host, set_len, "/data/a", 4).unwrap();
    assert_eq!(files!(host, kind, "/data/a"), Ok(("file".to_owned(), 4)));
    files!(host, set_modified, "/data/a", 1_000_000_000).unwrap();
    assert_eq!(
        fs::metadata(scratch.join("a")).unwrap().mtime(),
        1_000_000_000
    );
    files!(host, create_dir, "/data/sub").unwrap();
    files!(host, rename, "/data/a", "/data/sub/b").unwrap();
    files!(host, hard_link, "/data/sub/b", "/data/c").unwrap();
    files!(host, symlink, "sub/b", "/data/link").unwrap();
    assert_eq!(files!(host, read_link, "/data/link").unwrap(), "sub/b");
    assert_eq!(*files!(host, read, "/data/link").unwrap(), *b"text");
    assert_eq!(files!(host, kind, "/data/link").unwrap().0, "link");
    assert_eq!(files!(host, len, "/data/link"), Ok(4));
    assert_eq!(
        *files!(host, read, "/data/sub/../sub/./b").unwrap(),
        *b"text"
    );
    assert_eq!(files!(host, list, "/data").unwrap(), ["c", "link", "sub"]);
    // Enough that the kernel gives them in several pieces.
    for n in 0..200 {
        let name = format!("{n:03}-{}", "x".repeat(200));
        fs::write(scratch.join("sub").join(name), "").unwrap();
    }
    assert_eq!(files!(host, list, "/data/sub/").unwrap().len(), 201);
    assert_eq!(files!(host, write_many, "/data/many", 3 << 20), Ok(3 << 20));
    assert_eq!(fs::metadata(scratch.join("many")).unwrap().len(), 3 << 20);
    for name in ["c", "link", "many"] {
        files!(host, remove_file, &*format!("/data/{name}")).unwrap();
    }
    files!(host, create_dir, "/data/empty").unwrap();
    files!(host, remove_dir, "/data/empty").unwrap();
    assert!(files!(host, remove_dir, "/data/sub").is_err());
    assert_eq!(files!(host, list, "/data").unwrap(), ["sub"]);
}

#[tokio::test]
async fn a_guest_works_with_files_where_it_may() {
    for hardening in [Hardening::Default, Hardening::Strict, Hardening::Insecure] {
        for state in [State::Fresh, State::Keep] {
            let scratch = Scratch::new();
            let wasi = Wasi::new().write_dir(scratch.path(), "/data");
            let builder = builder(wasi).hardening(hardening).state(state);
            let host = builder.build().await.unwrap();
            let pid = host.stats().workers[0].pid;
            work_with_files(&host, &scratch).await;
            assert_eq!(host.stats().workers[0].pid, pid);
        }
    }
}

#[test]
fn a_guest_works_with_files_of_an_ordinary_user() {
    alone_as_nobody(|| {
        block_on(async {
            let scratch = Scratch::new();
            let wasi = Wasi::new().write_dir(scratch.path(), "/data");
            // The one that tests share is another user's.
            let host = builder(wasi).no_cache().build().await.unwrap();
            work_with_files(&host, &scratch).await;
            let outside = Outside::new();
            try_to_leave(&outside.host_of(Hardening::Default).await, &outside).await;
        });
    });
}

/// A granted directory beside others that are not, with links from one to the other.
struct Outside {
    scratch: Scratch,
}

const SECRET: &str = "secret";

impl Outside {
    fn new() -> Self {
        let scratch = Scratch::new();
        for dir in ["granted", "granted/sub", "outside", "outside/dir"] {
            fs::create_dir(scratch.join(dir)).unwrap();
        }
        for file in ["outside/secret", "outside/dir/secret"] {
            let _ = scratch.file(file, SECRET);
        }
        let _ = scratch.file("granted/own", "own");
        for (to, at) in [
            ("../outside/secret", "relative"),
            ("../outside", "relative-dir"),
            ("..", "up"),
            ("sub/../../outside/secret", "winding"),
            ("relative", "twice"),
            ("/proc/self/environ", "environ"),
            ("/proc/self/cwd", "cwd"),
            ("own", "inside"),
            ("sub", "inside-dir"),
        ] {
            symlink(to, scratch.join("granted").join(at)).unwrap();
        }
        for (to, at) in [("outside/secret", "absolute"), ("outside", "absolute-dir")] {
            symlink(scratch.join(to), scratch.join("granted").join(at)).unwrap();
        }
        Self { scratch }
    }

    async fn host_of(&self, hardening: Hardening) -> Host {
        let wasi = Wasi::new().write_dir(self.scratch.join("granted"), "/data");
        let builder = builder(wasi).hardening(hardening).no_cache();
        builder.build().await.unwrap()
    }

    /// What lies outside, with times: nothing about it may change.
    fn seen(&self) -> Vec<(String, String, i64)> {
        let mut seen = Vec::new();
        for dir in [".", "outside", "outside/dir"] {
            for entry in fs::read_dir(self.scratch.join(dir)).unwrap() {
                let path = entry.unwrap().path();
                let content = fs::read_to_string(&path).unwrap_or_default();
                let modified = fs::metadata(&path).unwrap().mtime_nsec();
                seen.push((path.display().to_string(), content, modified));
            }
        }
        seen.sort();
        // The granted directory's own changes show above it.
        seen.retain(|(path, ..)| !path.ends_with("granted"));
        seen
    }
}

/// Every way out that there is a call for.
async fn try_to_leave(host: &Host, outside: &Outside) {
    let before = outside.seen();
    let absolute = outside.scratch.join("outside/secret");
    let absolute = absolute.to_str().unwrap();
    // The attempts are spelled as what works.
    assert_eq!(*files!(host, read, "/data/inside").unwrap(), *b"own");
    assert_eq!(files!(host, list, "/data/inside-dir").unwrap(), [""; 0]);

    for path in [
        "/data/../outside/secret",
        "/data/sub/../../outside/secret",
        "/data/./../outside/secret",
        "/data//../outside/secret",
        "../outside/secret",
        "/outside/secret",
        absolute,
        &*format!("/data/{absolute}"),
        "/data/relative",
        "/data/relative/",
        "/data/winding",
        "/data/twice",
        "/data/absolute",
        "/data/absolute/",
        "/data/relative-dir/secret",
        "/data/absolute-dir/secret",
        "/data/up/outside/secret",
        "/data/inside-dir/../../outside/secret",
        "/data/environ",
        "/data/cwd/etc/passwd",
        "/proc/self/environ",
        "/etc/passwd",
        "/data/own/",
        "/data/own/.",
        "/data/inside/",
    ] {
        assert!(files!(host, read, path).is_err(), "{path}");
        assert!(files!(host, len, path).is_err(), "{path}");
        assert!(files!(host, write, path, "lost").is_err(), "{path}");
        assert!(files!(host, append, path, "lost").is_err(), "{path}");
        assert!(files!(host, set_len, path, 0).is_err(), "{path}");
        assert!(files!(host, set_modified, path, 1).is_err(), "{path}");
        // A link can be linked, which leads as little anywhere.
        if files!(host, hard_link, path, "/data/got").is_ok() {
            assert_eq!(files!(host, kind, "/data/got").unwrap().0, "link", "{path}");
            assert!(files!(host, read, "/data/got").is_err(), "{path}");
            files!(host, remove_file, "/data/got").unwrap();
        }
        assert!(files!(host, list, path).is_err(), "{path}");
    }
    for path in [
        "/data/..",
        "/data/../outside",
        "/data/up",
        "/data/relative-dir",
        "/data/relative-dir/",
        "/data/absolute-dir",
        "/data/absolute-dir/",
        "/",
        "/proc",
        "/data/cwd",
    ] {
        assert!(files!(host, list, path).is_err(), "{path}");
        assert!(
            files!(host, create_dir, &*format!("{path}/made")).is_err(),
            "{path}"
        );
        let inside = format!("{path}/secret");
        assert!(files!(host, remove_file, &*inside).is_err(), "{path}");
        assert!(files!(host, kind, &*inside).is_err(), "{path}");
        assert!(files!(host, read_link, &*inside).is_err(), "{path}");
        assert!(
            files!(host, rename, "/data/own", &*inside).is_err(),
            "{path}"
        );
        assert!(
            files!(host, rename, &*inside, "/data/got").is_err(),
            "{path}"
        );
        assert!(
            files!(host, hard_link, "/data/own", &*format!("{path}/made")).is_err(),
            "{path}"
        );
        assert!(
            files!(host, symlink, "x", &*format!("{path}/made")).is_err(),
            "{path}"
        );
        assert!(
            files!(host, remove_dir, &*format!("{path}/dir")).is_err(),
            "{path}"
        );
    }
    // A link that says an absolute path is not even made; a relative one leads nowhere.
    assert!(files!(host, symlink, "/etc/passwd", "/data/made").is_err());
    files!(host, symlink, "../outside/secret", "/data/made").unwrap();
    assert!(files!(host, read, "/data/made").is_err());
    // A link moves as a link; what it leads to stays.
    for name in ["relative", "relative-dir"] {
        let moved = format!("/data/moved-{name}");
        files!(host, rename, &*format!("/data/{name}"), &*moved).unwrap();
        assert!(files!(host, rename, &*format!("{moved}/"), "/data/got").is_err());
        assert!(files!(host, remove_dir, &*moved).is_err());
        files!(host, remove_file, &*moved).unwrap();
    }
    assert!(files!(host, rename, "/data/own/", "/data/got").is_err());
    assert!(files!(host, read, "/data/got").is_err());
    assert_eq!(*files!(host, read, "/data/own").unwrap(), *b"own");
    assert_eq!(outside.seen(), before);
}

/// The calls of files alone, and together with the kernel's wall.
#[tokio::test]
async fn nothing_outside_a_grant_can_be_reached() {
    for hardening in [Hardening::Insecure, Hardening::Default, Hardening::Strict] {
        let outside = Outside::new();
        try_to_leave(&outside.host_of(hardening).await, &outside).await;
    }
}

#[tokio::test]
async fn a_directory_to_read_is_not_written() {
    for hardening in [Hardening::Insecure, Hardening::Default] {
        let scratch = Scratch::new();
        let (read, written) = (scratch.join("read"), scratch.join("written"));
        for dir in [&read, &written, &read.join("dir")] {
            fs::create_dir(dir).unwrap();
        }
        let _ = scratch.file("read/file", "text");
        let _ = scratch.file("written/own", "own");
        let before = fs::metadata(read.join("file")).unwrap();
        let wasi = Wasi::new().read_dir(&read, "/read");
        let wasi = wasi.write_dir(&written, "/written");
        let host = builder(wasi).hardening(hardening).build().await.unwrap();
        assert_eq!(*files!(host, read, "/read/file").unwrap(), *b"text");
        assert_eq!(files!(host, list, "/read").unwrap(), ["dir", "file"]);
        for path in ["/read/file", "/read/new", "/read/dir/new"] {
            assert!(files!(host, write, path, "lost").is_err(), "{path}");
            assert!(files!(host, append, path, "lost").is_err(), "{path}");
            assert!(files!(host, set_len, path, 0).is_err(), "{path}");
            assert!(files!(host, set_modified, path, 1).is_err(), "{path}");
            assert!(files!(host, create_dir, path).is_err(), "{path}");
            assert!(files!(host, symlink, "file", path).is_err(), "{path}");
            assert!(files!(host, rename, "/written/own", path).is_err());
            assert!(files!(host, hard_link, "/written/own", path).is_err());
        }
        assert!(files!(host, remove_file, "/read/file").is_err());
        assert!(files!(host, remove_dir, "/read/dir").is_err());
        assert!(files!(host, rename, "/read/file", "/read/other").is_err());
        // It could be written there.
        assert!(files!(host, rename, "/read/file", "/written/got").is_err());
        assert!(files!(host, hard_link, "/read/file", "/written/got").is_err());
        assert_eq!(files!(host, list, "/read").unwrap(), ["dir", "file"]);
        assert_eq!(files!(host, list, "/written").unwrap(), ["own"]);
        let after = fs::metadata(read.join("file")).unwrap();
        assert_eq!(
            (before.len(), before.modified().unwrap(), before.nlink()),
            (after.len(), after.modified().unwrap(), after.nlink())
        );
    }
}

/// Somebody outside exchanges what lies there, between two calls of one worker.
#[tokio::test]
async fn a_directory_that_became_a_link_leads_nowhere() {
    for hardening in [Hardening::Insecure, Hardening::Default] {
        let outside = Outside::new();
        let host = outside.host_of(hardening).await;
        let granted = outside.scratch.join("granted");
        let _ = outside.scratch.file("granted/sub/secret", "own");
        assert_eq!(*files!(host, read, "/data/sub/secret").unwrap(), *b"own");
        fs::rename(granted.join("sub"), granted.join("was-sub")).unwrap();
        symlink("../outside", granted.join("sub")).unwrap();
        assert!(files!(host, read, "/data/sub/secret").is_err());
        assert!(files!(host, write, "/data/sub/secret", "lost").is_err());
        // The granted directory itself: it is still the one that was opened.
        let elsewhere = outside.scratch.join("elsewhere");
        fs::rename(&granted, &elsewhere).unwrap();
        symlink("outside", &granted).unwrap();
        assert_eq!(
            *files!(host, read, "/data/was-sub/secret").unwrap(),
            *b"own"
        );
        assert!(files!(host, read, "/data/secret").is_err());
        files!(host, write, "/data/new", "new").unwrap();
        assert_eq!(fs::read(elsewhere.join("new")).unwrap(), b"new");
        assert_eq!(
            fs::read_to_string(outside.scratch.join("outside/secret")).unwrap(),
            SECRET
        );
    }
}

#[tokio::test]
async fn several_directories_are_found_under_their_names() {
    let scratch = Scratch::new();
    for dir in ["a", "a/deep", "b"] {
        fs::create_dir(scratch.join(dir)).unwrap();
    }
    let _ = scratch.file("a/file", "a");
    let wasi = Wasi::new()
        .read_dir(scratch.join("a"), "/")
        .write_dir(scratch.join("b"), "/b/c")
        // A part of what may be read may be written.
        .write_dir(scratch.join("a/deep"), "/deep");
    let host = host_in(wasi).await;
    assert_eq!(*files!(host, read, "/file").unwrap(), *b"a");
    assert_eq!(*files!(host, read, "file").unwrap(), *b"a");
    files!(host, write, "/b/c/file", "b").unwrap();
    files!(host, write, "/deep/file", "deep").unwrap();
    assert!(files!(host, write, "/file", "lost").is_err());
    // Between two of them that may be written a file can move.
    files!(host, rename, "/b/c/file", "/deep/moved").unwrap();
    assert_eq!(fs::read(scratch.join("a/deep/moved")).unwrap(), b"b");
    assert_eq!(files!(host, list, "/").unwrap(), ["deep", "file"]);
}

/// At most 256 files are open at once, so what calls left open would soon be in the way.
#[tokio::test]
async fn files_that_a_call_leaves_open_are_closed() {
    let scratch = Scratch::new();
    let _ = scratch.file("file", "text");
    let wasi = || Wasi::new().read_dir(scratch.path(), "/data");
    let builder = builder(wasi()).retire(Retire::never());
    let host = builder.build().await.unwrap();
    let pid = host.stats().workers[0].pid;
    for _ in 0..10_000 {
        assert_eq!(files!(host, leave_open, "/data/file", 3), 3);
    }
    assert_eq!(files!(host, leave_open, "/data/file", 1000), 256);
    assert_eq!(files!(host, leave_open, "/data/file", 1000), 256);
    assert_eq!(files!(host, list, "/data").unwrap(), ["file"]);
    assert_eq!(host.stats().workers[0].pid, pid);

    // Who shares an instance shares what it has open, and an instance that is full goes on without.
    let host = self::builder(wasi())
        .state(State::Keep)
        .build()
        .await
        .unwrap();
    assert_eq!(files!(host, leave_open, "/data/file", 200), 200);
    assert_eq!(files!(host, leave_open, "/data/file", 200), 56);
    assert!(files!(host, read, "/data/file").is_err());
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
}

#[tokio::test]
async fn a_file_is_no_longer_than_it_may_be() {
    for hardening in [Hardening::Default, Hardening::Insecure] {
        let scratch = Scratch::new();
        let limits = Limits {
            file_bytes: 1 << 20,
            ..Limits::default()
        };
        let wasi = Wasi::new().write_dir(scratch.path(), "/data");
        let builder = builder(wasi).limits(limits).hardening(hardening);
        let host = builder.build().await.unwrap();
        let pid = host.stats().workers[0].pid;
        assert_eq!(files!(host, write_many, "/data/a", 1 << 20), Ok(1 << 20));
        assert_eq!(files!(host, append, "/data/a", "x"), Err(FBIG));
        assert_eq!(files!(host, write_many, "/data/b", 2 << 20), Err(FBIG));
        assert_eq!(files!(host, set_len, "/data/a", (1 << 20) + 1), Err(FBIG));
        for name in ["a", "b"] {
            assert!(fs::metadata(scratch.join(name)).unwrap().len() <= 1 << 20);
        }
        // One that is longer already can be read.
        let _ = scratch.file("c", vec![0; 3 << 20]);
        assert_eq!(files!(host, read, "/data/c").unwrap().len(), 3 << 20);
        assert_eq!(host.stats().workers[0].pid, pid);
    }
}

/// A named pipe that nobody writes: opening it takes for ever.
#[tokio::test]
async fn a_guest_that_waits_for_a_file_is_stopped() {
    let scratch = Scratch::new();
    let pipe = scratch.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let wasi = Wasi::new().read_dir(scratch.path(), "/data");
    let host = builder(wasi).interrupt_grace(BOUND).build().await.unwrap();
    let pid = host.stats().workers[0].pid;
    for _ in 0..3 {
        let call = host.call(probe::files::read, ("/data/pipe",));
        let error = call.timeout(Duration::from_millis(50)).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        let call = host.call(probe::files::list_for_ever, ("/data",));
        let error = call.timeout(Duration::from_millis(50)).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        // A sleep is ours, whoever serves the files.
        let call = host.call(probe::wasi::sleep_ms, (600_000,));
        let error = call.timeout(Duration::from_millis(50)).await.unwrap_err();
        assert!(error.is_timeout(), "{error}");
        assert_eq!(files!(host, list, "/data").unwrap(), ["pipe"]);
    }
    assert_eq!(host.stats().workers[0].pid, pid);
}

/// Whoever serves the files, the rest of the world is the same.
#[tokio::test]
async fn with_directories_the_world_is_the_same() {
    let scratch = Scratch::new();
    let at = std::time::UNIX_EPOCH + Duration::from_nanos(1_000_000_007);
    let wasi = Wasi::new()
        .arg("program")
        .env("NAME", "value")
        .clock(Clock::Fixed(at))
        .random_seed(7)
        .stderr(Output::Capture);
    let without = host_in(wasi.clone()).await;
    let with = host_in(wasi.read_dir(scratch.path(), "/data")).await;
    for host in [&with, &without] {
        assert_eq!(
            host.run_sync(probe::wasi::args, ()).await.unwrap(),
            ["program"]
        );
        assert_eq!(
            host.run_sync(probe::wasi::vars, ()).await.unwrap(),
            [("NAME".to_owned(), "value".to_owned())]
        );
        assert_eq!(
            host.run_sync(probe::wasi::now, ()).await.unwrap(),
            1_000_000_007
        );
        // More than is kept, and more than goes at once.
        let taken = host.run_sync(probe::wasi::print_many, (10 << 20,)).await;
        assert_eq!(taken.unwrap(), 10 << 20);
        let error = host
            .run_sync(probe::faults::panic_with, ("what it said".to_owned(),))
            .await
            .unwrap_err();
        let Error::BrokenWorker(broken) = &error else {
            panic!("{error:?}")
        };
        assert!(broken.stderr_tail().contains("what it said"), "{error}");
    }
    let random = async |host: &Host| host.run_sync(probe::wasi::random, (64,)).await.unwrap();
    assert_eq!(random(&with).await, random(&without).await);
}

/// One thread, the filter, and the rest stand while files are used.
#[tokio::test]
async fn the_walls_stand_around_a_worker_with_directories() {
    let scratch = Scratch::new();
    let wasi = Wasi::new().write_dir(scratch.path(), "/data");
    let host = host_in(wasi).await;
    work_with_files(&host, &scratch).await;
    let walls = host.walls();
    for wall in [
        Wall::NoNewPrivileges,
        Wall::SystemCallFilter,
        Wall::NoCapabilities,
        Wall::ResourceLimits,
        Wall::OneThread,
    ] {
        assert_eq!(walls.state(wall), Some(&WallState::Verified), "{wall}");
    }
    let landlock = walls
        .walls
        .iter()
        .find(|found| found.wall == Wall::Landlock);
    let landlock = landlock.unwrap();
    assert!(landlock.required, "nothing else would keep it there");
    assert_eq!(landlock.state, WallState::Claimed);
    let Some(WallState::Missing { reason }) = walls.state(Wall::OwnUser) else {
        panic!("{:?}", walls.state(Wall::OwnUser))
    };
    assert!(reason.contains("owns the directories"), "{reason}");
    let advice = walls.advice(Wall::OwnUser).unwrap();
    let of_root = advice.contains("grant no directories");
    assert!(of_root || !is_root(), "{advice}");
    assert_eq!(walls.advice(Wall::SystemCallFilter), None);
    let pid = host.stats().workers[0].pid;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Threads:\t1\n"), "{status}");
}

/// From now on this process, and all that it starts, finds a kernel without Landlock.
fn lose_landlock() {
    let rules = [(libc::SYS_landlock_create_ruleset, Vec::new())];
    let filter = seccompiler::SeccompFilter::new(
        rules.into(),
        seccompiler::SeccompAction::Allow,
        seccompiler::SeccompAction::Errno(libc::ENOSYS.cast_unsigned()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter_all_threads(&program).unwrap();
}

/// Without directories it stands behind the filter, and its absence is reported.
#[test]
fn directories_are_not_granted_on_a_kernel_without_landlock() {
    alone(|| {
        lose_landlock();
        block_on(async {
            let scratch = Scratch::new();
            let host = host_in(Wasi::new()).await;
            let state = host.walls().state(Wall::Landlock).cloned();
            assert!(
                matches!(state, Some(WallState::Missing { .. })),
                "{state:?}"
            );
            let advice = host.walls().advice(Wall::Landlock).unwrap();
            assert!(advice.contains("a seccomp filter around this"), "{advice}");
            for wasi in [
                Wasi::new().read_dir(scratch.path(), "/data"),
                Wasi::new().write_dir(scratch.path(), "/data"),
            ] {
                let error = builder(wasi.clone()).build().await.unwrap_err();
                let shown = error.to_string();
                assert!(matches!(error, Error::Spawn { .. }), "{shown}");
                assert!(shown.contains("the wall `landlock`"), "{shown}");
                // Who asks for no second wall gets none.
                let insecure = builder(wasi).hardening(Hardening::Insecure);
                let host = insecure.build().await.unwrap();
                assert_eq!(files!(host, list, "/data").unwrap(), [""; 0]);
            }
        });
    });
}

/// The rest is about what only root can do.
fn given_to(path: &Path, user: u32, mode: u32) {
    fs::create_dir(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    chown(path, Some(user), Some(user)).unwrap();
}

#[tokio::test]
async fn what_guests_of_root_make_belongs_to_the_owner_of_the_directory() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let dir = scratch.join("theirs");
    given_to(&dir, 12_345, 0o700);
    let host = host_in(Wasi::new().write_dir(&dir, "/data")).await;
    files!(host, write, "/data/file", "text").unwrap();
    let made = fs::metadata(dir.join("file")).unwrap();
    assert_eq!((made.uid(), made.gid()), (12_345, 12_345));
    let owned = |path: &str, uid: u32| {
        let _ = scratch.file(format!("theirs/{path}"), "text");
        chown(dir.join(path), Some(uid), Some(uid)).unwrap();
        fs::set_permissions(dir.join(path), Permissions::from_mode(0o600)).unwrap();
    };
    // The owner's rights are all there is, not root's.
    owned("roots", 0);
    owned("own", 12_345);
    assert!(files!(host, read, "/data/roots").is_err());
    assert!(files!(host, append, "/data/roots", "lost").is_err());
    // Opened neither for reading nor for writing, which its times can be changed without.
    assert!(files!(host, set_modified, "/data/roots", 1).is_err());
    assert_eq!(*files!(host, read, "/data/own").unwrap(), *b"text");
    assert_eq!(host.run_sync(probe::values::no_args, ()).await.unwrap(), 42);
}

#[tokio::test]
async fn directories_to_read_are_read_by_a_user_who_owns_nothing() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (open, closed) = (scratch.join("open"), scratch.join("closed"));
    given_to(&open, 12_345, 0o755);
    given_to(&closed, 12_345, 0o700);
    let host = host_in(Wasi::new().read_dir(&open, "/data")).await;
    assert_eq!(files!(host, list, "/data").unwrap(), [""; 0]);
    assert_eq!(
        host.walls().state(Wall::OwnUser),
        Some(&WallState::Verified)
    );
    let built = builder(Wasi::new().read_dir(&closed, "/closed")).build();
    let error = built.await.unwrap_err();
    let shown = error.to_string();
    assert!(
        matches!(error, Error::Config { field: "wasi", .. }) && shown.contains("`/closed`"),
        "{shown}"
    );
    assert!(shown.contains("cannot be read by user"), "{shown}");
}

#[tokio::test]
async fn directories_to_write_belong_to_one_user() {
    if !is_root() {
        return;
    }
    let scratch = Scratch::new();
    let (one, other) = (scratch.join("one"), scratch.join("other"));
    given_to(&one, 12_345, 0o700);
    given_to(&other, 54_321, 0o777);
    let wasi = Wasi::new().write_dir(&one, "/one");
    let error = builder(wasi.clone().write_dir(&other, "/other"))
        .build()
        .await
        .unwrap_err();
    let shown = error.to_string();
    assert!(
        matches!(error, Error::Config { field: "wasi", .. }) && shown.contains("54321"),
        "{shown}"
    );
    // To read, it is enough that the owner of the others can.
    let host = host_in(wasi.read_dir(&other, "/other")).await;
    files!(host, write, "/one/file", "text").unwrap();
    assert_eq!(files!(host, list, "/other").unwrap(), [""; 0]);
}

/// A user like any other cannot grant what they may not write themselves.
#[test]
fn a_directory_that_the_server_may_not_write_is_refused() {
    alone_as_nobody(|| {
        block_on(async {
            let wasi = Wasi::new().write_dir("/usr", "/data");
            let error = builder(wasi).no_cache().build().await.unwrap_err();
            let shown = error.to_string();
            assert!(
                matches!(error, Error::Config { field: "wasi", .. })
                    && shown.contains("cannot be written by user"),
                "{shown}"
            );
        });
    });
}

#[test]
fn a_host_with_directories_leaves_nothing_behind() {
    alone(|| {
        let scratch = Scratch::new();
        let before = census();
        block_on(async {
            let host = host_in(Wasi::new().write_dir(scratch.path(), "/data")).await;
            files!(host, write, "/data/a", "text").unwrap();
        });
        eventually(BOUND, || census().counts() == before.counts());
    });
}
