//! The kernel's map of this process's pages, by which is seen what an instance wrote.
#![expect(
    unsafe_code,
    reason = "an ioctl and a system call that no crate of ours knows"
)]

use std::ffi::c_ulong;
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use wasmtime::PoolingAllocationConfig;

/// `_IOWR('f', 16, struct pm_scan_arg)`.
pub(crate) const SCAN: u32 = rustix::ioctl::opcode::read_write::<Scan>(b'f', 16);

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    max_pages: u64,
    inverted: u64,
    all_of: u64,
    any_of: u64,
    reported: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// What the kernel says of a page.
const FILE: u64 = 1 << 2;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO: u64 = 1 << 5;

impl Region {
    pub(crate) fn addresses(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Has Wasmtime open the map, which a process that has begun to seal itself could not, and says which descriptor that is.
/// Wasmtime keeps it for the whole process. `None` where the kernel has none, or does not let us.
pub(crate) fn open() -> Option<RawFd> {
    PoolingAllocationConfig::is_pagemap_scan_available()
        .then(find)
        .flatten()
}

/// How often this thread has met a page that was not there for what it did, or not its own. A worker has no other thread,
/// and the kernel sums up over one in half the time.
pub(crate) fn faults() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the kernel writes to it and no further, and numbers that it does not write are zeros.
    let usage = unsafe {
        match libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) {
            0 => usage.assume_init(),
            _ => std::process::abort(),
        }
    };
    (usage.ru_minflt + usage.ru_majflt).cast_unsigned()
}

fn find() -> Option<RawFd> {
    // In a pid namespace /proc may know this process by another number.
    let own = Path::new("/proc").join(fs::read_link("/proc/self").ok()?);
    let own = own.join("pagemap");
    let directory = File::open("/proc/self/fd").ok()?;
    let is_it = |number: &RawFd| {
        let target = rustix::fs::readlinkat(&directory, number.to_string(), Vec::new());
        target.is_ok_and(|target| target.as_bytes() == own.as_os_str().as_encoded_bytes())
    };
    // A new descriptor has the first free number: the one that was opened last is just below, as a rule.
    let mut below = (0..directory.as_raw_fd()).rev();
    below.find(is_it).or_else(|| {
        let all = fs::read_dir("/proc/self/fd").ok()?.flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .find(is_it)
    })
}

/// Finds pages that are this process's own, because it has written to them: wherever they are, in memory, in swap, or on
/// their way from one place to another. Returns how many `regions` there are, and up to where it has looked.
///
/// Linux, `Documentation/admin-guide/mm/pagemap.rst`.
pub(crate) fn scan(
    page_map: RawFd,
    addresses: Range<usize>,
    regions: &mut [Region],
) -> io::Result<(usize, usize)> {
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        start: addresses.start as u64,
        end: addresses.end as u64,
        regions: regions.as_mut_ptr() as u64,
        regions_len: regions.len() as u64,
        inverted: FILE | ZERO,
        all_of: FILE | ZERO,
        any_of: PRESENT | SWAPPED,
        ..Scan::default()
    };
    // SAFETY: the kernel reads and writes `scan`, which has the size that it says, and writes no more regions than the
    // slice that it names has room for, which is borrowed for as long.
    let found = unsafe { libc::ioctl(page_map, c_ulong::from(SCAN) as _, &raw mut scan) };
    match usize::try_from(found) {
        Ok(found) => Ok((found.min(regions.len()), scan.walk_end as usize)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_written_to_first_is_a_fault() {
        // So much that no allocator has it from before.
        let mut pages = vec![0u8; 64 << 20];
        let before = faults();
        pages[..1 << 20].fill(1);
        assert!(faults() > before);
        std::hint::black_box(pages);
    }

    #[test]
    fn the_scan_request_is_the_kernels() {
        assert_eq!(SCAN, 0xc060_6610);
        assert_eq!((size_of::<Scan>(), size_of::<Region>()), (96, 24));
    }
}
