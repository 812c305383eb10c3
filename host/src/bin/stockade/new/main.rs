//! Runs the guest's functions in sealed worker processes.

use std::time::Duration;

use stockade::{Host, Module};

#[tokio::main]
async fn main() -> Result<(), stockade::Error> {
    // The first start compiles the module, later ones find it in the cache.
    let host = Host::new(Module::from_bytes(stockade::include_guest!("guest"))).await?;

    // Arguments and result are checked by the compiler.
    let greeting = host.run_sync(guest::greet, ("Ada",)).await?;
    println!("{greeting}");

    // By name, as for a guest that arrives while the server runs: checked before anything is sent.
    let number: u64 = host.run_sync("fib", (30u32,)).await?;
    println!("fib(30) = {number}");

    // A call that takes too long is stopped, and its worker serves on.
    let patience = Duration::from_millis(50);
    match host.call(guest::fib, (90,)).timeout(patience).await {
        Err(error) if error.is_timeout() => println!("fib(90): {error}"),
        other => println!("fib(90) = {}", other?),
    }
    Ok(())
}
