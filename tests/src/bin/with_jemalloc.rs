//! An application, and with it a worker program, on jemalloc, as many a server is.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    stockade_tests::application::main()
}
