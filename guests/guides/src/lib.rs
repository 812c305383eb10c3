//! The guests that the guides in `docs/` show. Each module has one piece of a page, word for word, as a test sees
//! to; other tests call what is here.
#![forbid(unsafe_code)]

pub mod count;
pub mod known;
pub mod news;
pub mod part;
pub mod prices;
pub mod primes;
