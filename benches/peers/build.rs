//! Builds the guests that Stockade's side calls.

fn main() {
    for guest in ["../../guests/hello", "../../guests/probe"] {
        stockade_build::guest(guest).build();
    }
}
