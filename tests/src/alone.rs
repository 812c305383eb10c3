//! A test's body in a process of its own.

use std::any::type_name;
use std::env;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// Names the test whose body this process runs.
const VARIABLE: &str = "STOCKADE_TEST_ALONE";

/// Runs `body`, a closure in a test function, in a process of its own: the same test program, asked for
/// this test alone. What a test observes of a whole process is then its own doing.
///
/// # Panics
/// When the body does, or does not run.
#[track_caller]
pub fn alone<F: FnOnce()>(body: F) {
    alone_with(|command| command, body);
}

/// The same, with `prepare` to set the process's environment. In the process that was asked for it gives
/// what the other one wrote.
///
/// # Panics
/// When the body does, or does not run.
#[track_caller]
pub fn alone_with<F: FnOnce()>(
    prepare: impl FnOnce(&mut Command) -> &mut Command,
    body: F,
) -> Option<Output> {
    // By this name also a user can run it who cannot go where it lies.
    run_alone(Command::new("/proc/self/exe"), prepare, body)
}

#[track_caller]
fn run_alone<F: FnOnce()>(
    mut command: Command,
    prepare: impl FnOnce(&mut Command) -> &mut Command,
    body: F,
) -> Option<Output> {
    let test = name_of::<F>();
    if env::var_os(VARIABLE).is_some_and(|asked| asked == OsStr::new(test)) {
        body();
        return None;
    }
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(VARIABLE, test);
    prepare(&mut command);
    let output = command.output().expect("the test program starts");
    let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(
        output.status.success() && ran,
        "{test}, alone:\n{}",
        shown(&output)
    );
    Some(output)
}

/// The same, as a user like any other. Who is one already runs it as themselves.
///
/// # Panics
/// When the body does, or does not run.
#[track_caller]
pub fn alone_as_nobody<F: FnOnce()>(body: F) {
    const NOBODY: u32 = 65_534;
    alone_with(
        |command| match is_root() {
            true => command.uid(NOBODY).gid(NOBODY),
            false => command,
        },
        body,
    );
}

/// The same, as root of a user namespace in which nobody can make a namespace of these kinds, by their names in
/// `/proc/PID/ns`.
///
/// # Panics
/// When the body does, or does not run.
#[track_caller]
pub fn alone_without_namespaces<F: FnOnce()>(kinds: &[&str], body: F) {
    const SCRIPT: &str = r#"
        for kind in $KINDS; do echo 0 > /proc/sys/user/max_${kind}_namespaces || exit; done
        exec "$@"
    "#;
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--user", "--map-root-user", "sh", "-c", SCRIPT, "sh"])
        .arg(env::current_exe().expect("this program has a path"))
        .env("KINDS", kinds.join(" "));
    run_alone(unshare, |command| command, body);
}

/// Whether this process is root.
///
/// # Panics
/// When /proc cannot be read.
#[must_use]
pub fn is_root() -> bool {
    let own = std::fs::metadata("/proc/self").expect("/proc is mounted");
    own.uid() == 0
}

fn shown(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// The path of the test in which the closure `F` is written, as the test program knows it.
fn name_of<F>() -> &'static str {
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    let (_program, test) = path
        .split_once("::")
        .expect("a closure's path begins with its crate");
    test
}
