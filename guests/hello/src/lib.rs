//! The guest of the README: the smallest useful functions, also called by the quick start and the
//! benchmarks.
#![forbid(unsafe_code)]

use stockade_guest::work;

/// The `n`-th Fibonacci number, the slow way.
#[work]
pub fn fib(n: u32) -> u64 {
    if n < 2 {
        n.into()
    } else {
        fib(n - 1) + fib(n - 2)
    }
}

/// A greeting for `name`.
#[work]
pub fn greet(name: &str) -> String {
    format!("Hello, {name}!")
}

/// The sum of two numbers.
#[work]
pub fn add(a: u32, b: u32) -> u64 {
    u64::from(a) + u64::from(b)
}

/// Nothing at all: what a call costs by itself.
#[work]
pub fn empty() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_ordinary_ones_away_from_wasm() {
        assert_eq!(fib(20), 6765);
        assert_eq!(greet("Ada"), "Hello, Ada!");
        assert_eq!(add(u32::MAX, 1), 1 << 32);
        empty();
    }
}
