//! Builds the guests that the tests and the quick start run.

fn main() {
    for name in [
        "hello",
        "guides",
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
    // Programs that nobody here wrote: a compressor, and an interpreter of scripts about JSON. They need not be the
    // fastest, and link-time optimisation takes most of their build.
    let program = |package, version| {
        stockade_build::program(package, version).env("CARGO_PROFILE_RELEASE_LTO", "off")
    };
    program("brotli", "9.1.1").build();
    // The last version whose command line needs neither terminals nor locks of files, which WASI has not. Its default
    // is an allocator in C.
    program("jaq", "2.1.0").no_default_features().build();
}
