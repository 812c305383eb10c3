//! What Landlock alone keeps a process from, in a child under it and under nothing else: each attempt is made
//! by plain paths, as an escaped guest would, and each works without it.
#![expect(unsafe_code, reason = "a child process that becomes another user")]

use std::fs::{self, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use stockade_wire::message::Grant;

use super::*;
use crate::wasi::Files;

const NOBODY: u32 = 65_534;

/// A directory to read, one to write, and one that is neither, of a user's.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, owner: Option<u32>) -> Self {
        let name = format!("stockade-landlock-{name}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        let _ = fs::remove_dir_all(&place.0);
        for dir in ["", "read", "written", "written/sub", "outside"] {
            fs::create_dir(place.0.join(dir)).unwrap();
        }
        for file in ["read/file", "written/file", "outside/secret"] {
            fs::write(place.0.join(file), "text").unwrap();
        }
        symlink("../outside/secret", place.0.join("written/relative")).unwrap();
        symlink(place.0.join("outside"), place.0.join("written/absolute")).unwrap();
        if let Some(owner) = owner {
            for path in [
                "",
                "read",
                "written",
                "written/sub",
                "outside",
                "read/file",
                "written/file",
                "outside/secret",
            ] {
                chown(place.0.join(path), Some(owner), Some(owner)).unwrap();
            }
        }
        place
    }

    fn files(&self) -> Files {
        let grant = |write| Grant {
            guest_path: "/".to_owned(),
            write,
        };
        let open = |name: &str| OwnedFd::from(fs::File::open(self.0.join(name)).unwrap());
        Files::new(
            &[grant(false), grant(true)],
            vec![open("read"), open("written")],
        )
        .unwrap()
        .unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Attempt = (&'static str, fn(&Path) -> std::io::Result<()>);

fn write(path: PathBuf) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(path).map(drop)
}

const OUT: &[Attempt] = &[
    ("read outside", |p| {
        fs::read(p.join("outside/secret")).map(drop)
    }),
    ("read by ..", |p| {
        fs::read(p.join("written/../outside/secret")).map(drop)
    }),
    ("read by a relative link", |p| {
        fs::read(p.join("written/relative")).map(drop)
    }),
    ("read by an absolute link", |p| {
        fs::read(p.join("written/absolute/secret")).map(drop)
    }),
    ("write outside", |p| write(p.join("outside/secret"))),
    ("write by a link", |p| write(p.join("written/relative"))),
    ("cut outside", |p| {
        let how = OpenOptions::new().write(true).truncate(true).clone();
        how.open(p.join("outside/secret")).map(drop)
    }),
    ("make a file outside", |p| {
        fs::File::create(p.join("outside/new")).map(drop)
    }),
    ("make a directory outside", |p| {
        fs::create_dir(p.join("outside/dir"))
    }),
    ("make a link outside", |p| {
        symlink("x", p.join("outside/link"))
    }),
    ("list outside", |p| {
        fs::read_dir(p.join("outside")).map(drop)
    }),
    ("list by ..", |p| {
        fs::read_dir(p.join("written/..")).map(drop)
    }),
    ("rename to outside", |p| {
        fs::rename(p.join("written/file"), p.join("outside/got"))
    }),
    ("rename from outside", |p| {
        fs::rename(p.join("outside/secret"), p.join("written/got"))
    }),
    ("link to outside", |p| {
        fs::hard_link(p.join("written/file"), p.join("outside/got"))
    }),
    ("link from outside", |p| {
        fs::hard_link(p.join("outside/secret"), p.join("written/got"))
    }),
    ("remove outside", |p| {
        fs::remove_file(p.join("outside/secret"))
    }),
    ("list /proc", |_| fs::read_dir("/proc").map(drop)),
    ("read /proc", |_| fs::read("/proc/self/status").map(drop)),
    ("write what is to be read", |p| write(p.join("read/file"))),
    ("cut what is to be read", |p| {
        let how = OpenOptions::new().write(true).truncate(true).clone();
        how.open(p.join("read/file")).map(drop)
    }),
    ("make a file in what is to be read", |p| {
        fs::File::create(p.join("read/new")).map(drop)
    }),
    ("rename within what is to be read", |p| {
        fs::rename(p.join("read/file"), p.join("read/other"))
    }),
    ("rename out of what is to be read", |p| {
        fs::rename(p.join("read/file"), p.join("written/got"))
    }),
    ("link out of what is to be read", |p| {
        fs::hard_link(p.join("read/file"), p.join("written/got"))
    }),
    ("remove what is to be read", |p| {
        fs::remove_file(p.join("read/file"))
    }),
    ("make a named pipe", |p| {
        Ok(rustix::fs::mknodat(
            rustix::fs::CWD,
            p.join("written/pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )?)
    }),
];

const WITHIN: &[Attempt] = &[
    ("read", |p| fs::read(p.join("read/file")).map(drop)),
    ("list", |p| fs::read_dir(p.join("read")).map(drop)),
    ("write", |p| fs::write(p.join("written/file"), "new")),
    ("make a directory", |p| {
        fs::create_dir(p.join("written/dir"))
    }),
    ("make a link", |p| symlink("file", p.join("written/link"))),
    ("rename", |p| {
        fs::rename(p.join("written/file"), p.join("written/sub/file"))
    }),
    ("link", |p| {
        fs::hard_link(p.join("written/sub/file"), p.join("written/again"))
    }),
    ("remove", |p| fs::remove_file(p.join("written/again"))),
    ("remove a directory", |p| {
        fs::remove_dir(p.join("written/dir"))
    }),
];

/// The first attempt of a list that did not end as it should, in a child that is `user` and under Landlock, if
/// it is asked for.
fn first_surprise(
    attempts: &[Attempt],
    user: Option<u32>,
    place: &Place,
    landlocked: bool,
    should_work: bool,
) -> Option<&'static str> {
    let files = place.files();
    // SAFETY: the child makes system calls and ends by `_exit`; the C library's `fork` leaves the allocator
    // usable, although the harness has other threads.
    let child = unsafe { libc::fork() };
    if child == 0 {
        if let Some(user) = user {
            // SAFETY: changes who this child is, and nothing else.
            unsafe { libc::setgid(user) };
            // SAFETY: as above.
            unsafe { libc::setuid(user) };
        }
        let no_new = rustix::thread::set_no_new_privs(true).is_ok();
        let restricted = !landlocked || restrict(Landlock::Required, files.directories()).is_ok();
        let code = match no_new && restricted {
            false => 255,
            true => attempts
                .iter()
                .position(|(_, attempt)| attempt(&place.0).is_ok() != should_work)
                .map_or(0, |index| index as i32 + 1),
        };
        // SAFETY: `_exit` is always sound.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call, and the child is ours alone.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "{status}");
    match libc::WEXITSTATUS(status) {
        0 => None,
        255 => Some("Landlock could not be put up"),
        found => Some(attempts[found as usize - 1].0),
    }
}

/// Root, which is stopped by nothing else, and a user like any other who owns all of it.
fn users() -> Vec<Option<u32>> {
    match rustix::process::geteuid().is_root() {
        true => vec![None, Some(NOBODY)],
        false => vec![None],
    }
}

#[test]
fn landlock_alone_keeps_a_process_in_what_was_granted() {
    for user in users() {
        let place = Place::new("out", user);
        assert_eq!(first_surprise(OUT, user, &place, true, false), None);
        assert_eq!(fs::read(place.0.join("outside/secret")).unwrap(), b"text");
    }
}

#[test]
fn what_was_granted_can_be_used() {
    for user in users() {
        let place = Place::new("within", user);
        assert_eq!(first_surprise(WITHIN, user, &place, true, true), None);
    }
}

/// Otherwise the attempts prove nothing. Each in a place of its own: they get in each other's way.
#[test]
fn without_landlock_every_attempt_works() {
    for user in users() {
        for attempt in OUT {
            let place = Place::new("control", user);
            let surprise = first_surprise(&[*attempt], user, &place, false, true);
            assert_eq!(surprise, None, "user {user:?}");
        }
    }
}
