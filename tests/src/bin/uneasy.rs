//! A worker program whose allocator makes a system call that sealed processes may not make, as some do to learn
//! which CPU they run on: for large blocks, or, when the program's name ends in `early`, for those that every
//! worker needs.
#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its nature, and so is a raw system call"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Larger than what a probe asks for.
const LARGE_BYTES: usize = 32 << 20;
/// As every worker asks for.
const SMALL_BYTES: usize = 1 << 20;

/// The least size that makes it uneasy; zero before it knows its name.
static FROM_BYTES: AtomicUsize = AtomicUsize::new(0);

struct Uneasy;

#[global_allocator]
static ALLOCATOR: Uneasy = Uneasy;

fn from_bytes() -> usize {
    match FROM_BYTES.load(Ordering::Relaxed) {
        0 => {
            let mut name = [0u8; 4096];
            // SAFETY: the kernel writes no more than it is given room for.
            let len = unsafe {
                libc::readlink(
                    c"/proc/self/exe".as_ptr(),
                    name.as_mut_ptr().cast(),
                    name.len(),
                )
            };
            let name = &name[..usize::try_from(len).unwrap_or(0)];
            let from = if name.ends_with(b"early") {
                SMALL_BYTES
            } else {
                LARGE_BYTES
            };
            FROM_BYTES.store(from, Ordering::Relaxed);
            from
        }
        known => known,
    }
}

// SAFETY: every block is the system allocator's.
unsafe impl GlobalAlloc for Uneasy {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() >= from_bytes() {
            // SAFETY: it is given no room for an answer, and writes none.
            unsafe { libc::syscall(libc::SYS_times, 0) };
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

fn main() -> ExitCode {
    stockade_worker::entry::main()
}
