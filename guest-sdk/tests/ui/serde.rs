use stockade_guest::work;

struct Plain(u32);

#[work]
fn argument(_n: u32, _plain: Plain) {}

#[work]
fn argument_inside(_plain: Vec<Plain>) {}

#[work]
fn argument_lent(_plain: &Plain) {}

#[work]
fn result(n: u32) -> Plain {
    Plain(n)
}

fn main() {}
