use stockade_guest::work;

struct Counter(u32);

impl Counter {
    #[work]
    fn count(&self) -> u32 {
        self.0
    }

    #[work]
    fn consume(self: Box<Self>, n: u32) -> u32 {
        self.0 + n
    }
}

fn main() {}
