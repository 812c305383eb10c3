use stockade_guest::work;

struct Counter;

impl Counter {
    #[work]
    fn of_nothing(n: u32) -> u32 {
        n
    }
}

fn main() {}
