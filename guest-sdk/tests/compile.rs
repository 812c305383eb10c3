//! What `#[work]` accepts, and what the compiler says about what it refuses.

#[test]
fn misuse_is_reported_where_it_is() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    cases.compile_fail("tests/ui/*.rs");
}
