//! Builds the guests that are measured.

fn main() {
    for guest in ["../guests/hello", "../guests/probe"] {
        stockade_build::guest(guest).build();
    }
}
