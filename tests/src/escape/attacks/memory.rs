//! Memory: new code above all.
#![expect(unsafe_code, reason = "it runs code that it has written itself")]

use super::{Attack, Field, attack};
use crate::escape::call::{address, call, signed, text};
use crate::escape::outcome::{Attempt, Errno, NOTHING_THERE};

pub(super) const ATTACKS: &[Attack] = &[
    attack("executable-page", executable_page),
    attack("page-made-executable", page_made_executable),
    attack("page-made-executable-by-key", page_made_executable_by_key),
    attack("executable-anonymous-file", executable_anonymous_file),
    attack("executable-slot", |f| {
        executable_file(f.targets.reply as usize)
    }),
    attack("executable-shared-segment", executable_shared_segment),
    attack("every-page-executable", every_page_executable),
    attack("writable-code", writable_code),
    attack("patched-code", patched_code),
    attack("anonymous-file", |_| anonymous_file().map(drop)),
    attack("secret-memory", |_| {
        call(libc::SYS_memfd_secret, [0]).map(drop)
    }),
    attack("shared-segment", |_| shared_segment().map(drop)),
    attack("eight-gigabytes-of-memory", eight_gigabytes_of_memory),
    attack("eight-gigabytes-of-shared-memory", |_| {
        let flags = SHARED | (libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
        map(8 << 30, READ | WRITE, flags, signed(-1)).map(drop)
    }),
    attack("eight-gigabytes-of-stack", |_| {
        let flags = PRIVATE | (libc::MAP_GROWSDOWN | libc::MAP_NORESERVE) as usize;
        map(8 << 30, READ | WRITE, flags, signed(-1)).map(drop)
    }),
    attack("eight-gigabytes-hidden", eight_gigabytes_hidden),
    // Page by page its tables take two gigabytes.
    attack("a-terabyte-to-read", |_| {
        let flags = PRIVATE | libc::MAP_NORESERVE as usize;
        map(1 << 40, READ, flags, signed(-1)).map(drop)
    }),
    attack("locked-memory", locked_memory),
];

const PAGE: usize = 4096;
const READ: usize = libc::PROT_READ as usize;
const WRITE: usize = libc::PROT_WRITE as usize;
const EXECUTE: usize = libc::PROT_EXEC as usize;
const PRIVATE: usize = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
const SHARED: usize = libc::MAP_SHARED as usize;

/// A function that returns [`ANSWER`].
#[cfg(target_arch = "x86_64")]
const CODE: [u8; 6] = [0xb8, 42, 0, 0, 0, 0xc3];
#[cfg(target_arch = "aarch64")]
const CODE: [u8; 8] = [0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6];

const ANSWER: u32 = 42;

fn write_code(at: usize) {
    let to = std::ptr::with_exposed_provenance_mut::<u8>(at);
    // SAFETY: `at` is the beginning of a page of this process's own that it may write to and that holds
    // nothing of Rust's.
    unsafe { std::ptr::copy_nonoverlapping(CODE.as_ptr(), to, CODE.len()) };
}

/// Runs what lies there. The kernel ends whoever may not.
fn run(at: usize) -> Attempt {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: makes what was written visible to the instruction fetch.
    unsafe {
        std::arch::asm!("dc cvau, {at}", "dsb ish", "ic ivau, {at}", "dsb ish", "isb", at = in(reg) at);
    }
    let code = std::ptr::with_exposed_provenance::<u8>(at);
    // SAFETY: `CODE` is there: a function of this type.
    let function = unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> u32>(code) };
    (function() == ANSWER).then_some(()).ok_or(NOTHING_THERE)
}

fn map(bytes: usize, protection: usize, flags: usize, fd: usize) -> Result<usize, Errno> {
    call(libc::SYS_mmap, [0, bytes, protection, flags, fd, 0])
}

fn executable_page(_: &Field<'_>) -> Attempt {
    let page = map(PAGE, READ | WRITE | EXECUTE, PRIVATE, signed(-1))?;
    write_code(page);
    run(page)
}

