//! Builds the guests that are measured.

fn main() {
    for name in [
        "hello",
        "probe",
        "markdown",
        "thumbnail",
        "regex",
        "script",
        "archive",
    ] {
        stockade_build::guest(format!("../guests/{name}")).build();
    }
}
