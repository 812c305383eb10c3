use stockade_guest::retire;

#[expect(non_camel_case_types)]
struct bool;

#[retire]
fn not_the_type_it_seems() -> bool {
    bool
}

fn main() {}
