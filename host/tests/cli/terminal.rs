//! Colour and progress: on a terminal, and nowhere else.
#![expect(unsafe_code, reason = "the standard library has no pseudo-terminals")]

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::{GUEST, program, stockade};

/// Both ends of a terminal: ours, and the program's.
fn terminal() -> (File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both numbers are written to, and what is null is not read.
    let opened = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            null,
            null.cast(),
            null.cast(),
        )
    };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call above opened it, and nobody else knows of it.
    let ours = unsafe { OwnedFd::from_raw_fd(ours) };
    // SAFETY: the same.
    (File::from(ours), unsafe { OwnedFd::from_raw_fd(theirs) })
}

/// What the program shows on a terminal.
fn shows(words: &[&str], variables: &[(&str, &str)]) -> String {
    let (mut ours, theirs) = terminal();
    let mut child = program()
        .args(words)
        .env("TERM", "xterm")
        .envs(variables.iter().copied())
        .stdout(theirs.try_clone().unwrap())
        .stderr(theirs)
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    let mut chunk = [0; 4096];
    // A terminal whose other end is closed reads as an error.
    while let Ok(read @ 1..) = ours.read(&mut chunk) {
        shown.extend_from_slice(&chunk[..read]);
    }
    child.wait().unwrap();
    String::from_utf8(shown).unwrap()
}

#[test]
fn colour_is_for_terminals() {
    let inspect = ["inspect", GUEST];
    let unknown = ["call", GUEST, "no_such"];
    for words in [&inspect[..], &unknown] {
        assert!(shows(words, &[]).contains("\x1b["), "{words:?}");
        assert!(
            !shows(words, &[("NO_COLOR", "1")]).contains("\x1b["),
            "{words:?}"
        );
        let piped = stockade(words);
        assert!(!piped.stdout.contains(&0x1b) && !piped.stderr.contains(&0x1b));
    }
    // What the module says stays what it is.
    let shown = shows(&inspect, &[]);
    assert!(shown.contains("arguments back\\u{1b}[31m"), "{shown:?}");
}

#[test]
fn what_takes_long_shows_progress_on_a_terminal() {
    let bench = ["bench", GUEST, "add", "1", "2", "--duration", "1s"];
    let shown = shows(&bench, &[]);
    assert!(shown.contains("calling add"), "{shown:?}");
    let piped = stockade(&bench);
    assert_eq!(String::from_utf8(piped.stderr).unwrap(), "");
}
