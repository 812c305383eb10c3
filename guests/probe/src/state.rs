//! State that a later call sees, or must not see.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use stockade_guest::work;

static CALLS: AtomicU64 = AtomicU64::new(0);

/// How many calls of this function the instance has seen, this one included.
#[work]
pub fn count() -> u64 {
    CALLS.fetch_add(1, Relaxed) + 1
}

static CONSTRUCTED: AtomicU32 = AtomicU32::new(0);

#[cfg(target_family = "wasm")]
const _: () = {
    extern "C" fn construct() {
        CONSTRUCTED.fetch_add(1, Relaxed);
    }

    // SAFETY: the section holds addresses of functions that take and return nothing.
    #[unsafe(link_section = ".init_array")]
    #[used]
    static CONSTRUCTOR: extern "C" fn() = construct;
};

/// How often the static constructors have run: once per instance, however many calls it serves.
#[work]
pub fn constructor_runs() -> u32 {
    CONSTRUCTED.load(Relaxed)
}

/// More than a worker is likely to keep resident, so that both ways of resetting memory are seen.
const DIRTY_BYTES_MAX: usize = 4 << 20;

static DIRTY: [AtomicU8; DIRTY_BYTES_MAX] = [const { AtomicU8::new(0) }; DIRTY_BYTES_MAX];

/// Writes a pattern to the last so many bytes of a static array of 4 MiB and leaves it there. The
/// number of bytes written.
#[work]
pub fn dirty(bytes: u64) -> u64 {
    let bytes = usize::try_from(bytes)
        .unwrap_or(usize::MAX)
        .min(DIRTY_BYTES_MAX);
    for byte in DIRTY.iter().rev().take(bytes) {
        byte.store(0xa5, Relaxed);
    }
    bytes as u64
}

/// Whether the static array holds anything but zeros.
#[work]
pub fn read_dirty() -> bool {
    DIRTY.iter().any(|byte| byte.load(Relaxed) != 0)
}

/// Grows memory by so many bytes, writes a pattern to them and never frees them. The size of memory
/// after that.
#[work]
pub fn leak(bytes: u64) -> u64 {
    let bytes = usize::try_from(bytes).expect("no more bytes than memory has addresses");
    std::hint::black_box(vec![0xa5u8; bytes].leak());
    memory_bytes()
}

/// The size of the instance's memory.
#[work]
pub fn memory_bytes() -> u64 {
    #[cfg(target_arch = "wasm32")]
    return core::arch::wasm32::memory_size::<0>() as u64 * 65_536;
    #[cfg(not(target_arch = "wasm32"))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_lasts_from_call_to_call() {
        assert_eq!([count(), count()], [1, 2]);
        assert!(!read_dirty());
        assert_eq!(dirty(10), 10);
        assert!(read_dirty());
        assert_eq!(dirty(u64::MAX), DIRTY_BYTES_MAX as u64);
        assert_eq!(constructor_runs(), 0);
    }
}
