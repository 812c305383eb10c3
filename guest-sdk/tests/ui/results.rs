use stockade_guest::work;

#[work]
fn borrowed(text: &str) -> &str {
    text
}

#[work]
fn borrowed_inside(text: &str) -> Option<(u8, &str)> {
    Some((1, text))
}

#[work]
fn borrowed_by_name(text: &str) -> std::borrow::Cow<'_, str> {
    text.into()
}

#[work]
fn unsized_text() -> str {
    loop {}
}

#[work]
fn unsized_slice() -> [u8] {
    loop {}
}

#[work]
fn unsized_object() -> dyn std::fmt::Display {
    loop {}
}

#[work]
fn opaque() -> impl Iterator<Item = u8> {
    [1].into_iter()
}

#[work]
fn never() -> ! {
    loop {}
}

fn main() {}
