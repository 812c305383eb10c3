//! A guest with `#[init]` and `#[retire]`: what it prepares once, and what it answers when it is asked
//! whether its worker is worn out.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use stockade_guest::{init, retire, work};

static RUNS: AtomicU32 = AtomicU32::new(0);
static PREPARED: OnceLock<Prepared> = OnceLock::new();

struct Prepared {
    primes: Vec<u32>,
    /// By their digits, on the heap like the rest.
    names: BTreeMap<String, usize>,
    environment: usize,
}

#[init]
fn prepare() {
    RUNS.fetch_add(1, Relaxed);
    println!("preparing");
    eprintln!("preparing, at length: {}", "x".repeat(100_000));
    let is_prime = |n: &u32| {
        (2..)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
    };
    let primes: Vec<u32> = (2..100_000).filter(is_prime).collect();
    let names = primes.iter().enumerate();
    let names = names.map(|(at, prime)| (prime.to_string(), at)).collect();
    PREPARED.get_or_init(|| Prepared {
        primes,
        names,
        environment: std::env::args().count() + std::env::vars().count(),
    });
}

/// How often the initialisation has run in the life of this instance, or before it.
#[work]
pub fn init_runs() -> u32 {
    RUNS.load(Relaxed)
}

/// The `n`-th prime, as it was prepared.
#[work]
pub fn prime(n: usize) -> Option<u32> {
    PREPARED.get()?.primes.get(n).copied()
}

/// Which prime this is, as it was prepared.
#[work]
pub fn place(name: &str) -> Option<usize> {
    PREPARED.get()?.names.get(name).copied()
}

/// How many arguments and environment variables the initialisation saw.
#[work]
pub fn seen_by_init() -> Option<usize> {
    Some(PREPARED.get()?.environment)
}

static CALLS: AtomicU64 = AtomicU64::new(0);

/// How many calls of this function the instance has seen, this one included.
#[work]
pub fn count() -> u64 {
    CALLS.fetch_add(1, Relaxed) + 1
}

static MOOD: AtomicU32 = AtomicU32::new(0);

/// Decides what the guest does from now on when it is asked whether its worker is worn out: 0 no, 1 yes,
/// 2 panic, 3 never answer, 4 sleep for a minute. Returns how many calls of `count` it has seen.
#[work]
pub fn feel(mood: u32) -> u64 {
    MOOD.store(mood, Relaxed);
    CALLS.load(Relaxed)
}

#[retire]
fn is_worn_out() -> bool {
    match MOOD.load(Relaxed) {
        0 => false,
        1 => true,
        2 => panic!("no mood for that"),
        3 => loop {
            std::hint::spin_loop();
        },
        _ => {
            std::thread::sleep(Duration::from_secs(60));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_prepared_is_there() {
        assert_eq!(prime(0), None);
        prepare();
        assert_eq!((prime(0), prime(9591)), (Some(2), Some(99_991)));
        assert_eq!(place("99991"), Some(9591));
        assert_eq!((feel(1), is_worn_out()), (0, true));
    }
}
