//! Artifacts on disk: made once, never trusted, and no reason for anything to fail.
//!
//! A host that had to compile is told from one that did not by what it may spend on compiling: with a
//! nanosecond for it, only a host that finds an artifact is built.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::mem::MaybeUninit;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;
use std::{env, thread};

use rustix::fs::inotify;
use stockade::blocking::Host;
use stockade::{Error, HostBuilder, Interrupt, Limits, State, Wasi};
use stockade_tests::census::peak_resident_bytes;
use stockade_tests::{INTERRUPTS, Scratch, alone, guest, host_of, traces};

fn in_cache(dir: &Path) -> HostBuilder {
    host_of(guest::hello()).workers(1).cache_dir(dir)
}

#[track_caller]
fn serves(builder: HostBuilder) {
    let host = Host::from(builder.build_blocking().unwrap());
    assert_eq!(host.run_sync(hello::fib, (10,)).unwrap(), 55);
}

fn without_compiling(builder: HostBuilder) -> Result<Host, Error> {
    let limits = Limits {
        compile_time: Duration::from_nanos(1),
        ..Limits::default()
    };
    builder.limits(limits).build_blocking().map(Host::from)
}

#[track_caller]
fn is_cached(builder: HostBuilder) {
    let host = without_compiling(builder).expect("it is in the cache");
    assert_eq!(host.run_sync(hello::fib, (10,)).unwrap(), 55);
}

#[track_caller]
fn is_not_cached(builder: HostBuilder) {
    let error = without_compiling(builder).expect_err("it is not in the cache");
    assert!(matches!(error, Error::Compile { .. }), "{error:?}");
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    entries
}

fn with_extension(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = entries(dir);
    found.retain(|path| path.extension().is_some_and(|e| e == extension));
    found
}

#[track_caller]
fn artifact(dir: &Path) -> PathBuf {
    let [artifact] = &with_extension(dir, "artifact")[..] else {
        panic!("{:?}", entries(dir))
    };
    artifact.clone()
}

fn program(dir: &Path) -> PathBuf {
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap().as_encoded_bytes();
        name.starts_with(b"program-")
    };
    entries(dir).into_iter().find(is_one).unwrap()
}

/// What changes when a file is written anew.
fn versions(dir: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let version = |path: PathBuf| {
        let found = fs::symlink_metadata(&path).unwrap();
        (path, (found.ino(), found.mtime(), found.mtime_nsec()))
    };
    entries(dir).into_iter().map(version).collect()
}

/// Every file is one that the documentation names.
#[track_caller]
fn holds_only_what_is_documented(dir: &Path) {
    let hex = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    for path in entries(dir) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let known = name
            .strip_suffix(".artifact")
            .is_some_and(|key| hex(key, 64))
            || name
                .strip_prefix("program-")
                .is_some_and(|key| hex(key, 64))
            || name.strip_prefix("lock-").is_some_and(|key| hex(key, 2));
        assert!(known, "{name}");
        assert_eq!(
            fs::metadata(&path).unwrap().mode() & 0o7777,
            0o600,
            "{name}"
        );
    }
}

#[test]
fn a_cache_is_made_for_its_owner_alone() {
    let scratch = Scratch::new();
    let dir = scratch.join("missing/parents/cache");
    serves(in_cache(&dir));
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700);
    artifact(&dir);
    assert_eq!(entries(&dir).len(), 3, "{:?}", entries(&dir));
    holds_only_what_is_documented(&dir);
}

#[test]
fn a_second_host_does_not_compile() {
    let scratch = Scratch::new();
    let dir = scratch.join("cache");
    is_not_cached(in_cache(&dir));
    serves(in_cache(&dir));
    let before = versions(&dir);
    is_cached(in_cache(&dir));
    // Whatever is chosen about workers, the code is the same.
    is_cached(
        in_cache(&dir)
            .state(State::Keep)
            .workers(2)
            .wasi(Wasi::new().arg("a")),
    );
    assert_eq!(versions(&dir), before);
}

