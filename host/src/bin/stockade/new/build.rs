//! Compiles the guest to WebAssembly, for `include_guest!`.

fn main() {
    stockade_build::guest("../guest").name("guest").build();
}
