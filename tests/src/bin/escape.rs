//! What escaped code can reach: see [`stockade_tests::escape`].

use std::process::ExitCode;

fn main() -> ExitCode {
    stockade_tests::escape::main()
}
