use stockade_guest::work;

#[work]
pub struct Structure;

#[work]
mod module {}

#[work]
impl Structure {}

#[work]
pub const CONSTANT: u32 = 1;

#[work]
macro_rules! rules {
    () => {};
}

fn main() {}
