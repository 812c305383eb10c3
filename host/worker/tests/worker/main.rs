//! The real program, driven over the wire as a host drives it.

mod compiling;
mod guests;
mod languages;
mod running;
mod sealed;
mod stopping;
mod tiny_host;
