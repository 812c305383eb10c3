//! A program that is nothing but stockade's processes. A host that is told of it starts it rather than the
//! application again.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    return stockade_worker::entry::main();
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("stockade-worker: workers run on Linux only");
        ExitCode::from(2)
    }
}
