//! Functions that run in sealed worker processes.
#![forbid(unsafe_code)]

use stockade_guest::work;

/// A greeting for `name`.
#[work]
pub fn greet(name: &str) -> String {
    format!("Hello, {name}!")
}

/// The `n`-th Fibonacci number, the slow way.
#[work]
pub fn fib(n: u32) -> u64 {
    if n < 2 {
        n.into()
    } else {
        fib(n - 1) + fib(n - 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_called_as_they_are_written() {
        assert_eq!(greet("Ada"), "Hello, Ada!");
        assert_eq!(fib(20), 6765);
    }
}