#[test]
fn each_module_and_each_way_to_stop_has_an_artifact_of_its_own() {
    let scratch = Scratch::new();
    let dir = scratch.join("cache");
    serves(in_cache(&dir).interrupt(Interrupt::Epoch));
    is_not_cached(in_cache(&dir).interrupt(Interrupt::KillOnly));
    serves(in_cache(&dir).interrupt(Interrupt::KillOnly));
    is_not_cached(in_cache(&dir).interrupt(Interrupt::Signal));
    serves(in_cache(&dir).interrupt(Interrupt::Signal));
    assert_eq!(with_extension(&dir, "artifact").len(), 3);
    let probe = || host_of(guest::probe()).cache_dir(&dir);
    assert!(without_compiling(probe()).is_err());
    probe().build_blocking().unwrap();
    assert!(without_compiling(probe()).is_ok());
    assert_eq!(with_extension(&dir, "artifact").len(), 4);
    for interrupt in INTERRUPTS {
        is_cached(in_cache(&dir).interrupt(interrupt));
    }
    holds_only_what_is_documented(&dir);
}

/// The artifact as somebody else could have made it: whole by its hash, and no code of ours.
fn forged(mut file: Vec<u8>) -> Vec<u8> {
    let code = usize::try_from(u64::from_le_bytes(file[40..48].try_into().unwrap())).unwrap();
    file[88..88 + code].fill(0x90);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file[..56]).update(&file[88..]);
    let hash = hasher.finalize();
    file[56..88].copy_from_slice(hash.as_bytes());
    file
}

#[test]
fn a_damaged_artifact_is_reported_compiled_around_and_replaced() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let damages: [(&str, Damage); 8] = [
        ("flipped in the code", |mut file| {
            let middle = file.len() / 2;
            file[middle] ^= 1;
            file
        }),
        ("flipped at the end", |mut file| {
            *file.last_mut().unwrap() ^= 0x80;
            file
        }),
        ("truncated", |mut file| {
            file.truncate(file.len() / 2);
            file
        }),
        ("a byte short", |mut file| {
            file.pop();
            file
        }),
        ("a byte more", |mut file| {
            file.push(0);
            file
        }),
        ("empty", |_| Vec::new()),
        ("garbage", |file| {
            b"garbage "
                .iter()
                .copied()
                .cycle()
                .take(file.len())
                .collect()
        }),
        ("lengths that overflow", |mut file| {
            file[40..56].fill(0xff);
            file
        }),
    ];
    traces::keep();
    let scratch = Scratch::new();
    let dir = scratch.join("cache");
    serves(in_cache(&dir));
    let path = artifact(&dir);
    let whole = fs::read(&path).unwrap();
    for (number, (what, damage)) in damages.into_iter().enumerate() {
        fs::write(&path, damage(whole.clone())).unwrap();
        is_not_cached(in_cache(&dir));
        serves(in_cache(&dir));
        let reports = traces::with(path.to_str().unwrap());
        assert!(reports.len() > number, "{what}: {reports:?}");
        assert!(
            reports.iter().all(|r| r.message.contains("compiled again")),
            "{what}: {reports:?}"
        );
        assert_eq!(artifact(&dir), path, "{what}");
        is_cached(in_cache(&dir));
        holds_only_what_is_documented(&dir);
    }
}

#[test]
fn a_file_in_the_cache_that_is_too_long_costs_no_memory() {
    const LENGTH: u64 = 1 << 40;
    alone(|| {
        let scratch = Scratch::new();
        let dir = scratch.join("cache");
        serves(in_cache(&dir));
        let files = [artifact(&dir), program(&dir)];
        for path in files {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_len(LENGTH).unwrap();
            let before = peak_resident_bytes();
            serves(in_cache(&dir));
            assert!(peak_resident_bytes() < before + (64 << 20), "{path:?}");
            assert!(fs::metadata(&path).unwrap().len() < LENGTH, "{path:?}");
            is_cached(in_cache(&dir));
        }
    });
}

