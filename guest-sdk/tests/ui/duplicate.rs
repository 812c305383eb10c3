use stockade_guest::work;

#[work]
fn twice() {}

#[work]
fn twice() {}

fn main() {}
