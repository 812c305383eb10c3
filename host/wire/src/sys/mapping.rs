//! Memory that another process may write while we look at it.
#![expect(
    unsafe_code,
    reason = "mmap, and reads and writes that race with another process by design"
)]

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::huge;

/// A shared mapping of a whole file.
///
/// No reference into it ever leaves this type: the other side may write at any moment, and a `&[u8]` over
/// such memory is undefined behaviour. Words are single atomics; bytes are copied, by code the compiler
/// cannot look into.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: the mapping is plain memory that belongs to no thread; every access is an atomic or a copy whose
// result is treated as bytes that anybody may have written.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `fd` for reading and writing.
    ///
    /// The file must be sealed against shrinking, or a touch beyond its end is SIGBUS.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn read_write(fd: impl AsFd, len: usize) -> io::Result<Self> {
        Self::new(fd, len, ProtFlags::READ | ProtFlags::WRITE, true)
    }

    /// Maps the first `len` bytes of `fd` for reading.
    ///
    /// # Errors
    /// When the kernel refuses the mapping.
    pub fn read_only(fd: impl AsFd, len: usize) -> io::Result<Self> {
        Self::new(fd, len, ProtFlags::READ, false)
    }

    fn new(fd: impl AsFd, len: usize, prot: ProtFlags, writable: bool) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice aliases no Rust object.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, prot, MapFlags::SHARED, fd, 0)? };
        let base =
            NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap returned null"))?;
        Ok(Self {
            base,
            len,
            writable,
        })
    }

    /// Its length in bytes.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "the kernel refuses empty mappings"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The address of `bytes` bytes at `offset`.
    ///
    /// # Panics
    /// When they do not lie in the mapping: offsets come from our own constants, never from the other side.
    #[inline]
    fn at(&self, offset: usize, bytes: usize) -> *mut u8 {
        assert!(
            offset.checked_add(bytes).is_some_and(|end| end <= self.len),
            "outside the mapping"
        );
        // SAFETY: the assertion keeps the result inside the mapping.
        unsafe { self.base.as_ptr().add(offset) }
    }

    #[inline]
    fn word64(&self, offset: usize) -> &AtomicU64 {
        let word = self.at(offset, 8).cast::<u64>();
        assert!(word.is_aligned());
        // SAFETY: in the mapping, aligned, and reached by atomic operations only.
        unsafe { AtomicU64::from_ptr(word) }
    }

    #[inline]
    fn word32(&self, offset: usize) -> &AtomicU32 {
        let word = self.at(offset, 4).cast::<u32>();
        assert!(word.is_aligned());
        // SAFETY: in the mapping, aligned, and reached by atomic operations only.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Reads a word and everything that its writer wrote before it.
    ///
    /// A relaxed load and a fence, because only relaxed loads are promised to work on read-only pages.
    #[must_use]
    #[inline]
    pub fn load_u64(&self, offset: usize) -> u64 {
        let value = self.word64(offset).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }

    /// As [`Self::load_u64`], of 32 bits.
    #[must_use]
    #[inline]
    pub fn load_u32(&self, offset: usize) -> u32 {
        let value = self.word32(offset).load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }

    /// Writes a word after everything written before it.
    ///
    /// # Panics
    /// When the mapping is read-only.
    #[inline]
    pub fn store_u64(&self, offset: usize, value: u64) {
        assert!(self.writable);
        self.word64(offset).store(value, Ordering::Release);
    }

    /// As [`Self::store_u64`], of 32 bits.
    ///
    /// # Panics
    /// When the mapping is read-only.
    #[inline]
    pub fn store_u32(&self, offset: usize, value: u32) {
        assert!(self.writable);
        self.word32(offset).store(value, Ordering::Release);
    }

    /// Writes the word at `store` and reads those at `load`, so that of two sides that each do this with the other's
    /// words at least one sees what the other wrote; the other side may have a full fence in between instead.
    ///
    /// # Panics
    /// When the mapping is read-only.
    #[inline]
    pub fn store_then_load<const N: usize>(
        &self,
        (store, value): (usize, u64),
        (other, load): (&Self, [usize; N]),
    ) -> [u64; N] {
        assert!(self.writable);
        let word = self.word64(store);
        if cfg!(target_arch = "x86_64") {
            // One locked instruction, which is a full fence there, and cheaper than one.
            word.swap(value, Ordering::SeqCst);
        } else {
            word.store(value, Ordering::Release);
            fence(Ordering::SeqCst);
        }
        // Relaxed: the other memory may be mapped read-only, where no other load is promised to work.
        let read = load.map(|offset| other.word64(offset).load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        read
    }

    /// Runs `f` with the word at `offset`, for the futex calls that want its address.
    pub(crate) fn with_word32<R>(&self, offset: usize, f: impl FnOnce(&AtomicU32) -> R) -> R {
        f(self.word32(offset))
    }

    /// Copies bytes out, as they are at this moment; the other side may be writing them.
    ///
    /// # Panics
    /// When the range does not lie in the mapping.
    #[inline]
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) {
        let from = self.at(offset, to.len());
        // SAFETY: both ranges are valid for their length and cannot overlap, because `to` is a Rust object
        // and the mapping is not.
        unsafe { copy(to.as_mut_ptr(), from, to.len()) }
    }

    /// As [`Self::copy_out`], of aligned words: a few instructions, where a copy of so many bytes is a loop or a call.
    ///
    /// # Panics
    /// When the words do not lie in the mapping, or are not aligned.
    #[inline]
    pub fn copy_words_out<const BYTES: usize>(&self, offset: usize) -> [u8; BYTES] {
        const { assert!(BYTES.is_multiple_of(8)) };
        let mut bytes = [0; BYTES];
        for (place, to) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let word = self.word64(offset + 8 * place);
            *to = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        bytes
    }

    /// As [`Self::copy_in`], of aligned words, whose first byte is their lowest.
    ///
    /// # Panics
    /// When the words do not lie in the mapping or are not aligned, or the mapping is read-only.
    #[inline]
    pub fn copy_words_in(&self, offset: usize, words: &[u64]) {
        assert!(self.writable);
        for (place, from) in words.iter().enumerate() {
            let word = self.word64(offset + 8 * place);
            word.store(from.to_le(), Ordering::Relaxed);
        }
    }

    /// Appends `len` bytes of the mapping to `to`, as they are at this moment.
    ///
    /// # Panics
    /// When the range does not lie in the mapping.
    pub fn append_to(&self, offset: usize, len: usize, to: &mut Vec<u8>) {
        let from = self.at(offset, len);
        huge::reserve(to, len);
        // SAFETY: `huge::reserve` made room for `len` bytes behind the vector's length; they are written before
        // the length says so.
        unsafe {
            copy(to.as_mut_ptr().add(to.len()), from, len);
            to.set_len(to.len() + len);
        }
    }

    /// Copies bytes in.
    ///
    /// # Panics
    /// When the range does not lie in the mapping, or the mapping is read-only.
    #[inline]
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        assert!(self.writable);
        let to = self.at(offset, from.len());
        // SAFETY: as in `copy_out`, with the roles exchanged.
        unsafe { copy(to, from.as_ptr(), from.len()) }
    }

    /// Gives the memory of the whole pages in this range back to the kernel, for every process that maps the
    /// file; they read as zeros afterwards.
    ///
    /// # Errors
    /// When the kernel refuses.
    ///
    /// # Panics
    /// When the range does not lie in the mapping.
    pub fn release(&self, offset: usize, len: usize) -> io::Result<()> {
        let page = rustix::param::page_size();
        let first = offset.next_multiple_of(page);
        let end = (offset + len) / page * page;
        if first < end {
            let start = self.at(first, end - first);
            // SAFETY: the pages stay mapped and stay plain bytes; nothing refers to their content.
            unsafe { rustix::mm::madvise(start.cast(), end - first, Advice::LinuxRemove)? };
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping made in `new`, and no reference outlives self.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Up to this length a loop of volatile moves is faster than the start-up of `rep movsb`.
const SHORT: usize = 64;

/// Copies bytes that another process may be changing.
///
/// `ptr::copy_nonoverlapping` would be a data race on paper. Short copies are volatile, long ones are
/// assembly: the compiler can assume nothing about what was read.
///
/// # Safety
/// Both pointers must be valid for `len` bytes, and the ranges must not overlap.
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    if len > SHORT {
        // SAFETY: the caller's promise.
        unsafe { copy_long(to, from, len) };
        return;
    }
    let words = len / 8;
    for i in 0..words {
        // SAFETY: word `i` lies inside both ranges; volatile reads and writes of unaligned bytes go through
        // `[u8; 8]`, which has no alignment.
        unsafe {
            let word = from.cast::<[u8; 8]>().add(i).read_volatile();
            to.cast::<[u8; 8]>().add(i).write_volatile(word);
        }
    }
    for i in words * 8..len {
        // SAFETY: byte `i` lies inside both ranges.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
}

/// # Safety
/// As [`copy`].
#[cfg(target_arch = "x86_64")]
unsafe fn copy_long(to: *mut u8, from: *const u8, len: usize) {
    /// Some processors copy at a twentieth of their speed when the destination lies this little further in its page
    /// than the source in its own, as a buffer of `malloc`'s does, 16 bytes behind the start of one.
    const SLOWLY: std::ops::Range<usize> = 1..64;
    if SLOWLY.contains(&(to.addr().wrapping_sub(from.addr()) % 4096)) {
        // SAFETY: the caller's promise.
        return unsafe { copy_by_vectors(to, from, len) };
    }
    // SAFETY: the caller's promise; the direction flag is clear by the ABI.
    unsafe {
        std::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// # Safety
/// As [`copy`], and `len` is at least [`SHORT`].
#[cfg(target_arch = "x86_64")]
unsafe fn copy_by_vectors(to: *mut u8, from: *const u8, len: usize) {
    let rest = len % 64;
    // SAFETY: the caller's promise; there is at least one block of 64 bytes, and the loop ends behind the last.
    unsafe {
        std::arch::asm!(
            "2:",
            "movdqu {a}, [{from}]",
            "movdqu {b}, [{from} + 16]",
            "movdqu {c}, [{from} + 32]",
            "movdqu {d}, [{from} + 48]",
            "movdqu [{to}], {a}",
            "movdqu [{to} + 16], {b}",
            "movdqu [{to} + 32], {c}",
            "movdqu [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "dec {blocks}",
            "jnz 2b",
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            blocks = inout(reg) len / 64 => _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            options(nostack),
        );
        copy(to.add(len - rest), from.add(len - rest), rest);
    }
}

/// # Safety
/// As [`copy`].
#[cfg(target_arch = "aarch64")]
unsafe fn copy_long(to: *mut u8, from: *const u8, len: usize) {
    let pairs = len / 16;
    // SAFETY: the caller's promise; `pairs` is not zero because `len` exceeds `SHORT`.
    unsafe {
        std::arch::asm!(
            "2:",
            "ldp {a}, {b}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "subs {n}, {n}, #1",
            "b.ne 2b",
            a = out(reg) _,
            b = out(reg) _,
            n = inout(reg) pairs => _,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            options(nostack),
        );
    }
    for i in pairs * 16..len {
        // SAFETY: byte `i` lies inside both ranges.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memfd::SizedMemfd;

    #[test]
    fn copies_of_every_length_and_alignment_arrive() {
        let region = SizedMemfd::new("test", 8192).unwrap();
        let map = Mapping::read_write(&region, 8192).unwrap();
        let bytes: Vec<u8> = (0..300u32).map(|i| (i % 251) as u8).collect();
        for start in 0..17 {
            for len in 0..200 {
                map.copy_in(start, &bytes[..len]);
                let mut out = vec![0; len];
                map.copy_out(start, &mut out);
                assert_eq!(out, bytes[..len]);
                let mut appended = vec![7];
                map.append_to(start, len, &mut appended);
                assert_eq!(appended[1..], bytes[..len]);
            }
        }
    }

    #[test]
    fn copies_arrive_wherever_in_their_pages_they_lie() {
        const LEN: usize = 3 * 4096;
        let region = SizedMemfd::new("test", 2 * LEN).unwrap();
        let map = Mapping::read_write(&region, 2 * LEN).unwrap();
        let bytes: Vec<u8> = (0..LEN + 4096).map(|i| (i % 251) as u8).collect();
        for ahead in [0, 1, 15, 16, 31, 32, 63, 64, 4095] {
            for len in [65, 127, 128, 129, 4096, 5000] {
                // The mapping begins with a page.
                let from = (ahead + 4096 - bytes.as_ptr().addr() % 4096) % 4096;
                let at = (2 * ahead) % 4096;
                map.copy_in(at, &bytes[from..from + len]);
                let mut out = vec![0; LEN];
                map.copy_out(at, &mut out[..len]);
                assert_eq!(out[..len], bytes[from..from + len]);
                let to = (at + 4096 + ahead - out.as_ptr().addr() % 4096) % 4096;
                map.copy_out(at, &mut out[to..to + len]);
                assert_eq!(out[to..to + len], bytes[from..from + len]);
            }
        }
    }

    #[test]
    fn released_pages_read_as_zeros() {
        let region = SizedMemfd::new("test", 8192).unwrap();
        let map = Mapping::read_write(&region, 8192).unwrap();
        map.copy_in(4096, &[1; 64]);
        map.release(4096, 4096).unwrap();
        let mut out = [9; 64];
        map.copy_out(4096, &mut out);
        assert_eq!(out, [0; 64]);
    }
}