#[test]
fn an_artifact_that_a_worker_refuses_is_compiled_again() {
    traces::keep();
    let scratch = Scratch::new();
    let dir = scratch.join("cache");
    serves(in_cache(&dir));
    let path = artifact(&dir);
    let whole = fs::read(&path).unwrap();
    let forged = forged(whole.clone());
    assert_ne!(forged, whole);
    fs::write(&path, &forged).unwrap();
    serves(in_cache(&dir));
    assert_ne!(fs::read(artifact(&dir)).unwrap(), forged);
    assert!(!traces::with("a cached artifact was refused").is_empty());
    is_cached(in_cache(&dir));
}

#[test]
fn an_artifact_that_is_no_file_of_ours_is_reported_and_never_followed() {
    traces::keep();
    let scratch = Scratch::new();
    let dir = scratch.join("cache");
    serves(in_cache(&dir));
    let path = artifact(&dir);
    let reports = || traces::with(path.to_str().unwrap()).len();

    // A link to an artifact that is whole.
    let elsewhere = scratch.join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    is_not_cached(in_cache(&dir));
    serves(in_cache(&dir));
    assert!(reports() > 0);
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    is_cached(in_cache(&dir));

    // Somebody else's, which only root can arrange.
    if rustix::process::geteuid().is_root() {
        let before = reports();
        chown(&path, Some(65_534), None).unwrap();
        is_not_cached(in_cache(&dir));
        serves(in_cache(&dir));
        assert!(reports() > before);
        is_cached(in_cache(&dir));
    }

    // A pipe, which would never end.
    let before = reports();
    fs::remove_file(&path).unwrap();
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, 0o600.into(), 0).unwrap();
    is_not_cached(in_cache(&dir));
    serves(in_cache(&dir));
    assert!(reports() > before);
    is_cached(in_cache(&dir));

    // What cannot even be replaced.
    let before = reports();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    serves(in_cache(&dir));
    assert!(reports() > before);
    serves(in_cache(&dir));
}

#[test]
fn what_the_cache_says_of_the_program_is_not_trusted_either() {
    let scratch = Scratch::new();
    let dir = scratch.join("cache");
    serves(in_cache(&dir));
    let is_program = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .as_encoded_bytes()
            .starts_with(b"program-")
    };
    let path = entries(&dir).into_iter().find(is_program).unwrap();
    for content in [&b""[..], b"short", &[0; 64], &[0xff; 10_000]] {
        fs::write(&path, content).unwrap();
        // The program is asked again, and the artifact is still good.
        is_cached(in_cache(&dir));
        assert_eq!(fs::metadata(&path).unwrap().len(), 64);
    }
    holds_only_what_is_documented(&dir);
}

#[test]
fn a_cache_that_cannot_be_used_is_reported_and_compiled_around() {
    traces::keep();
    let scratch = Scratch::new();
    let made = |name: &str, mode: u32| {
        let dir = scratch.join(name);
        DirBuilder::new().create(&dir).unwrap();
        // Whatever the umask says.
        fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
        dir
    };
    let link = scratch.join("link");
    symlink(made("target", 0o700), &link).unwrap();
    let mut unusable = vec![
        (made("world", 0o777), "chmod 700"),
        (made("group", 0o770), "chmod 700"),
        (made("sticky", 0o1777), "chmod 700"),
        (link, "not a directory"),
        (scratch.file("file", "content"), "not a directory"),
        (scratch.file("parent", "content").join("cache"), ""),
        (
            PathBuf::from(format!("/proc/self/no-{}", std::process::id())),
            "",
        ),
    ];
    if rustix::process::geteuid().is_root() {
        let dir = made("foreign", 0o700);
        chown(&dir, Some(65_534), None).unwrap();
        unusable.push((dir, "another user"));
    } else {
        unusable.push((made("read-only", 0o500), ""));
    }
    for (dir, says) in unusable {
        serves(in_cache(&dir));
        is_not_cached(in_cache(&dir));
        let reports = traces::with(dir.to_str().unwrap());
        assert!(!reports.is_empty(), "{}", dir.display());
        for report in reports {
            assert_eq!(report.level, tracing::Level::WARN);
            assert!(
                report.message.contains("the cache is not used"),
                "{report:?}"
            );
            assert!(report.fields.contains(says), "{report:?}");
        }
        if dir.is_dir() {
            assert_eq!(entries(&dir), [] as [PathBuf; 0], "{}", dir.display());
        }
    }
}

