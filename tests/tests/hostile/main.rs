//! Hostile modules: each ends as it should, costs one call, and moves no memory of the host's.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod bombs;
mod differential;
mod ends;
mod guests;
mod left_behind;
mod modules;
mod refused;
mod seeded;
