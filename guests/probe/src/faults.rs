//! Every way to end, or never to end, other than by returning. The traps are undefined behaviour in
//! Rust's eyes; the operands go through `black_box`, so that the compiler emits the instruction
//! that traps.

use std::hint::{assert_unchecked, black_box};
use std::sync::atomic::{AtomicU8, Ordering};

use stockade_guest::work;

/// Panics.
#[work]
pub fn panic_with(message: String) {
    panic!("{message}");
}

/// Aborts without a panic.
#[work]
pub fn abort() {
    std::process::abort();
}

/// Leaves the program with a code.
#[work]
pub fn exit(code: i32) {
    std::process::exit(code);
}

/// Recurses until the stack ends.
#[work]
pub fn overflow_stack() -> u64 {
    #[expect(unconditional_recursion, reason = "the stack is meant to overflow")]
    fn deeper(depth: u64) -> u64 {
        black_box(deeper(black_box(depth) + 1)) + 1
    }
    deeper(0)
}

/// Recurses with large frames, until the part of the stack that lies in the guest's own memory
/// ends.
#[work]
pub fn overflow_shadow_stack() -> u64 {
    #[expect(unconditional_recursion, reason = "the stack is meant to overflow")]
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 8192]);
        black_box(deeper(depth + 1)) + frame[0]
    }
    deeper(0)
}

/// Allocates and touches so many bytes, in pieces of 1 MiB. More than there are end the guest.
#[work]
pub fn allocate(bytes: u64) -> u64 {
    const PIECE_BYTES: usize = 1 << 20;
    let mut pieces = Vec::new();
    let mut allocated = 0;
    while allocated < bytes {
        pieces.push(black_box(vec![0xa5u8; PIECE_BYTES]));
        allocated += PIECE_BYTES as u64;
    }
    allocated
}

/// Never returns.
#[work]
pub fn spin() {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

static BEGUN: [AtomicU8; 1 << 10] = [const { AtomicU8::new(0) }; 1 << 10];

fn begun(number: u64) -> &'static AtomicU8 {
    &BEGUN[number as usize % BEGUN.len()]
}

/// How often [`one_of`] has begun with this number in this instance since this was last asked.
#[work]
pub fn times_of(number: u64) -> u8 {
    begun(number).swap(0, Ordering::Relaxed)
}

/// Does the deed of this number, one of many that a function's callers may want of it, and gives `number` back.
#[work]
pub fn one_of(deed: u8, number: u64) -> u64 {
    begun(number).fetch_add(1, Ordering::Relaxed);
    match deed {
        0 => _ = spin_for(10_000),
        1 => spin(),
        2 => {
            eprintln!("the last words of {number}");
            panic!("the end of {number}");
        }
        3 => println!("what {number} says"),
        _ => unreachable(),
    }
    number
}

/// Computes for so many turns.
#[work]
pub fn spin_for(iterations: u64) -> u64 {
    (0..iterations).fold(0, |sum, turn| black_box(sum ^ turn))
}

/// Fills so many bytes so many times, by one instruction each time: nothing interrupts one. A byte
/// of them.
#[work]
pub fn fill_memory(bytes: u64, times: u64) -> u8 {
    let bytes = usize::try_from(bytes).expect("no more bytes than memory has addresses");
    let mut filled = vec![0u8; bytes];
    for time in 0..times {
        black_box(&mut filled).fill(time.to_le_bytes()[0]);
    }
    filled.last().copied().unwrap_or_default()
}

/// Reaches the instruction `unreachable`.
#[work]
pub fn unreachable() {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
}

/// Reads behind the end of memory.
#[work]
pub fn out_of_bounds() -> u8 {
    let address = black_box(usize::MAX - 15);
    // SAFETY: none: the read is meant to trap.
    unsafe { std::ptr::with_exposed_provenance::<u8>(address).read_volatile() }
}

/// Divides by zero, without the check before it that panics.
#[work]
pub fn divide_by_zero() -> u32 {
    let (dividend, divisor) = (black_box(1u32), black_box(0u32));
    // SAFETY: none: the division is meant to trap.
    unsafe { assert_unchecked(divisor != 0) };
    dividend / divisor
}

/// Divides the smallest number by minus one, without the check before it that panics.
#[work]
pub fn integer_overflow() -> i32 {
    let (dividend, divisor) = (black_box(i32::MIN), black_box(-1i32));
    // SAFETY: none: the division is meant to trap.
    unsafe {
        assert_unchecked(divisor != 0);
        assert_unchecked(dividend != i32::MIN);
    }
    dividend / divisor
}

/// Calls through the table a function of another type.
#[work]
pub fn indirect_call_mismatch() -> u64 {
    fn other(number: u32) -> u32 {
        number
    }
    call_table_entry(other as fn(u32) -> u32 as usize)
}

/// Calls an empty entry of the table.
#[work]
pub fn indirect_call_null() -> u64 {
    call_table_entry(0)
}

/// Calls an entry behind the end of the table.
#[work]
pub fn indirect_call_outside_table() -> u64 {
    call_table_entry(usize::MAX >> 1)
}

fn call_table_entry(index: usize) -> u64 {
    // A union of the two, because a null function pointer may not even be made by other means.
    #[derive(Clone, Copy)]
    union Entry {
        index: usize,
        function: extern "C" fn(f64, f64) -> u64,
    }
    let entry = black_box(Entry { index });
    // SAFETY: none: the call is meant to trap.
    unsafe { (entry.function)(black_box(1.0), black_box(2.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_well_ends() {
        assert_eq!(spin_for(3), 3);
        assert_eq!(allocate(1), 1 << 20);
        assert_eq!(fill_memory(8, 3), 2);
        let panicked = std::panic::catch_unwind(|| panic_with("so it is".to_owned())).unwrap_err();
        assert_eq!(panicked.downcast_ref::<String>().unwrap(), "so it is");
    }
}
