use stockade_guest::work;

#[work(name = "other")]
fn options() {}

#[work("name")]
fn literal() {}

fn main() {}
