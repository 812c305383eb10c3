//! What a guest sees of the world through WASI.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use stockade_guest::{Bytes, work};

/// Sleeps.
#[work]
pub fn sleep_ms(ms: u64) {
    thread::sleep(Duration::from_millis(ms));
}

/// Writes a line to standard output.
#[work]
pub fn print_out(text: &str) {
    println!("{text}");
}

/// Writes a line to standard error.
#[work]
pub fn print_err(text: &str) {
    eprintln!("{text}");
}

/// Writes so many bytes to standard output, in lines. The number of bytes that were taken.
#[work]
pub fn print_many(bytes: u64) -> u64 {
    const LINE: &[u8; 64] = b"012345678901234567890123456789012345678901234567890123456789012\n";
    let mut out = std::io::stdout().lock();
    let mut taken = 0;
    while taken < bytes {
        let line = LINE
            .len()
            .min(usize::try_from(bytes - taken).unwrap_or(usize::MAX));
        if out.write_all(&LINE[..line]).is_err() {
            break;
        }
        taken += line as u64;
    }
    taken
}

/// Nanoseconds since 1970 on the system's clock.
#[work]
pub fn now() -> u64 {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds that two readings of the monotonic clock are apart, with a sleep of `ms` between
/// them.
#[work]
pub fn elapsed_over_sleep(ms: u64) -> u64 {
    let start = Instant::now();
    thread::sleep(Duration::from_millis(ms));
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// So many random bytes, drawn from the seed that the standard library gets from WASI.
#[work]
pub fn random(count: u32) -> Bytes {
    let words = std::iter::repeat_with(|| RandomState::new().build_hasher().finish());
    words
        .flat_map(u64::to_le_bytes)
        .take(count as usize)
        .collect()
}

/// The arguments of the program.
#[work]
pub fn args() -> Vec<String> {
    std::env::args().collect()
}

/// One variable of the environment.
#[work]
pub fn env(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// All of the environment.
#[work]
pub fn vars() -> Vec<(String, String)> {
    std::env::vars().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_is_seen() {
        print_out("out");
        print_err("err");
        assert_eq!(print_many(100), 100);
        assert!(now() > 0);
        assert!(elapsed_over_sleep(1) >= 1_000_000);
        assert_eq!(random(20).len(), 20);
        assert_ne!(random(20), random(20));
        assert!(!args().is_empty());
        assert!(env("PATH").is_some());
        assert_eq!(env("NO_SUCH_VARIABLE"), None);
        assert!(!vars().is_empty());
    }
}