/// Counts the artifacts that come into a directory.
struct Arrivals(rustix::fd::OwnedFd);

impl Arrivals {
    fn watch(dir: &Path) -> Self {
        let watch =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
        let events = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CREATE;
        inotify::add_watch(&watch, dir, events).unwrap();
        Self(watch)
    }

    fn artifacts(&self) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut artifacts = 0;
        // Until there are no more.
        while let Ok(event) = events.next() {
            let name = event
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            artifacts += usize::from(name.is_some_and(|name| name.ends_with(".artifact")));
        }
        artifacts
    }
}

fn private_dir(path: &Path) {
    DirBuilder::new().mode(0o700).create(path).unwrap();
}

#[test]
fn hosts_that_start_at_once_compile_once() {
    let scratch = Scratch::new();
    let dir = scratch.join("cache");
    private_dir(&dir);
    let arrivals = Arrivals::watch(&dir);
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                barrier.wait();
                serves(in_cache(&dir));
            });
        }
    });
    assert_eq!(arrivals.artifacts(), 1);
    // Another one would have been seen.
    fs::remove_file(artifact(&dir)).unwrap();
    serves(in_cache(&dir));
    assert_eq!(arrivals.artifacts(), 1);
    holds_only_what_is_documented(&dir);
}

#[test]
fn processes_that_start_at_once_compile_once() {
    const DIR: &str = "STOCKADE_TEST_CACHE";
    let scratch = Scratch::new();
    let dir = scratch.join("cache");
    private_dir(&dir);
    let arrivals = Arrivals::watch(&dir);
    let body = || serves(in_cache(Path::new(&env::var_os(DIR).unwrap())));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| alone::alone_with(|command| command.env(DIR, &dir), body));
        }
    });
    if env::var_os(DIR).is_none() {
        assert_eq!(arrivals.artifacts(), 1);
        is_cached(in_cache(&dir));
        holds_only_what_is_documented(&dir);
    }
}

#[test]
fn without_a_cache_nothing_is_kept() {
    let scratch = Scratch::new();
    let home = scratch.path().to_owned();
    alone::alone_with(
        |command| {
            command
                .env("HOME", &home)
                .env("XDG_CACHE_HOME", home.join("xdg"))
        },
        || serves(host_of(guest::hello()).no_cache()),
    );
    assert_eq!(entries(&home), [] as [PathBuf; 0]);
}

fn default_host() -> HostBuilder {
    stockade::Host::builder(guest::hello())
}

#[test]
fn by_default_artifacts_are_kept_in_the_users_cache_directory() {
    let scratch = Scratch::new();
    let (home, xdg) = (scratch.join("home"), scratch.join("xdg"));
    let output = alone::alone_with(
        |command| command.env("HOME", &home).env("XDG_CACHE_HOME", &xdg),
        || {
            serves(default_host());
            is_cached(default_host());
        },
    );
    if output.is_some() {
        artifact(&xdg.join("stockade"));
        assert_eq!(
            fs::metadata(xdg.join("stockade")).unwrap().mode() & 0o7777,
            0o700
        );
        assert!(!home.exists());
    }
}

#[test]
fn without_xdg_cache_home_it_is_in_the_home_directory() {
    let scratch = Scratch::new();
    let home = scratch.join("home");
    let output = alone::alone_with(
        // A relative path is to be ignored, says the specification.
        |command| command.env("HOME", &home).env("XDG_CACHE_HOME", "relative"),
        || serves(default_host()),
    );
    if output.is_some() {
        artifact(&home.join(".cache/stockade"));
        assert!(!Path::new("relative").exists());
    }
}

#[test]
fn without_either_a_host_is_built_all_the_same() {
    alone::alone_with(
        |command| command.env_remove("HOME").env_remove("XDG_CACHE_HOME"),
        || {
            serves(default_host());
            is_not_cached(default_host());
        },
    );
}
