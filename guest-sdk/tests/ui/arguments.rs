use stockade_guest::work;

struct Pair(u32, u32);

#[work]
fn lent_mutably(_text: &mut String) {}

#[work]
fn opaque(_text: impl Into<String>) {}

#[work]
fn object(_value: &dyn std::fmt::Display) {}

#[work]
fn pointer(_value: *const u8) {}

#[work]
fn lives_for_ever(_text: &'static str) {}

#[work]
fn taken_apart((a, b): (u32, u32)) -> u32 {
    a + b
}

#[work]
fn taken_apart_again(Pair(a, b): Pair) -> u32 {
    a + b
}

#[work]
fn conditional(#[cfg(unix)] _n: u32) {}

#[work]
fn thirteen(_a: u8, _b: u8, _c: u8, _d: u8, _e: u8, _f: u8, _g: u8, _h: u8, _i: u8, _j: u8, _k: u8, _l: u8, _m: u8) {}

fn main() {}
