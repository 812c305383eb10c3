//! Builds the guests that the tests and the quick start run.

fn main() {
    for name in [
        "hello",
        "probe",
        "markdown",
        "prepared",
        "thumbnail",
        "regex",
        "script",
        "archive",
    ] {
        stockade_build::guest(format!("../guests/{name}")).build();
    }
    // Programs that nobody here wrote: a compressor, and an interpreter of a language for scripts. They need not
    // be the fastest, and link-time optimisation takes most of their build.
    let program = |package, version| {
        stockade_build::program(package, version).env("CARGO_PROFILE_RELEASE_LTO", "off")
    };
    program("brotli", "9.1.1").build();
    program("rhai", "1.27.0").bin("rhai-run").build();
}
