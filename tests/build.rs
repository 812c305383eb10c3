//! Builds the guests that the tests and the quick start run.

fn main() {
    for name in ["hello", "probe", "markdown", "thumbnail"] {
        stockade_build::guest(format!("../guests/{name}")).build();
    }
}