fn page_made_executable(_: &Field<'_>) -> Attempt {
    let page = map(PAGE, READ | WRITE, PRIVATE, signed(-1))?;
    write_code(page);
    call(libc::SYS_mprotect, [page, PAGE, READ | EXECUTE])?;
    run(page)
}

fn page_made_executable_by_key(_: &Field<'_>) -> Attempt {
    let page = map(PAGE, READ | WRITE, PRIVATE, signed(-1))?;
    write_code(page);
    call(
        libc::SYS_pkey_mprotect,
        [page, PAGE, READ | EXECUTE, signed(-1)],
    )?;
    run(page)
}

fn executable_anonymous_file(_: &Field<'_>) -> Attempt {
    let fd = anonymous_file()?;
    call(libc::SYS_ftruncate, [fd, PAGE])?;
    executable_file(fd)
}

fn executable_file(fd: usize) -> Attempt {
    write_code(map(PAGE, READ | WRITE, SHARED, fd)?);
    run(map(PAGE, READ | EXECUTE, SHARED, fd)?)
}

fn anonymous_file() -> Result<usize, Errno> {
    call(libc::SYS_memfd_create, [text(c"anonymous"), 0])
}

fn shared_segment() -> Result<usize, Errno> {
    let segment = call(libc::SYS_shmget, [libc::IPC_PRIVATE as usize, PAGE, 0o700])?;
    // It goes when the last process that has it attached is gone.
    let at = call(libc::SYS_shmat, [segment, 0, 0]);
    call(libc::SYS_shmctl, [segment, libc::IPC_RMID as usize, 0])?;
    write_code(at?);
    Ok(segment)
}

fn executable_shared_segment(_: &Field<'_>) -> Attempt {
    let segment = shared_segment()?;
    let flags = (libc::SHM_EXEC | libc::SHM_RDONLY) as usize;
    run(call(libc::SYS_shmat, [segment, 0, flags])?)
}

/// On x86-64 a process can ask for that.
fn every_page_executable(_: &Field<'_>) -> Attempt {
    call(libc::SYS_personality, [libc::READ_IMPLIES_EXEC as usize])?;
    let page = map(PAGE, READ | WRITE, PRIVATE, signed(-1))?;
    write_code(page);
    run(page)
}

/// What is patched.
#[inline(never)]
extern "C" fn victim() -> u32 {
    std::hint::black_box(7)
}

fn writable_code(_: &Field<'_>) -> Attempt {
    let at = victim as extern "C" fn() -> u32 as usize;
    let page = at & !(PAGE - 1);
    // Two of them: the function may lie on the border.
    call(libc::SYS_mprotect, [page, 2 * PAGE, READ | WRITE | EXECUTE])?;
    write_code(at);
    run(at)
}

fn patched_code(_: &Field<'_>) -> Attempt {
    use std::os::unix::fs::FileExt;
    let at = victim as extern "C" fn() -> u32 as usize;
    let memory = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/mem")?;
    memory.write_all_at(&CODE, at as u64)?;
    run(at)
}

/// More than a compiler may use, and far more than a worker.
fn eight_gigabytes_of_memory(_: &Field<'_>) -> Attempt {
    let flags = PRIVATE | libc::MAP_NORESERVE as usize;
    map(8 << 30, READ | WRITE, flags, signed(-1)).map(drop)
}

/// Piece by piece: memory that is not writable any more is not counted as such.
fn eight_gigabytes_hidden(_: &Field<'_>) -> Attempt {
    const PIECE: usize = 64 << 20;
    let flags = PRIVATE | libc::MAP_NORESERVE as usize;
    for _ in 0..(8 << 30) / PIECE {
        let at = map(PIECE, READ | WRITE, flags, signed(-1))?;
        write_code(at);
        call(libc::SYS_mprotect, [at, PIECE, READ])?;
    }
    Ok(())
}

fn locked_memory(_: &Field<'_>) -> Attempt {
    let mut page = vec![0u8; PAGE];
    call(libc::SYS_mlock, [address(&mut page[..]), PAGE]).map(drop)
}
