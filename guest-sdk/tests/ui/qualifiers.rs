use stockade_guest::work;

#[work]
pub async fn asynchronous() {}

#[work]
unsafe fn not_safe(_n: u32) {}

#[work]
extern "C" fn foreign(_n: u32) {}

#[work]
unsafe extern "C" fn variadic(_n: u32, _rest: ...) {}

fn main() {}
