use stockade_guest::work;

#[work]
fn of_type<T>(_value: T) {}

#[work]
fn of_const<const N: usize>(_value: [u8; N]) {}

#[work]
fn of_lifetime<'a>(_text: &'a str) {}

#[work]
fn of_clause(_text: String)
where
    String: Clone,
{
}

fn main() {}
