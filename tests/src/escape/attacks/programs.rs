//! New processes, threads and programs.

use std::ffi::CStr;

use super::{Attack, Field, attack};
use crate::escape::call::{address, c_string, call, signed, text};
use crate::escape::outcome::{Attempt, Errno, NOTHING_THERE};

pub(super) const ATTACKS: &[Attack] = &[
    attack("fork", fork),
    attack("clone3", clone3),
    attack("start-thread", start_thread),
    attack("execute-program", execute_program),
    attack("execute-program-from-memory", execute_program_from_memory),
    attack("gain-root-by-program", gain_root_by_program),
];

/// What only a process can try that may fork.
pub(super) const OF_FORK_SERVERS: &[Attack] = &[attack("hundred-processes", hundred_processes)];

/// At once: each is over, and counts until it is waited for.
fn hundred_processes(_: &Field<'_>) -> Attempt {
    let mut count = 0;
    let made = (0..100).try_for_each(|_| {
        end_if_child(call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0]))?;
        count += 1;
        Ok(())
    });
    // Not for all children: the first process of the pid namespace stays.
    for _ in 0..count {
        let _ = call(libc::SYS_wait4, [signed(-1), 0, 0, 0]);
    }
    made
}

fn fork(_: &Field<'_>) -> Attempt {
    end_if_child(call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0]))
}

fn clone3(_: &Field<'_>) -> Attempt {
    // `struct clone_args`, of which only the signal at the child's end is set.
    let mut arguments = [0u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    let bytes = size_of_val(&arguments);
    end_if_child(call(libc::SYS_clone3, [address(&mut arguments), bytes]))
}

/// What the child does is over at once.
fn end_if_child(pid: Result<usize, Errno>) -> Attempt {
    if pid? == 0 {
        let _ = call(libc::SYS_exit_group, [0]);
    }
    Ok(())
}

fn start_thread(_: &Field<'_>) -> Attempt {
    std::thread::Builder::new()
        .spawn(|| ())?
        .join()
        .map_err(|_| NOTHING_THERE)
}

/// Does not return when it succeeds: the program's exit code says whether it ran.
fn execute(path: &CStr, arguments: &[&CStr]) -> Attempt {
    let pointers = std::iter::once(path).chain(arguments.iter().copied());
    let mut pointers: Vec<usize> = pointers.map(text).chain([0]).collect();
    let mut no_environment = [0usize];
    let pointers = address(&mut pointers[..]);
    call(
        libc::SYS_execve,
        [text(path), pointers, address(&mut no_environment)],
    )
    .map(drop)
}

fn execute_program(field: &Field<'_>) -> Attempt {
    execute(&field.stage.program, &[c"executed"])
}

fn execute_program_from_memory(_: &Field<'_>) -> Attempt {
    const EXECUTABLE: usize = 0x10;
    let fd = call(libc::SYS_memfd_create, [text(c"program"), EXECUTABLE])
        // Kernels before 6.3 do not know the flag, and need none.
        .or_else(|_| call(libc::SYS_memfd_create, [text(c"program"), 0]))?;
    let path = format!("/proc/self/fd/{fd}");
    std::fs::write(&path, "#!/bin/sh\nexit 0\n")?;
    execute(&c_string(&path), &[])
}

/// A program that belongs to root and gives that user's rights to whoever starts it.
fn gain_root_by_program(field: &Field<'_>) -> Attempt {
    let path = |name| c_string(field.stage.dir.join(name).to_str().unwrap_or_default());
    // Its exit code says whether it could read what only root may read.
    execute(&path("setuid-test"), &[c"-r", &path("root-only")])
}
