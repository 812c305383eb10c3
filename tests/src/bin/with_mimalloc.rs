//! An application, and with it a worker program, on mimalloc, as many a server is.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    stockade_tests::application::main()
}
