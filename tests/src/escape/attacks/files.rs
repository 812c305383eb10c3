//! Files, those of /proc above all, and what the process was started with.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use super::{Attack, Field, attack};
use crate::escape::call::{address, call};
use crate::escape::outcome::{Attempt, NOTHING_THERE};
use crate::escape::stage::{MARK, SECRET};

pub(super) const ATTACKS: &[Attack] = &[
    attack("read-file", read_file),
    attack("create-file", create_file),
    attack("list-directory", list_directory),
    attack("read-host-environment", read_host_environment),
    attack("read-host-memory", read_host_memory),
    attack("write-host-memory", write_host_memory),
    attack("open-host-descriptor", open_host_descriptor),
    attack("read-sibling-memory", read_sibling_memory),
    attack("read-own-environment", read_own_environment),
    attack("use-inherited-descriptor", use_inherited_descriptor),
    attack("duplicate-descriptor", duplicate_descriptor),
    attack("receive-descriptor", receive_descriptor),
];

fn read_file(_: &Field<'_>) -> Attempt {
    fs::read("/etc/passwd")?;
    Ok(())
}

fn create_file(field: &Field<'_>) -> Attempt {
    let path = field.stage.dir.join("created");
    fs::write(&path, "here I am")?;
    // For the next one to create.
    let _ = fs::remove_file(path);
    Ok(())
}

fn list_directory(_: &Field<'_>) -> Attempt {
    fs::read_dir("/")?;
    Ok(())
}

fn read_host_environment(field: &Field<'_>) -> Attempt {
    let environment = fs::read(field.stage.proc("environ"))?;
    let found = environment
        .windows(SECRET.len())
        .any(|part| part == SECRET.as_bytes());
    found.then_some(()).ok_or(NOTHING_THERE)
}

fn read_host_memory(field: &Field<'_>) -> Attempt {
    read_mark(&field.stage.proc("mem"))
}

fn read_sibling_memory(field: &Field<'_>) -> Attempt {
    read_mark(&format!("/proc/{}/mem", field.sibling))
}

fn read_mark(path: &str) -> Attempt {
    let mut bytes = [0; 8];
    // Where this process has it, those that it was forked from or with have it, too.
    File::open(path)?.read_exact_at(&mut bytes, MARK.as_ptr().addr() as u64)?;
    (u64::from_ne_bytes(bytes) != 0)
        .then_some(())
        .ok_or(NOTHING_THERE)
}

fn write_host_memory(field: &Field<'_>) -> Attempt {
    let memory = OpenOptions::new()
        .write(true)
        .open(field.stage.proc("mem"))?;
    let same = MARK.load(std::sync::atomic::Ordering::Relaxed);
    memory.write_all_at(&same.to_ne_bytes(), MARK.as_ptr().addr() as u64)?;
    Ok(())
}

fn open_host_descriptor(field: &Field<'_>) -> Attempt {
    let path = format!("{}/{}", field.stage.proc("fd"), field.stage.host_fd());
    File::open(path)?;
    Ok(())
}

fn read_own_environment(_: &Field<'_>) -> Attempt {
    std::env::var_os(SECRET).map(drop).ok_or(NOTHING_THERE)
}

fn use_inherited_descriptor(field: &Field<'_>) -> Attempt {
    let mut byte = 0u8;
    let fd = field.stage.inherited as usize;
    call(libc::SYS_pread64, [fd, address(&mut byte), 1, 0]).map(drop)
}

fn duplicate_descriptor(_: &Field<'_>) -> Attempt {
    call(libc::SYS_dup, [0]).map(drop)
}

/// The host's socket has one more message, with a descriptor in it.
fn receive_descriptor(_: &Field<'_>) -> Attempt {
    let stdin = std::io::stdin();
    let (_, fds) = stockade_wire::sys::packet::receive(stdin)?;
    // Where there is no number left for it, the kernel drops it.
    (!fds.is_empty()).then_some(()).ok_or(NOTHING_THERE)
}
