use stockade_guest::{init, retire};

#[init]
fn arguments(n: u32) {
    let _ = n;
}

#[init]
fn result() -> Result<(), String> {
    Ok(())
}

#[init]
async fn later() {}

#[init]
fn generic<T>() {}

#[init]
unsafe fn dangerous() {}

#[init(once)]
fn options() {}

#[init]
struct Structure;

#[retire]
fn retire_arguments(n: u32) -> bool {
    n > 0
}

#[retire]
fn no_result() {}

#[retire]
fn other_result() -> Option<bool> {
    None
}

#[retire]
async fn retire_later() -> bool {
    true
}

#[retire]
extern "C" fn foreign() -> bool {
    true
}

fn main() {}
