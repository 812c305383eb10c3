//! Buffers for large payloads, in huge pages where the kernel grants them.
//!
//! The first touch of a fresh 64 MiB buffer costs ten times the copy into it when the kernel hands it out
//! four kilobytes at a time.
#![expect(unsafe_code, reason = "advice about memory has no safe interface")]

use rustix::mm::Advice;

/// The size of a huge page on x86-64, and on aarch64 with its usual small pages. Elsewhere the advice is
/// given for a little less than it could be.
const HUGE_PAGE: usize = 2 << 20;

/// Makes room for `additional` bytes behind what `buffer` holds.
pub fn reserve(buffer: &mut Vec<u8>, additional: usize) {
    if buffer.capacity() - buffer.len() >= additional {
        return;
    }
    buffer.reserve_exact(additional);
    let spare = buffer.spare_capacity_mut();
    let skipped = spare.as_ptr().align_offset(HUGE_PAGE);
    let bytes = spare.len().saturating_sub(skipped) / HUGE_PAGE * HUGE_PAGE;
    if bytes > 0 {
        let start = spare[skipped..].as_mut_ptr();
        // SAFETY: the range lies in memory that the buffer owns, and this advice changes no byte of it. A
        // kernel that refuses leaves the memory as it was.
        let _ = unsafe { rustix::mm::madvise(start.cast(), bytes, Advice::LinuxHugepage) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_buffer_holds_stays_and_the_room_is_there() {
        for additional in [0, 1, HUGE_PAGE - 1, 5 * HUGE_PAGE] {
            let mut buffer = b"kept".to_vec();
            reserve(&mut buffer, additional);
            assert!(buffer.capacity() >= 4 + additional);
            buffer.resize(4 + additional, 7);
            assert_eq!(&buffer[..4], b"kept");
        }
    }
}
